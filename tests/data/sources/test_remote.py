"""Folders and shards in buckets, by fsspec's file system in memory."""

import io
import pickle
import tarfile
import threading

import fsspec
from made_folders import JPEG, files, labels, make
import pytest

from vit_jax.data.sources import fingerprint, make_source, storage
from vit_jax.errors import DataError, UsageError, UserError


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  """Returns a function that makes files in memory://bucket."""
  monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "cache"))
  memory = fsspec.filesystem("memory")
  memory.store.clear()
  memory.pseudo_dirs[:] = [""]

  def put(**contents):
    for path, data in contents.items():
      memory.pipe_file(f"/bucket/{path}", data)

  yield put
  memory.store.clear()


def images(*paths):
  return {path: JPEG for path in paths}


def test_a_folder_is_read_as_on_a_disk(tmp_path, bucket):
  paths = [f"{split}/{name}/{i}.jpg" for split in ("Train", "test")
           for name in ("cat", "dog") for i in range(6)]
  bucket(**images(*paths), **{"Train/cat/notes.txt": b"x",
                              "Train/.git/0.jpg": JPEG})
  make(tmp_path / "disk", *paths)
  for split in ("train", "test", "train[:50%]", "all"):
    remote = make_source("memory://bucket", split=split)
    local = make_source(str(tmp_path / "disk"), split=split)
    assert files(remote, "memory://bucket") == files(local, tmp_path / "disk")
    assert labels(remote) == labels(local)
    assert remote.class_names == local.class_names == ("cat", "dog")
    assert fingerprint(remote) == fingerprint(local)
  assert remote[0]["image"] == JPEG
  assert pickle.loads(pickle.dumps(remote))[0] == remote[0]


def test_layouts_are_checked_there_too(bucket):
  bucket(**images("x/a/cat/0.jpg", "x/a/dog/0.jpg", "x/b/cat/0.jpg",
                  "x/b/dog/0.jpg", "y/flowers/rose/0.jpg",
                  "y/flowers/tulip/0.jpg", "z/0.jpg"))
  with pytest.raises(DataError, match=r"memory://bucket/x/\*/\*"):
    make_source("memory://bucket/x", split="all")
  assert make_source("memory://bucket/x/*/*", split="all").class_names == (
      "cat", "dog")
  assert make_source("memory://bucket/y/", split="all").class_names == (
      "rose", "tulip")
  with pytest.raises(DataError, match="z: 1 image, but no class folders"):
    make_source("memory://bucket/z", split="all")


def test_relative_to_a_bucket(bucket):
  bucket(**images("pets/cat/0.jpg", "pets/dog/0.jpg"))
  source = make_source("pets", split="all", data_dir="memory://bucket")
  assert files(source, "memory://bucket/pets") == ["cat/0.jpg", "dog/0.jpg"]


def test_a_file_of_labels(bucket):
  bucket(**images("0.jpg", "1.jpg"),
         **{"labels.csv": b"file_name,label\n0.jpg,dog\n1.jpg,cat\n"})
  source = make_source("memory://bucket", split="all")
  assert files(source, "memory://bucket") == ["1.jpg", "0.jpg"]
  bucket(**{"labels.csv": b"file_name,label\n0.jpg,dog\n9.jpg,cat\n"})
  with pytest.raises(DataError, match="labels.csv, line 3: there is no file"):
    make_source("memory://bucket", split="all")
  bucket(**{"labels.csv": b"file_name,label\n0.jpg,dog\n"})
  assert len(make_source("memory://bucket/labels.csv", split="all")) == 1


