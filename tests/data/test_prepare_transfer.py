"""CIFAR, Imagenette, Pets, Flowers and folders, in the published formats."""

import os
import pickle

import make_archives as archives
import numpy as np
import pytest

from vit_jax.data.decode import decode
from vit_jax.data.prepare import cifar, counts, records
from vit_jax.data.prepare.run import prepare
from vit_jax.data.sources import make_source
from vit_jax.errors import DataError, UsageError


@pytest.fixture
def folders(tmp_path):
  return str(tmp_path / "archives"), str(tmp_path / "data")


def examples(name, split, data_dir):
  source = make_source(f"tfds:{name}", split=split, data_dir=data_dir)
  return source, [(decode(example["image"]), example["label"])
                  for example in (source[i] for i in range(len(source)))]


def grey(name, split, data_dir):
  """Returns {number of the picture: label}; see make_archives.jpeg."""
  _, found = examples(name, split, data_dir)
  return {int(pixels[0, 0, 0]): label for pixels, label in found}


@pytest.mark.parametrize("kind", ["binary", "python"])
def test_cifar10(folders, kind):
  """Every pixel of every picture, whichever archive is there."""
  manual, data = folders
  truth = archives.cifar10(manual, kind=kind)
  report, = prepare("cifar10", manual_dir=manual, data_dir=data, partial=True)
  assert report.splits == {"train": 60, "test": 12}
  for split, (pixels, labels) in zip(("train", "test"), truth, strict=True):
    source, found = examples("cifar10", split, data)
    assert source.class_names[3] == "thing_3" and source.num_classes == 10
    wanted = {planes.tobytes(): label
              for planes, label in zip(pixels, labels, strict=True)}
    got = {picture.transpose(2, 0, 1).tobytes(): label
           for picture, label in found}
    assert got == wanted
  with pytest.raises(DataError, match="train: 60 images of 50,000"):
    prepare("cifar10", manual_dir=manual, data_dir=data + "2")


def test_cifar100_keeps_the_coarse_labels(folders):
  import tensorflow_datasets as tfds

  manual, data = folders
  archives.cifar100(manual)
  prepare("cifar100", manual_dir=manual, data_dir=data, partial=True)
  builder = tfds.core.read_only_builder.builder_from_files(
      "cifar100", data_dir=data)
  for example in builder.as_data_source("test"):
    assert example["coarse_label"] == example["label"] // 5
    assert example["id"].startswith(b"test_000")
  source, found = examples("cifar100", "train", data)
  assert source.class_names[99] == "thing_99"
  assert sorted(label for _, label in found) == sorted(list(range(100)) * 2)


def test_cifar_counts(folders, monkeypatch):
  """The check accepts what is right and names what is not."""
  manual, data = folders
  archives.cifar10(manual, count=10)
  right = counts.Expected(10, {"train": 50, "test": 10}, {"train": 5})
  archives.expect(monkeypatch, "cifar10", right)
  assert prepare("cifar10", manual_dir=manual, data_dir=data)[0].notes == ()
  wrong = counts.Expected(11, {"train": 51, "test": 10}, {"test": 2})
  archives.expect(monkeypatch, "cifar10", wrong)
  with pytest.raises(DataError) as error:
    prepare("cifar10", manual_dir=manual, data_dir=data + "2")
  for part in ("10 classes of 11", "train: 50 images of 51",
               "test: thing_0 has 1 of 2", "and 5 more"):
    assert part in str(error.value)


class Evil:
  def __reduce__(self):
    return os.system, ("touch /tmp/vit_jax_was_here",)


def test_pickles_run_nothing():
  """The unpickler would run it, were it the usual one: it refuses."""
  data = pickle.dumps({b"data": Evil()}, protocol=2)
  with pytest.raises(DataError, match="uses posix.system.*malicious"):
    cifar._unpickle("data_batch_1", data)
  assert not os.path.exists("/tmp/vit_jax_was_here")
  array = np.arange(6, dtype=np.uint8).reshape(2, 3)
  good = cifar._unpickle("x", pickle.dumps({"data": array, "n": [b"a"]}, 2))
  np.testing.assert_array_equal(good["data"], array)
  with pytest.raises(DataError, match="data_batch_1: cannot be read"):
    cifar._unpickle("data_batch_1", data[:10])


