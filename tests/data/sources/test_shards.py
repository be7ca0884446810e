"""Tar shards as WebDataset writes them: indexed once, read by offset."""

import gzip
import io
import json
import os
import pickle
import tarfile

from made_folders import JPEG, labels
import numpy as np
import pytest

from vit_jax.data.sources import fingerprint, make_source, storage, tar_index
from vit_jax.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "cache"))
  return tmp_path / "cache/tar_index"


def write(path, members, form=tarfile.USTAR_FORMAT):
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, "w", format=form) as tar:
    for name, data in members:
      member = tarfile.TarInfo(name)
      member.size = len(data)
      tar.addfile(member, io.BytesIO(data))


def samples(numbers, label=lambda i: str(i % 3), suffix="jpg"):
  """Members whose images end in their number, so that a mix-up shows."""
  return [member for i in numbers for member in (
      (f"{i:05d}.{suffix}", JPEG + bytes([i])),
      (f"{i:05d}.cls", label(i).encode()))]


def read(root, pattern, split="all"):
  return make_source(f"shards:{pattern}", split=split, data_dir=str(root))


def numbers(source):
  """The samples that were read, by their bytes; checks their names too."""
  found = [example["image"][-1] for example in
           (source[i] for i in range(len(source)))]
  assert found == [int(source[i]["file"][:5]) for i in range(len(source))]
  return found


def refusal(root, pattern="a.tar", split="all", error=DataError):
  with pytest.raises(error) as raised:
    read(root, pattern, split)
  message = str(raised.value)
  assert "\n" not in message
  return message


# Reading.


def test_images_and_labels_at_random(tmp_path):
  write(tmp_path / "a-0.tar", samples(range(30)))
  write(tmp_path / "a-1.tar", samples(range(30, 50)))
  source = read(tmp_path, "a-{0..1}.tar")
  assert len(source) == 50
  assert source.num_classes == 3
  assert source.class_names is None
  assert source[37] == {
      "image": JPEG + bytes([37]), "label": 1, "file": "00037.jpg",
      "id": f"{tmp_path}/a-1.tar: 00037.jpg"}
  assert numbers(source) == list(range(50))
  assert labels(source) == [i % 3 for i in range(50)]
  assert source.labels.tolist() == labels(source)
  again = pickle.loads(pickle.dumps(source))
  assert again[49] == source[49]


def test_names_as_labels(tmp_path):
  write(tmp_path / "a.tar", samples(range(12), lambda i: ["dog", "cat"][i % 2]))
  source = read(tmp_path, "a.tar")
  assert source.class_names == ("cat", "dog")
  assert labels(source) == [1 - i % 2 for i in range(12)]


def test_json_as_label(tmp_path):
  members = [(name.replace(".cls", ".json"), json.dumps(
      {"label": int(data), "caption": "x"}).encode() if "cls" in name else data)
             for name, data in samples(range(12))]
  write(tmp_path / "a.tar", [*members, ("README.txt", b"x"),
                             ("._00001.jpg", b"x"), ("dataset.json", b"{}")])
  assert labels(read(tmp_path, "a.tar")) == [i % 3 for i in range(12)]


def test_classes_txt_names_the_numbers(tmp_path):
  write(tmp_path / "a.tar", samples(range(12)))
  (tmp_path / "classes.txt").write_text("cat\ndog\nemu\nfox\n")
  source = read(tmp_path, "a.tar")
  assert source.class_names == ("cat", "dog", "emu", "fox")
  assert source.num_classes == 4
  (tmp_path / "classes.txt").write_text("cat\ndog\n")
  assert "sample '00002' has the label '2'; expected a class number" in refusal(
      tmp_path) or "one of the classes" in refusal(tmp_path)
  (tmp_path / "classes.txt").write_text("cat\ncat\ndog\n")
  assert "classes.txt: cat occurs more than once" in refusal(tmp_path)


