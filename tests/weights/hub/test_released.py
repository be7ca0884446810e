"""From a name to a file: mirrors, folders, cache, recommendations."""

import hashlib
import os
import pathlib
import socket
import urllib.parse

from file_server import npz, same, serving
import fsspec
from made_augreg_index import write_index
import pytest

from vit_jax.errors import CheckpointError, UsageError, UserError
from vit_jax.weights.hub import download, released
from vit_jax.weights.hub.released import released_table, resolve_checkpoint

ROWS = released_table()
BY_NAME = {row["name"]: row for row in ROWS}
PRETRAINED = ("B_16-i21k-300ep-lr_0.001-aug_strong2-wd_0.03-do_0.1-sd_0.1")
ADAPTED = PRETRAINED + "--cifar100-steps_10k-lr_0.003-res_384"


@pytest.fixture
def cache(tmp_path, monkeypatch):
  """An empty cache folder, no mirror, and no long waits."""
  monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "cache"))
  monkeypatch.delenv("VIT_JAX_CHECKPOINTS", raising=False)
  monkeypatch.setattr(download.time, "sleep", lambda _: None)
  return tmp_path / "cache"


@pytest.fixture
def server(cache, monkeypatch):
  """A mirror with nothing on it."""
  with serving() as server:
    server.files.clear()
    monkeypatch.setenv("VIT_JAX_CHECKPOINTS", server.url)
    yield server


@pytest.fixture
def small(monkeypatch):
  """Small files on the mirror pass for the released ones."""
  monkeypatch.setattr(released, "released_table", lambda: tuple(
      row | {"bytes": None, "bytes_tolerance": None} for row in ROWS))


@pytest.fixture
def offline(monkeypatch):
  """Any use of the network is an error of its own."""
  def refuse(*args, **kwargs):
    raise AssertionError("the network was touched")

  monkeypatch.setattr(socket, "socket", refuse)
  monkeypatch.setattr(socket, "create_connection", refuse)


def put(folder, file, data=b"here"):
  path = folder / file
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(data)
  return path


def test_a_path_stays_what_it_is(tmp_path, cache, monkeypatch, offline):
  path = put(tmp_path, "mine.npz")
  assert resolve_checkpoint(path) == (path, None)
  assert resolve_checkpoint(str(tmp_path)) == (tmp_path, None)
  monkeypatch.setenv("HOME", str(tmp_path))
  assert resolve_checkpoint("~/mine.npz") == (path, None)
  monkeypatch.chdir(tmp_path)
  put(tmp_path, "sam/ViT-B_16")
  local, row = resolve_checkpoint("sam/ViT-B_16")  # a file wins over a name
  assert (local, row) == (pathlib.Path("sam/ViT-B_16"), None)


@pytest.mark.parametrize("name", [
    "imagenet21k/ViT-B_16", "imagenet21k/ViT-B_16.npz",
    "imagenet21k+imagenet2012/ViT-L_16-224", "sam/ViT-S_16", "gsam/ViT-B_32"])
def test_names_become_files(server, cache, small, name):
  data = npz(seed=3)
  file = name.removesuffix(".npz") + ".npz"
  server.files["/" + file] = data
  path, row = resolve_checkpoint(name)
  assert path == cache / file and same(path, data)
  assert row["name"] == name.removesuffix(".npz") and row["file"] == file
  assert resolve_checkpoint(name)[0] == path
  assert server.statuses() == [200]  # the second call asked nobody


@pytest.mark.parametrize("name", [
    PRETRAINED, f"augreg/{PRETRAINED}", f"augreg/{ADAPTED}.npz",
    f"{ADAPTED}.npz"])
def test_full_augreg_names(server, cache, name):
  file = f"augreg/{name.removeprefix('augreg/').removesuffix('.npz')}.npz"
  server.files["/" + file] = npz(seed=4)
  path, row = resolve_checkpoint(name)
  assert path == cache / file and row["file"] == file
  adapted = ADAPTED in name
  assert row["variant"] == "B/16"
  assert row["classes"] == (100 if adapted else 21843)
  assert row["resolution"] == (384 if adapted else 224)
  assert row["score"] is None
  assert server.statuses() == [200]  # no index was asked for