def test_broken_cifar(folders):
  manual, data = folders
  archives.cifar10(manual)
  path = f"{manual}/cifar-10-binary.tar.gz"
  archives.cut(path, -5000)
  with pytest.raises(DataError, match="cifar-10-binary.tar.gz: a damaged or"):
    prepare("cifar10", manual_dir=manual, data_dir=data, partial=True)
  archives.write(manual, **{"cifar-10-binary.tar.gz": archives.tar(
      {"cifar-10-batches-bin/data_batch_1.bin": bytes(100)}, "w:gz")})
  with pytest.raises(DataError, match="does not contain batches.meta.txt"):
    prepare("cifar10", manual_dir=manual, data_dir=data, partial=True)
  os.remove(path)
  with pytest.raises(DataError, match="kriz/cifar.html.*--download"):
    prepare("cifar10", manual_dir=manual, data_dir=data, partial=True)
  assert not os.path.exists(f"{data}/cifar10/3.0.2")
  with pytest.raises(UsageError, match="are 32x32; leave it out"):
    prepare("cifar10", manual_dir=manual, data_dir=data, short_side=16)


def test_imagenette_of_every_size_that_is_there(folders):
  manual, data = folders
  archives.imagenette(manual, "-160")
  archives.imagenette(manual, "", each=1)
  reports = prepare("imagenette", manual_dir=manual, data_dir=data,
                    partial=True)
  assert [(report.name, report.splits["train"]) for report in reports] == [
      ("imagenette/full-size-v2", 10), ("imagenette/160px-v2", 30)]
  found = grey("imagenette/160px-v2", "train", data)
  assert found == {i: i // 3 for i in range(30)}
  found = grey("imagenette/160px-v2:1.0.0", "validation", data)
  assert found == {30 + i: i // 2 for i in range(20)}
  with pytest.raises(UsageError, match="did you mean '320px-v2'"):
    prepare("imagenette/320px", manual_dir=manual, data_dir=data)
  with pytest.raises(DataError, match="imagenette2-320.tgz: no such file"):
    prepare("imagenette/320px-v2", manual_dir=manual, data_dir=data)


def test_pets(folders):
  manual, data = folders
  archives.pets(manual)
  report, = prepare("oxford_iiit_pet", manual_dir=manual, data_dir=data,
                    partial=True)
  assert report.splits == {"train": 6, "test": 6}
  source, _ = examples("oxford_iiit_pet", "train", data)
  assert source.class_names == archives.PETS
  assert grey("oxford_iiit_pet", "train", data) == {
      0: 0, 2: 0, 10: 1, 12: 1, 20: 2, 22: 2}
  assert grey("oxford_iiit_pet", "test", data) == {
      1: 0, 3: 0, 11: 1, 13: 1, 21: 2, 23: 2}


def test_pets_that_the_lists_name_must_be_there(folders):
  manual, data = folders
  archives.pets(manual)
  archives.write(manual, **{"images.tar.gz": archives.tar(
      {"images/Abyssinian_1.jpg": archives.jpeg(0)}, "w:gz")})
  with pytest.raises(DataError, match="images.tar.gz: Abyssinian_3.jpg is li"):
    prepare("oxford_iiit_pet", manual_dir=manual, data_dir=data)
  report, = prepare("oxford_iiit_pet", manual_dir=manual, data_dir=data,
                    partial=True)
  assert report.splits == {"train": 1}
  archives.write(manual, **{"annotations.tar.gz": archives.tar(
      {"annotations/trainval.txt": b"a b\n", "annotations/test.txt": b""})})
  with pytest.raises(DataError, match="trainval.txt: cannot read 'a b'"):
    prepare("oxford_iiit_pet", manual_dir=manual, data_dir=data + "2")


def test_flowers(folders):
  """The lists trnid, valid and tstid are train, validation and test."""
  manual, data = folders
  archives.flowers(manual)
  report, = prepare("oxford_flowers102", manual_dir=manual, data_dir=data,
                    partial=True)
  assert report.splits == {"train": 3, "validation": 3, "test": 6}
  assert grey("oxford_flowers102", "train", data) == {0: 0, 1: 1, 2: 2}
  assert grey("oxford_flowers102", "val", data) == {5: 2, 4: 1, 3: 0}
  assert grey("oxford_flowers102", "test", data) == {
      i: i % 3 for i in range(6, 12)}
  archives.write(manual, **{"setid.mat": archives.mat(other=[1])})
  with pytest.raises(DataError, match="setid.mat: cannot be read.*'trnid'"):
    prepare("oxford_flowers102", manual_dir=manual, data_dir=data + "2")


def make_folder(root, splits=("train", "val"), names=("ant", "bee")):
  number = 0
  for split in splits:
    for name in names:
      for i in range(3):
        archives.write(os.path.join(root, split, name), **{
            f"{i} ü.jpg": archives.jpeg(number, (40, 60))})
        number += 1


def test_a_folder(folders):
  root, data = folders
  make_folder(root)
  report, = prepare(f"folder:{root}", data_dir=data)
  assert report.name == "archives"
  assert grey("archives", "train", data) == {i: i // 3 for i in range(6)}
  assert grey("archives", "val", data) == {i: (i - 6) // 3
                                           for i in range(6, 12)}
  report, = prepare(f"folder:{root}", data_dir=data, rename="insects")
  assert report.name == "insects"
  os.makedirs(f"{root}/cifar10/train")
  with pytest.raises(UsageError, match="--name=my_pictures"):
    prepare(f"folder:{root}/cifar10", data_dir=data)
  with pytest.raises(DataError, match="no image found; expected"):
    prepare(f"folder:{root}/cifar10", data_dir=data, rename="x")
  with pytest.raises(UsageError, match="--name is for folder"):
    prepare("cifar10", data_dir=data, rename="x")


def test_short_side(folders):
  """Larger pictures shrink, others keep every byte; the name says it."""
  root, data = folders
  make_folder(root)  # 40 to 42 by 60
  archives.write(os.path.join(root, "train", "ant"), **{
      "small.jpg": archives.jpeg(200)})
  report, = prepare(f"folder:{root}", data_dir=data, short_side=20)
  assert report.name == "archives_20"
  source, found = examples("archives_20", "train", data)
  shapes = {int(pixels[0, 0, 0]): pixels.shape for pixels, _ in found}
  assert shapes[0] == (20, 30, 3) and shapes[1] == (20, 29, 3)
  assert shapes[200] == archives.decode_shape(200)
  assert archives.jpeg(200) in [
      source[i]["image"] for i in range(len(source))]
  again, = prepare(f"folder:{root}", data_dir=data, short_side=20)
  assert again.how == "was there" and again.splits == report.splits


def test_shrinking_averages():
  """A board of black and white pixels becomes grey, not black or white."""
  board = np.indices((64, 64)).sum(0) % 2 * 255
  pixels = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
  import cv2

  data = cv2.imencode(".png", pixels)[1].tobytes()
  small = decode(records.shrink(data, 16))
  assert small.shape == (16, 16, 3)
  assert abs(small.astype(int) - 127.5).max() < 3
  assert records.shrink(data, 64) is data
  with pytest.raises(DataError, match="PNG picture"):
    records.shrink(data[:200], 16)


def test_an_undecodable_picture_is_named(folders):
  root, data = folders
  make_folder(root)
  archives.write(os.path.join(root, "train", "bee"), **{"bad.jpg": b"<html>"})
  with pytest.raises(DataError, match="bad.jpg.*not a picture but an HTML"):
    prepare(f"folder:{root}", data_dir=data, short_side=20)
  archives.write(os.path.join(root, "train", "bee"), **{"bad.jpg": b""})
  with pytest.raises(DataError, match="bad.jpg.*0 of 0 bytes"):
    prepare(f"folder:{root}", data_dir=data)
