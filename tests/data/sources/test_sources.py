"""Sources: the digits, folders of images, names that are unknown."""

import hashlib
import pickle

import numpy as np
import pytest
import simplejpeg

from vit_jax.data.sources import fingerprint, make_source
from vit_jax.data.sources.sample import split_of
from vit_jax.errors import DataError, UsageError

PICTURE = simplejpeg.encode_jpeg(np.full((4, 6, 3), 100, np.uint8))


def write(root, *paths, data=PICTURE):
  for path in paths:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(data)


def ids(source, root):
  return [source[i]["id"].removeprefix(f"{root}/") for i in range(len(source))]


def labels(source):
  return [source[i]["label"] for i in range(len(source))]


# The digits.


def test_digits_are_disjoint_balanced_and_complete():
  splits = {name: make_source("digits", split=name)
            for name in ("train", "val", "test")}
  assert {name: len(source) for name, source in splits.items()} == {
      "train": 1258, "val": 179, "test": 360}
  numbers = np.concatenate([source.indices for source in splits.values()])
  np.testing.assert_array_equal(np.sort(numbers), np.arange(1797))
  shares = {"train": 0.7, "val": 0.1, "test": 0.2}
  of_class = np.bincount(sum(map(labels, splits.values()), []))
  for name, source in splits.items():
    # Within one picture of the share, in every class.
    counts = np.bincount(labels(source))
    assert np.abs(counts - shares[name] * of_class).max() <= 1
    # Shuffled: the classes do not come one after the other.
    assert np.count_nonzero(np.diff(labels(source))) > 0.8 * len(source)


def test_digits_split_never_changes():
  source = make_source("digits", split="train")
  digest = hashlib.sha256(source.indices.astype("<i8").tobytes())
  assert digest.hexdigest()[:16] == "92dcf37f7cf20153"


def test_digits_pictures():
  source = make_source("digits", split="train+val[:50%]")
  assert len(source) == 1258 + 90
  assert source.class_names == tuple("0123456789")
  assert source.num_classes == 10
  image = source[0]["image"]
  assert image.shape == (8, 8, 3)
  assert image.dtype == np.uint8
  everything = np.stack([source[i]["image"] for i in range(len(source))])
  assert (everything.min(), everything.max()) == (0, 255)
  assert len(np.unique(everything)) == 17
  assert (everything[..., 0] == everything[..., 2]).all()


# Folders with a folder for each split.


def test_folder_finds_any_suffix_in_any_depth(tmp_path):
  names = ("a.jpg", "b.JPEG", "c.Png", "d.bmp", "e.GIF", "f.webp", "g.tif",
           "h.TIFF", "i.ppm", "deep/er/j.jpg")
  write(tmp_path, *(f"train/cat/{name}" for name in names), "train/ant/z.jpg",
        "test/cat/k.jpg", "train/cat/.hidden.jpg", "train/.git/x.jpg",
        "train/cat/notes.txt")
  train = make_source(str(tmp_path), split="train")
  assert train.class_names == ("ant", "cat")
  assert sorted(ids(train, tmp_path)) == sorted(
      [*(f"train/cat/{name}" for name in names), "train/ant/z.jpg"])
  assert labels(train) == [0] + [1] * 10
  assert train[0]["image"] == PICTURE
  # A class that test lacks shifts no label.
  test = make_source(tmp_path.name, split="test",
                     data_dir=str(tmp_path.parent))
  assert labels(test) == [1]
  assert test.class_names == train.class_names


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_folder_validation_by_any_of_its_names(tmp_path, name):
  write(tmp_path, "train/a/1.jpg", f"{name}/a/2.jpg")
  assert ids(make_source(str(tmp_path), split="val"), tmp_path) == [
      f"{name}/a/2.jpg"]
  both = make_source(str(tmp_path), split="train+val")
  assert len(both) == 2


@pytest.mark.parametrize("split", ["train", "test"])
def test_folder_class_missing_in_train_is_named(tmp_path, split):
  write(tmp_path, "train/cat/1.jpg", "test/cat/2.jpg", "test/dog/3.jpg")
  with pytest.raises(DataError, match=r"test: class dog is missing in train"):
    make_source(str(tmp_path), split=split)


def test_folder_empty_class_is_named(tmp_path):
  write(tmp_path, "train/cat/1.jpg", "train/dog/notes.txt")
  with pytest.raises(DataError, match="class dog has no image in train"):
    make_source(str(tmp_path), split="train")


def test_folder_without_pictures(tmp_path):
  with pytest.raises(DataError, match="no image found; expected"):
    make_source(str(tmp_path), split="train")
  write(tmp_path, "train/1.txt")
  with pytest.raises(DataError, match=r"no image found \(but 1 \.txt\)"):
    make_source(str(tmp_path), split="train")
  write(tmp_path, "train/cat/1.txt", "test/cat/1.jpg")
  with pytest.raises(DataError, match="train holds no image"):
    make_source(str(tmp_path), split="train")