@pytest.mark.parametrize(["name", "words"], [
    ("ViT-B_16", "'imagenet21k/ViT-B_16'.*'sam/ViT-B_16', 'gsam/ViT-B_16'"),
    ("imagenet21k/ViT-B16", "did you mean 'imagenet21k/ViT-B_16'"),
    ("augreg/R_Ti_32", "'augreg/R_Ti_16'"), ("model.npz", "neither a file"),
    ("jft/ViT-H_14", "'imagenet21k/ViT-H_14'"), ("a" * 5000, "neither"),
    (PRETRAINED.replace("B_16", "X_16"), "AugReg has no model 'X_16'"),
    ("file:///no/file.npz", "no such file"), ("http://host/", "names no file")])
def test_unknown_names_get_the_nearest(cache, offline, name, words):
  with pytest.raises(UsageError, match=words) as error:
    resolve_checkpoint(name)
  assert "\n" not in str(error.value)
  assert error.value.exit_code == 2


def test_a_file_of_another_size_is_refused(server, cache):
  server.files["/sam/ViT-B_16.npz"] = npz(seed=0)
  with pytest.raises(CheckpointError, match="has about 346,"):
    resolve_checkpoint("sam/ViT-B_16")


def test_a_name_that_the_mirror_lacks(server, cache):
  url = f"{server.url}/sam/ViT-B_16.npz"
  with pytest.raises(UserError, match=f"{url}: HTTP 404.*base address"):
    resolve_checkpoint("sam/ViT-B_16")


def test_the_cache_needs_no_network(cache, offline):
  for file in ("sam/ViT-B_16.npz", f"augreg/{ADAPTED}.npz"):
    path = put(cache, file)
    assert resolve_checkpoint(file)[0] == path
  with pytest.raises(AssertionError):  # and the test would notice
    resolve_checkpoint("sam/ViT-B_32")


def test_arguments_win_over_the_environment(server, tmp_path, small):
  server.files["/mirror/sam/ViT-B_16.npz"] = npz(seed=5)
  path, _ = resolve_checkpoint(
      "sam/ViT-B_16", base=server.url + "/mirror/", cache_dir=tmp_path / "c")
  assert path == tmp_path / "c/sam/ViT-B_16.npz" and path.is_file()


def test_defaults(monkeypatch):
  monkeypatch.delenv("VIT_JAX_CHECKPOINTS", raising=False)
  monkeypatch.delenv("VIT_JAX_CACHE", raising=False)
  assert released.base_address() == "https://storage.googleapis.com/vit_models"
  assert released.cache_folder() == pathlib.Path.home() / ".cache/vit_jax"


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_plain_folder_is_read_in_place(tmp_path, cache, offline, prefix):
  path = put(tmp_path / "weights", "sam/ViT-B_16.npz")
  base = f"{prefix}{tmp_path}/weights/"
  assert resolve_checkpoint("sam/ViT-B_16", base=base)[0] == path
  with pytest.raises(UserError, match="sam/ViT-B_32.npz: no such file; the"):
    resolve_checkpoint("sam/ViT-B_32", base=base)
  cached = put(cache, "sam/ViT-B_32.npz")
  assert resolve_checkpoint("sam/ViT-B_32", base=base)[0] == cached


def test_a_bucket_as_base(cache, small):
  bucket = fsspec.filesystem("memory")
  bucket.pipe("/bucket/sam/ViT-B_16.npz", npz(seed=6))
  try:
    path, _ = resolve_checkpoint("sam/ViT-B_16", base="memory://bucket")
    assert same(path, npz(seed=6))
  finally:
    bucket.rm("/bucket", recursive=True)


def test_urls(server, cache):
  places = set()
  for seed, path in enumerate(("/a/my%20model.npz", "/b/my%20model.npz?x=1")):
    server.files[path] = npz(seed)
    local, row = resolve_checkpoint(server.url + path)
    assert row is None and local.name == "my model.npz"
    assert local.is_relative_to(cache) and same(local, npz(seed))
    places.add(local)
  assert len(places) == 2  # servers use the same name for different files