@pytest.mark.parametrize("form", [
    tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_folders(tmp_path, form):
  folder = "n/" * 40 if form == tarfile.USTAR_FORMAT else "long/" * 60
  write(tmp_path / "a.tar", [
      (f"{folder}{name}", data) for name, data in samples(range(12))], form)
  assert numbers(read(tmp_path, "a.tar")) == list(range(12))


def test_suffixes_in_any_case_and_other_members(tmp_path):
  write(tmp_path / "a.tar", samples(range(10), suffix="JPG")
        + [("00010.png", JPEG + b"\x0a"), ("00010.txt", b"a caption"),
           ("00010.seg.png", b"a mask"), ("00010.cls", b" 1\n")])
  assert numbers(read(tmp_path, "a.tar")) == list(range(11))


# Splits.


@pytest.mark.parametrize("names", [
    ("x-train-0.tar", "x-train-1.tar", "x-val-0.tar"),
    ("Train/0.tar", "Train/1.tar", "validation/0.tar"),
    ("train2017_000.tar", "train2017_001.tar", "dev_000.tar")])
def test_splits_by_the_names_of_shards(tmp_path, names):
  for i, name in enumerate(names):
    write(tmp_path / name, samples(range(i * 12, i * 12 + 12)))
  pattern = "{" + ",".join(names) + "}"
  assert numbers(read(tmp_path, pattern, "train")) == list(range(24))
  assert numbers(read(tmp_path, pattern, "val")) == list(range(24, 36))
  assert "no split 'test'; there are: all, train, val" in refusal(
      tmp_path, pattern, "test", UsageError)


def test_some_names_with_a_split_are_refused(tmp_path):
  for name in ("x-train.tar", "y.tar"):
    write(tmp_path / name, samples(range(3)))
  assert "y.tar: its name tells no split, as the names of other" in refusal(
      tmp_path, "*.tar")
  write(tmp_path / "train-test.tar", samples(range(3)))
  assert "tells two splits" in refusal(tmp_path, "train-test.tar")


def test_without_splits_a_hash_makes_them(tmp_path):
  for i in range(2):
    write(tmp_path / f"a-{i}.tar", samples(range(i * 100, i * 100 + 100)))
  parts = [numbers(read(tmp_path, "a-*.tar", split))
           for split in ("train", "val", "test")]
  assert sorted(sum(parts, [])) == list(range(200))
  assert 140 < len(parts[0]) < 180
  assert [len(part) for part in parts[1:]] >= [5, 5]


def test_a_slice_is_a_sample_of_every_class(tmp_path):
  """Shards are often written class by class."""
  write(tmp_path / "train.tar", samples(range(200), lambda i: str(i // 50)))
  low, high = (read(tmp_path, "train.tar", f"train[{part}]")
               for part in (":90%", "90%:"))
  assert np.bincount(labels(low)).tolist() == [45] * 4
  assert np.bincount(labels(high)).tolist() == [5] * 4
  assert sorted(numbers(low) + numbers(high)) == list(range(200))


def test_gaps_are_named(tmp_path, caplog):
  write(tmp_path / "x-train.tar", samples(range(30)))
  write(tmp_path / "x-test.tar", samples(range(4), lambda i: "1"))
  read(tmp_path, "x-*.tar", "test")
  assert "x-*.tar, test: only 4 images, no image of 0, 2" in caplog.text
  read(tmp_path, "x-test.tar", "test[:1]")
  write(tmp_path / "one.tar", samples(range(12), lambda i: "cat"))
  read(tmp_path, "one.tar")
  assert "one class only, 'cat'" in caplog.text


def test_a_class_that_train_lacks_is_named(tmp_path):
  write(tmp_path / "x-train.tar", samples(range(12)))
  write(tmp_path / "x-test.tar", samples(range(6), str))
  assert ("x-test.tar: sample '00003' has the label '3'; expected a class "
          "number from 0 to 2") in refusal(tmp_path, "x-*.tar", "test")
  assert len(read(tmp_path, "x-*.tar", "train")) == 12


# What is refused.


def test_unlabelled_samples_are_named(tmp_path):
  write(tmp_path / "a.tar", samples(range(3), lambda i: "-1"))
  message = refusal(tmp_path)
  assert "sample '00000' has the label '-1'" in message
  assert "-1 means unlabelled" in message


@pytest.mark.parametrize("members,reason", [
    ([("x.jpg", JPEG)], "sample 'x' has no label, but x.jpg; expected x.cls"),
    ([("x.jpg", JPEG), ("x.json", b"{}")], "sample 'x' has no label"),
    ([("x.cls", b"1")], "sample 'x' has no images, but x.cls"),
    ([("x.b.jpg", JPEG), ("x.cls", b"1")], "up to the first dot"),
    ([("x.jpg", JPEG), ("x.png", JPEG), ("x.cls", b"1")], "has 2 images"),
    ([("x.jpg", JPEG), ("x.cls", b" ")], "x.cls is empty"),
    ([("x.jpg", JPEG), ("x.cls", b"\xff\xfe")], "x.cls cannot be read"),
    ([("x.jpg", JPEG), ("x.cls", bytes(2 << 20))], "is not a label"),
    ([("x.jpg", JPEG), ("x.json", b'{"label": 1.5}')], "label 1.5"),
    ([("x.jpg", JPEG), ("x.json", b'[1]')], "x.json cannot be read"),
    ([("x.jpg", JPEG), ("x.json", b'{"lab')], "x.json cannot be read"),
    ([("00002.cls", b"1")], "00002.cls occurs twice"),
    ([("x.jpg", JPEG), ("x.cls", b"1"), ("00002.jpg", JPEG)],
     "two samples are called '00002'")])
def test_wrong_samples_are_named(tmp_path, members, reason):
  write(tmp_path / "a.tar", samples(range(3)) + members)
  message = refusal(tmp_path)
  assert message.startswith(f"{tmp_path}/a.tar: ")
  assert reason in message


@pytest.mark.parametrize("kind,reason", [
    (tarfile.SYMTYPE, "y.jpg is a link"), (tarfile.LNKTYPE, "y.jpg is a link"),
    (tarfile.FIFOTYPE, "y.jpg is not a file"),
    (tarfile.CHRTYPE, "y.jpg is not a file"),
    (tarfile.GNUTYPE_SPARSE, "y.jpg is a sparse file")])
def test_members_that_are_no_plain_files_are_refused(tmp_path, kind, reason):
  write(tmp_path / "a.tar", samples(range(3)))
  with tarfile.open(tmp_path / "a.tar", "a") as tar:
    member = tarfile.TarInfo("y.jpg")
    member.type, member.linkname = kind, "00000.jpg"
    tar.addfile(member)
  assert reason in refusal(tmp_path)


def test_folders_in_a_shard_are_fine(tmp_path):
  write(tmp_path / "a.tar", samples(range(10)))
  with tarfile.open(tmp_path / "a.tar", "a") as tar:
    member = tarfile.TarInfo("folder")
    member.type = tarfile.DIRTYPE
    tar.addfile(member)
  assert len(read(tmp_path, "a.tar")) == 10


@pytest.mark.parametrize("cut", [-10240 - 300, -10240 - 512, 700, 512, 100])
def test_truncated_shards_are_named(tmp_path, cut):
  write(tmp_path / "a.tar", samples(range(20)))
  data = (tmp_path / "a.tar").read_bytes()
  (tmp_path / "a.tar").write_bytes(data[:cut])
  message = refusal(tmp_path)
  assert f"a damaged or truncated tar file of {len(data[:cut]):,} b" in message


def test_a_damaged_header_is_no_end(tmp_path):
  """Tarfile itself takes it for the end, and would drop the rest."""
  write(tmp_path / "a.tar", samples(range(20)))
  data = bytearray((tmp_path / "a.tar").read_bytes())
  place = data.index(b"00010.jpg")
  data[place + 148] ^= 0x55  # Its checksum.
  (tmp_path / "a.tar").write_bytes(data)
  assert "damaged" in refusal(tmp_path)


def test_joined_shards_are_refused(tmp_path):
  for name, start in (("a.tar", 0), ("b.tar", 10)):
    write(tmp_path / name, samples(range(start, start + 10)))
  with open(tmp_path / "a.tar", "ab") as file:
    file.write((tmp_path / "b.tar").read_bytes())
  assert "more after the end mark, as in joined tar files" in refusal(tmp_path)


@pytest.mark.parametrize("data,reason", [
    (gzip.compress(b"x" * 9000), "compressed (gzip), so that its images"),
    (b"\x28\xb5\x2f\xfd" + bytes(600), "compressed (zstd)"),
    (b"PK\x03\x04" + bytes(600), "compressed (zip)"),
    (b"", "an empty file"), (b"<html>" * 300, "damaged or truncated"),
    (bytes(10240), "no image with a label in it")],
    ids=["gzip", "zstd", "zip", "empty", "html", "zeros"])
def test_other_files_are_named(tmp_path, data, reason):
  (tmp_path / "a.tar").write_bytes(data)
  message = refusal(tmp_path)
  assert message.startswith(f"{tmp_path}/a.tar: ")
  assert reason in message


# The index.


def test_the_index_is_made_once(tmp_path, cache, monkeypatch):
  write(tmp_path / "a.tar", samples(range(20)))
  first = read(tmp_path, "a.tar")
  assert len(list(cache.iterdir())) == 1
  monkeypatch.setattr(
      tar_index, "_samples", lambda *_: pytest.fail("was indexed again"))
  again = read(tmp_path, "a.tar")
  assert numbers(again) == list(range(20))
  assert fingerprint(again) == fingerprint(first)


def test_another_size_or_time_makes_it_again(tmp_path):
  write(tmp_path / "a.tar", samples(range(20)))
  old = read(tmp_path, "a.tar")
  status = os.stat(tmp_path / "a.tar")
  write(tmp_path / "a.tar", samples(range(5, 25)))  # The same size.
  os.utime(tmp_path / "a.tar", ns=(0, status.st_mtime_ns + 1))
  assert os.stat(tmp_path / "a.tar").st_size == status.st_size
  with pytest.raises(DataError, match="has changed since it was indexed"):
    old[0]
  assert numbers(read(tmp_path, "a.tar")) == list(range(5, 25))
  write(tmp_path / "a.tar", samples(range(40)))
  os.utime(tmp_path / "a.tar", ns=(0, status.st_mtime_ns + 1))
  assert numbers(read(tmp_path, "a.tar")) == list(range(40))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"of": 1}', "\x00\xff"])
def test_a_damaged_index_is_made_again(tmp_path, cache, text):
  write(tmp_path / "a.tar", samples(range(12)))
  read(tmp_path, "a.tar")
  stored, = cache.iterdir()
  good = stored.read_text()
  stored.write_text(text)
  assert numbers(read(tmp_path, "a.tar")) == list(range(12))
  assert stored.read_text() == good


def test_it_does_without_a_place_for_the_index(tmp_path, monkeypatch):
  write(tmp_path / "a.tar", samples(range(12)))
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "file"))
  assert len(read(tmp_path, "a.tar")) == 12
  monkeypatch.delenv("VIT_JAX_CACHE")
  monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # No home.
  monkeypatch.chdir(tmp_path)
  assert len(read(tmp_path, "a.tar")) == 12
  assert not (tmp_path / "~").exists()


def test_the_fingerprint_does_not_know_places(tmp_path):
  for folder in ("a", "b"):
    write(tmp_path / folder / "x.tar", samples(range(12)))
  write(tmp_path / "c/x.tar", samples(range(12), lambda i: str(i % 2)))
  one, same, other = (fingerprint(read(tmp_path / folder, "x.tar"))
                      for folder in "abc")
  assert one == same != other
  assert one != fingerprint(read(tmp_path / "a", "x.tar", "all[:5]"))


def test_only_wanted_shards_are_indexed(tmp_path, cache):
  for split in ("train", "val", "test"):
    write(tmp_path / f"x-{split}.tar", samples(range(12)))
  read(tmp_path, "x-*.tar", "val")
  assert len(list(cache.iterdir())) == 2  # Its own, and those of the classes.


# Patterns.


def test_missing_shards_are_named(tmp_path):
  write(tmp_path / "a-0.tar", samples(range(12)))
  message = refusal(tmp_path, "a-{0..4}.tar")
  assert f"{tmp_path}/a-1.tar: no such file, one of 4 missing of the 5" in (
      message)
  assert "matches no file" in refusal(tmp_path, "b-*.tar")


def test_storage_times(tmp_path):
  write(tmp_path / "a.tar", samples(range(1)))
  os.utime(tmp_path / "a.tar", ns=(5, 7))
  assert storage.stamp(f"{tmp_path}/a.tar").changed == 7