def test_folder_without_train_can_be_evaluated(tmp_path):
  """Its class names are its own; the model's are matched with them."""
  write(tmp_path, "test/cat/1.jpg", "test/dog/1.jpg")
  assert make_source(str(tmp_path), split="test").class_names == ("cat", "dog")
  with pytest.raises(UsageError, match="no split 'train'; there are: all, te"):
    make_source(str(tmp_path), split="train")


def test_folder_unlabelled_split_is_not_a_split(tmp_path):
  write(tmp_path, "train/cat/1.jpg", "test/1.jpg")
  assert len(make_source(str(tmp_path), split="train")) == 1
  with pytest.raises(DataError, match="'test' holds no example"):
    make_source(str(tmp_path), split="test")


def test_folder_file_that_vanished_is_named(tmp_path):
  write(tmp_path, "train/cat/1.jpg")
  source = make_source(str(tmp_path), split="train")
  (tmp_path / "train/cat/1.jpg").unlink()
  with pytest.raises(DataError, match=r"cat/1\.jpg: cannot be read: No such"):
    source[0]


# Folders that are split by hash.


def test_hash_split_is_stable_and_about_80_10_10(tmp_path):
  write(tmp_path, *(f"{name}/{i}.jpg" for name in "ab" for i in range(300)))
  splits = {name: ids(make_source(str(tmp_path), split=name), tmp_path)
            for name in ("train", "val", "test")}
  assert sum(map(len, splits.values())) == 600
  assert len(set().union(*splits.values())) == 600
  assert 440 < len(splits["train"]) < 520
  assert 35 < len(splits["val"]) < 85
  # Known answers: the same on every machine and in every version.
  assert [i for i in range(30) if split_of(f"a/{i}.jpg") != "train"
          ] == [1, 5, 16, 18, 19, 20, 25, 26, 28]
  # Adding files moves none of the others.
  write(tmp_path, *(f"c/{i}.jpg" for i in range(50)))
  for name, before in splits.items():
    assert set(before) < set(
        ids(make_source(str(tmp_path), split=name), tmp_path))


def test_hash_split_does_not_depend_on_how_names_are_composed():
  assert split_of("caf\u00e9/1.jpg") == split_of(
      "cafe\u0301/1.jpg")
  assert split_of("a\\b.jpg") in ("train", "val", "test")


def test_hash_split_class_without_training_pictures_is_named(tmp_path):
  write(tmp_path, "a/0.jpg", "b/1.jpg", "a/2.jpg", "a/1.jpg")
  assert split_of("b/1.jpg") == "train"
  write(tmp_path, "c/x.jpg")
  name = next(f"{i}.jpg" for i in range(99)
              if split_of(f"c/{i}.jpg") == "test")
  (tmp_path / "c/x.jpg").rename(tmp_path / "c" / name)
  with pytest.raises(DataError, match="too few images in class c"):
    make_source(str(tmp_path), split="train")


def test_a_class_may_be_called_train(tmp_path):
  write(tmp_path, *(f"{name}/{i}.jpg" for name in ("plane", "train")
                    for i in range(10)))
  assert make_source(str(tmp_path), split="train").class_names == (
      "plane", "train")


# What holds for all.


def test_unknown_source_lists_what_is_possible(tmp_path):
  with pytest.raises(UsageError) as error:
    make_source("digit", split="train", data_dir=str(tmp_path))
  for word in ("'digit'", "digits", "tfds:NAME", "folder", str(tmp_path)):
    assert word in str(error.value)
  with pytest.raises(UsageError, match="no split 'tain'.*mean 'train'"):
    make_source("digits", split="tain")


def test_fingerprint_tells_data_apart_but_not_places(tmp_path):
  prints = [fingerprint(make_source("digits", split=split))
            for split in ("train", "val", "train[:98%]", "val+train", "train")]
  assert len(set(prints)) == 4
  assert prints[0] == prints[4]
  here, there, other = (tmp_path / name for name in "xyz")
  write(here, "train/a/1.jpg", "train/b/1.jpg")
  write(there, "train/a/1.jpg", "train/b/1.jpg")
  write(other, "train/a/1.jpg", "train/b/2.jpg")
  same, same_elsewhere, different = (
      fingerprint(make_source(str(root), split="train"))
      for root in (here, there, other))
  assert same == same_elsewhere != different


def test_sources_travel_to_worker_processes(tmp_path):
  write(tmp_path, "train/a/1.jpg")
  for name in ("digits", str(tmp_path)):
    source = make_source(name, split="train")
    again = pickle.loads(pickle.dumps(source))
    assert again[0]["id"] == source[0]["id"]
    assert fingerprint(again) == fingerprint(source)