def test_the_url_of_a_released_file_has_its_row(server, cache, small):
  server.files["/sam/ViT-B_16.npz"] = npz(seed=7)
  path, row = resolve_checkpoint(f"{server.url}/sam/ViT-B_16.npz")
  assert path == cache / "sam/ViT-B_16.npz" and row["name"] == "sam/ViT-B_16"


@pytest.mark.parametrize("name", ["a" * 400, "é" * 200])
def test_a_long_name_is_cut(server, cache, name):
  path = f"/{urllib.parse.quote(name)}.npz"
  server.files[path] = npz(seed=5)
  local, _ = resolve_checkpoint(server.url + path)
  assert local.suffix == ".npz" and len(os.fsencode(local.name)) <= 120
  assert same(local, npz(seed=5))


def test_official_urls_share_the_cache(cache, offline):
  path = put(cache, "sam/ViT-B_16.npz")
  for url in (released.BASE, "gs://vit_models"):
    assert resolve_checkpoint(f"{url}/sam/ViT-B_16.npz")[0] == path


def index_on(server, tmp_path):
  text = write_index(tmp_path / "index.csv").read_bytes()
  server.files["/augreg/index.csv"] = text


@pytest.mark.parametrize("name", ["augreg/R_Ti_16", "augreg/R_Ti_16-384"])
def test_recommended_by_the_index(server, cache, small, tmp_path, name):
  index_on(server, tmp_path)
  server.files["/" + BY_NAME[name]["file"]] = npz(seed=8)
  path, row = resolve_checkpoint(name)
  assert path == cache / BY_NAME[name]["file"]
  assert row["name"] == name
  if name.endswith("384"):
    assert (row["score"], row["score_source"]) == (75.4, "AugReg Table 3")
  else:
    assert (row["score"], row["score_on"]) == (46.0, "i21k validation")
  resolve_checkpoint(name)
  assert server.statuses() == [200, 200]  # index and file, once each


def test_the_index_overrules_the_table(server, cache, tmp_path):
  index_on(server, tmp_path)
  best = BY_NAME["augreg/B_16"]["file"].split("/")[1].removesuffix(".npz")
  text = server.files["/augreg/index.csv"].decode()
  text = text.replace(f"{best},", f"{PRETRAINED},").replace(
      f"{best}--", f"{PRETRAINED}--")
  server.files["/augreg/index.csv"] = text.encode()
  server.files[f"/augreg/{PRETRAINED}.npz"] = npz(seed=9)
  path, row = resolve_checkpoint("augreg/B_16")
  assert path.name == f"{PRETRAINED}.npz"
  assert row["score_source"] == "AugReg index.csv"


def test_fine_tuned_on_another_set(server, cache, tmp_path):
  index_on(server, tmp_path)
  stem = BY_NAME["augreg/S_16"]["file"].removesuffix(".npz")
  for rate in ("0.001", "0.003", "0.01", "0.03"):
    for steps in (0, 2):
      server.files[f"/{stem}--oxford_iiit_pet-steps_{steps}k-lr_{rate}"
                   "-res_224.npz"] = npz(seed=1)
  path, row = resolve_checkpoint("augreg/S_16-oxford_iiit_pet-224")
  assert path.name.startswith(pathlib.Path(stem).name + "--oxford_iiit_pet")
  assert (row["classes"], row["resolution"]) == (37, 224)
  assert row["score_on"] == "oxford_iiit_pet" and row["score"] > 80
  with pytest.raises(UsageError, match="adapt_ds=flowers"):
    resolve_checkpoint("augreg/S_16-flowers")


@pytest.mark.parametrize("answer", [
    dict(status=404), dict(status=500), dict(cut=20)])
def test_without_the_index_the_table_recommends_and_says_so(
    server, cache, small, tmp_path, monkeypatch, answer):
  logged = []
  monkeypatch.setattr(released.logging, "warning",
                      lambda text, *args: logged.append(text % args))
  index_on(server, tmp_path)
  row = BY_NAME["augreg/L_16"]
  server.files["/" + row["file"]] = npz(seed=2)
  server.plan = [answer] * (1 if answer == dict(status=404) else 2)
  path, found = resolve_checkpoint("augreg/L_16")
  assert path == cache / row["file"] and found["name"] == "augreg/L_16"
  assert row["file"] in logged[-1] and "table in vit_jax" in logged[-1]
  assert "index.csv" in logged[-1]