def test_shards(bucket):
  for shard in range(2):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
      for i in range(10):
        for name, data in ((f"{i}.jpg", JPEG + bytes([10 * shard + i])),
                           (f"{i}.cls", b"%d" % (i % 2))):
          member = tarfile.TarInfo(name)
          member.size = len(data)
          tar.addfile(member, io.BytesIO(data))
    bucket(**{f"birds-train-{shard}.tar": buffer.getvalue()})
  for pattern in ("birds-train-{0..1}.tar", "birds-*.tar"):
    source = make_source(f"shards:memory://bucket/{pattern}", split="train")
    assert [source[i]["image"][-1] for i in range(20)] == list(range(20))
    assert labels(source) == [i % 2 for i in range(10)] * 2
    assert source[11]["id"] == "memory://bucket/birds-train-1.tar: 1.jpg"
  with pytest.raises(DataError, match="birds-train-2.tar: no such file"):
    make_source("shards:memory://bucket/birds-train-{0..2}.tar", split="train")


def test_a_missing_package_is_one_line(monkeypatch):
  def missing(scheme):
    raise ImportError("Please install gcsfs to access Google Storage")

  monkeypatch.setattr(fsspec, "filesystem", missing)
  storage._system.cache_clear()
  for source in ("gs://bucket/pets", "shards:gs://bucket/{0..9}.tar"):
    with pytest.raises(UserError) as error:
      make_source(source, split="train")
    message = str(error.value)
    assert message == ("gs:// needs a package that is not installed; run pip "
                       "install gcsfs")
  storage._system.cache_clear()


def test_unknown_schemes_and_places_are_named(bucket):
  with pytest.raises(UserError, match="foo:// is not known; expected a local"):
    make_source("foo://bucket/pets", split="train")
  with pytest.raises(UsageError, match="there is no folder 'memory://none'"):
    make_source("memory://none", split="train")


def test_errors_of_a_bucket_are_one_line(bucket, monkeypatch):
  bucket(**images("cat/0.jpg", "dog/0.jpg"))
  source = make_source("memory://bucket", split="all")
  memory = fsspec.filesystem("memory")

  class HttpError(Exception):
    """As gcsfs raises: no OSError."""

  def refuse(*_, **__):
    raise HttpError("403: no permission\nand more")

  monkeypatch.setattr(memory, "cat_file", refuse)
  with pytest.raises(DataError) as error:
    source[0]
  assert str(error.value) == (
      "memory://bucket/cat/0.jpg: cannot be read: 403: no permission")
  memory.store.clear()
  monkeypatch.undo()
  with pytest.raises(DataError, match="0.jpg: cannot be read: no such file"):
    source[0]


def test_file_urls_are_local(tmp_path):
  make(tmp_path, "{cat,dog}/*.jpg")
  source = make_source(f"file://{tmp_path}", split="all")
  assert files(source, tmp_path)[0] == "cat/0.jpg"
  assert storage.resolve("~").startswith("/")
  assert storage.resolve("x", "gs://b/d/") == "gs://b/d/x"
  assert storage.resolve("/x", "gs://b") == "/x"
  assert storage.resolve("gs://b/c/", "/x") == "gs://b/c"


def test_a_bucket_that_does_not_answer_is_an_error_in_time(monkeypatch):
  memory = fsspec.filesystem("memory")
  asked = threading.Event()

  def silent(*_, **__):
    asked.set()
    threading.Event().wait(20)

  monkeypatch.setattr(type(memory), "ls", silent)
  with pytest.raises(DataError, match="no answer in 0 s; check the network"):
    storage.check_reachable("memory://silent", seconds=0.2)
  assert asked.is_set()


def test_a_bucket_without_the_folder_or_rights_is_an_error(monkeypatch):
  with pytest.raises(DataError, match="no such file or folder"):
    storage.check_reachable("memory://not-there")
  storage.check_reachable("/not/there")  # a local path is not asked for

  def denied(*_, **__):
    raise PermissionError("403: no storage.objects.list access")

  monkeypatch.setattr(type(fsspec.filesystem("memory")), "ls", denied)
  with pytest.raises(DataError, match="no storage.objects.list"):
    storage.check_reachable("memory://bucket")