def test_a_page_instead_of_the_index(server, cache, small):
  server.files["/augreg/index.csv"] = b"<html>Sign in</html>"
  row = BY_NAME["augreg/L_16-384"]
  server.files["/" + row["file"]] = npz(seed=2)
  assert resolve_checkpoint("augreg/L_16-384")[0] == cache / row["file"]
  assert not (cache / released.INDEX).exists()


def test_only_the_index_knows_other_fine_tunings(server, cache):
  with pytest.raises(UserError, match="augreg/L_16-cifar100: only index.csv"):
    resolve_checkpoint("augreg/L_16-cifar100")


@pytest.mark.parametrize("with_index", [False, True])
def test_recommended_offline(cache, tmp_path, offline, with_index):
  if with_index:
    write_index(cache / released.INDEX)
  for name in ("augreg/R_Ti_16", "augreg/R_Ti_16-384"):
    path = put(cache, BY_NAME[name]["file"])
    assert resolve_checkpoint(name)[0] == path


def test_recommended_in_a_folder_without_an_index(tmp_path, cache, offline):
  path = put(tmp_path, BY_NAME["augreg/R_Ti_16"]["file"])
  found, _ = resolve_checkpoint("augreg/R_Ti_16", base=os.fspath(tmp_path))
  assert found == path


@pytest.mark.network
def test_the_real_bucket_has_the_index(cache):
  assert len(released.augreg_rows()) == 51_509


def test_without_a_home_directory_the_cache_is_asked_for(monkeypatch):
  monkeypatch.delenv("VIT_JAX_CACHE", raising=False)
  monkeypatch.setattr("os.path.expanduser", lambda path: path)
  with pytest.raises(UserError, match="VIT_JAX_CACHE=FOLDER"):
    released.cache_folder()


def test_a_file_url_is_its_file(tmp_path):
  path = tmp_path / "a b.npz"
  path.write_bytes(b"x")
  assert released.resolve_checkpoint(
      f"file://{tmp_path}/a%20b.npz") == (path, None)


@pytest.mark.parametrize("url", [
    "http://[::1/x.npz", "http://x/a%00b.npz", "http://x/a\nb.npz",
    "https://x/%0a.npz"])
def test_what_is_no_url_is_one_line(cache, offline, url):
  with pytest.raises(UsageError, match="is not a URL") as error:
    resolve_checkpoint(url)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["m.safetensors", "m.bin", "m.npz"])
def test_a_page_is_never_kept_as_weights(server, cache, name):
  server.files[f"/{name}"] = b"<html>hello" + b" " * 5000
  with pytest.raises(CheckpointError, match="HTML"):
    resolve_checkpoint(f"{server.url}/{name}")
  assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_file_fetched_again_has_to_be_the_same(server, cache):
  server.files["/m.npz"] = npz(0)
  path, _ = resolve_checkpoint(f"{server.url}/m.npz")
  said = path.with_name("m.npz.sha256").read_text()
  assert said == f"{hashlib.sha256(npz(0)).hexdigest()}  m.npz\n"
  path.unlink()
  assert resolve_checkpoint(f"{server.url}/m.npz")[0] == path
  path.unlink()
  server.files["/m.npz"] = npz(1)
  with pytest.raises(CheckpointError, match="not the file that was downloaded"):
    resolve_checkpoint(f"{server.url}/m.npz")
  assert not path.exists()


def test_a_file_without_a_record_gets_one(server, cache):
  server.files["/a/model.npz"] = npz(seed=8)
  path, _ = resolve_checkpoint(server.url + "/a/model.npz")
  record = path.with_name("model.npz.sha256")
  before = record.read_text()
  record.unlink()  # Killed between the two.
  assert resolve_checkpoint(server.url + "/a/model.npz")[0] == path
  assert record.read_text() == before
