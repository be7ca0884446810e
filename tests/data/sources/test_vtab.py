"""VTAB's tasks: labels by numbers, splits, and builders of TFDS's form."""

import io

import cv2
import numpy as np
import pytest

from vit_jax.data.decode import decode
from vit_jax.data.sources import fingerprint, make_source, vtab
from vit_jax.errors import DataError, UsageError

tfds = pytest.importorskip("tensorflow_datasets")
TASKS = vtab.TASKS


def objects(**features):
  return {"objects": features}


def test_nineteen_tasks_in_three_groups():
  groups = [task.group for task in TASKS.values()]
  assert [groups.count(group) for group in vtab.GROUPS] == [7, 4, 8]
  assert {name: task.classes for name, task in TASKS.items()} == {
      "caltech101": 102, "cifar100": 100, "dtd": 47, "flowers102": 102,
      "pets": 37, "sun397": 397, "svhn": 10, "camelyon": 2, "eurosat": 10,
      "resisc45": 45, "retinopathy": 5, "clevr_count": 8, "clevr_distance": 6,
      "dmlab": 6, "dsprites_location": 16, "dsprites_orientation": 16,
      "kitti_distance": 4, "smallnorb_azimuth": 18, "smallnorb_elevation": 9}


def test_what_must_not_be_mirrored_or_cropped():
  """BiT, appendix F."""
  assert [name for name, task in TASKS.items() if not task.flip] == [
      "dsprites_location", "dsprites_orientation", "smallnorb_azimuth"]
  assert [name for name, task in TASKS.items() if not task.crop] == [
      "clevr_count", "clevr_distance", "dmlab", "dsprites_location",
      "kitti_distance"]


def test_clevr_counts_from_three_to_ten():
  label = TASKS["clevr_count"].label
  assert [label(objects(size=np.zeros(n, np.int64))) for n in range(3, 11)] == (
      list(range(8)))


@pytest.mark.parametrize("nearest, label", [
    (0.5, 0), (8.0, 0), (8.01, 1), (8.5, 1), (8.6, 2), (9.2, 3), (9.5, 3),
    (9.9, 4), (10.0, 4), (10.1, 5), (40.0, 5)])
def test_clevr_distance_is_that_of_the_nearest(nearest, label):
  coords = np.array([[3, 5, 60.0], [1, 2, nearest]], np.float32)
  assert TASKS["clevr_distance"].label(objects(pixel_coords=coords)) == label


@pytest.mark.parametrize("depths, types, label", [
    ([5.0, 30.0], [0, 1], 0), ([8.0], [2], 0), ([8.1, 50.0], [1, 0], 1),
    ([20.0], [0], 1), ([20.5], [0], 2), ([999.0], [0], 2),
    ([5.0, 30.0], [3, 0], 2),  # The nearest is a pedestrian.
    ([5.0], [4], 3), ([], [], 3)])
def test_kitti_distance_is_that_of_the_nearest_vehicle(depths, types, label):
  location = np.array([[0, 0, z] for z in depths], np.float32).reshape(-1, 3)
  example = objects(location=location, type=np.array(types, np.int64))
  assert TASKS["kitti_distance"].label(example) == label


def test_dsprites_positions_and_angles_fall_into_16_bins():
  x = TASKS["dsprites_location"].label
  assert [x({"label_x_position": i}) for i in (0, 1, 2, 30, 31)] == [
      0, 0, 1, 15, 15]
  angle = TASKS["dsprites_orientation"].label
  bins = [angle({"label_orientation": i}) for i in range(40)]
  assert bins[:6] == [0, 0, 0, 1, 1, 2] and bins[-3:] == [14, 15, 15]
  # Of 40 angles 2.5 share a bin.
  assert set(np.bincount(bins)) == {2, 3} and len(set(bins)) == 16


@pytest.mark.parametrize("name, sizes, train, val, test", [
    ("cifar100", {"train": 50000, "test": 10000}, "train[:800]",
     "train[45000:45200]", "test"),
    ("pets", {"train": 3680, "test": 3669}, "train[:800]",
     "train[2944:3144]", "test"),
    ("dtd", {"train": 1880, "validation": 1880, "test": 1880}, "train[:800]",
     "validation[0:200]", "test"),
    ("eurosat", {"train": 27000}, "train[:800]", "train[16200:16400]",
     "train[21600:]"),
    ("resisc45", {"train": 31500}, "train[:800]", "train[18900:19100]",
     "train[25200:]"),
    ("clevr_count", {"train": 70000, "validation": 15000, "test": 15000},
     "train[:800]", "train[63000:63200]", "validation"),
    ("dsprites_location", {"train": 737280}, "train[:800]",
     "train[589824:590024]", "train[663552:]"),
    ("smallnorb_azimuth", {"train": 24300, "test": 24300}, "train[:800]",
     "test[0:200]", "test[12150:]")])
def test_splits_are_those_of_the_benchmark(name, sizes, train, val, test):
  def text(split):
    return vtab.split_text(TASKS[name], split, sizes)

  assert (text("train800"), text("val200"), text("test")) == (train, val, test)
  assert text("train800val200") == f"{train}+{val}"


def test_a_data_set_that_lacks_a_split():
  with pytest.raises(DataError, match="no split 'validation'.*train, test"):
    vtab.split_text(TASKS["dtd"], "test", {"train": 5, "test": 5})


class Smallnorb(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Twelve grey pictures with the features of the real one."""

  VERSION = tfds.core.Version("2.0.0")
  COUNT = 12

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(96, 96, 1)),
            "image2": tfds.features.Image(shape=(96, 96, 1)),
            "label_category": tfds.features.ClassLabel(num_classes=5),
            "label_elevation": tfds.features.ClassLabel(num_classes=9),
            "label_azimuth": tfds.features.ClassLabel(num_classes=18)}),
        supervised_keys=("image", "label_category"))

  def _split_generators(self, dl_manager):
    return {name: self._generate_examples() for name in ("train", "test")}

  def _generate_examples(self):
    for i in range(self.COUNT):
      yield i, {
          "image": png(np.full((96, 96), i)), "image2": png(np.zeros((96, 96))),
          "label_category": i % 5, "label_elevation": i % 9,
          "label_azimuth": i}


class Dsprites(Smallnorb, skip_registration=True):
  """White is stored as 1; of 2000 pictures 200 are for validation."""

  COUNT = 2000

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(64, 64, 1)),
            "label_orientation": tfds.features.ClassLabel(num_classes=40),
            "label_x_position": tfds.features.ClassLabel(num_classes=32)}))

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for i in range(self.COUNT):
      shown = np.zeros((64, 64))
      shown[:, i % 32] = 1
      yield i, {"image": png(shown), "label_orientation": i % 40,
                "label_x_position": i % 32}


class Kitti(Smallnorb, skip_registration=True):
  """Pictures with lists of objects, one of them empty."""

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(),
            "objects": tfds.features.Sequence({
                "type": tfds.features.ClassLabel(num_classes=8),
                "location": tfds.features.Tensor(
                    shape=(3,), dtype=np.float32)})}))

  def _split_generators(self, dl_manager):
    return {name: self._generate_examples()
            for name in ("train", "validation", "test")}

  def _generate_examples(self):
    for i in range(4):
      depths = [100.0, 5.0 * i][:i]
      yield i, {
          "image": png(np.full((8, 8, 3), i)),
          "objects": [{"type": 0, "location": np.array([0, 0, z], np.float32)}
                      for z in depths]}


def png(image):
  return io.BytesIO(
      cv2.imencode(".png", np.asarray(image, np.uint8))[1].tobytes())


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  path = str(tmp_path_factory.mktemp("tfds"))
  for builder in (Smallnorb, Dsprites, Kitti):
    builder(data_dir=path, file_format="array_record").download_and_prepare()
  return path


def test_smallnorb_shows_one_picture_and_its_azimuth(data_dir):
  azimuth = make_source(
      "vtab:smallnorb_azimuth", split="test", data_dir=data_dir)
  assert (len(azimuth), azimuth.num_classes) == (6, 18)
  for example in azimuth:
    image = decode(example["image"])
    assert image.shape == (96, 96, 3)
    assert example["label"] == image[0, 0, 0]
  elevation = make_source(
      "vtab:smallnorb_elevation", split="test", data_dir=data_dir)
  assert elevation.num_classes == 9
  assert fingerprint(elevation) != fingerprint(azimuth)


def test_dsprites_is_made_visible_and_split_in_800_and_200(data_dir):
  source = make_source("vtab:dsprites_location", split="train800val200",
                       data_dir=data_dir)
  assert (len(source), source.num_classes) == (1000, 16)
  assert source.indices[799:801].tolist() == [799, 1600]
  for i in (0, 500, 999):
    image = decode(source[i]["image"])
    assert set(np.unique(image)) == {0, 255}
    column = int(np.flatnonzero(image[0, :, 0])[0])
    assert source[i]["label"] == column // 2
  test = make_source("vtab:dsprites_location", split="test", data_dir=data_dir)
  assert len(test) == 200
  assert not set(test.indices) & set(source.indices)


def test_kitti_labels_come_from_the_objects(data_dir):
  source = make_source("vtab:kitti_distance", split="test", data_dir=data_dir)
  found = {int(decode(x["image"])[0, 0, 0]): x["label"] for x in source}
  assert found == {0: 3, 1: 2, 2: 1, 3: 1}


def test_names_and_splits_that_are_unknown(data_dir):
  with pytest.raises(UsageError, match="did you mean 'clevr_count'"):
    make_source("vtab:clevr_counts", split="test", data_dir=data_dir)
  with pytest.raises(UsageError, match="did you mean 'train800'"):
    make_source("vtab:smallnorb_azimuth", split="train80", data_dir=data_dir)
  with pytest.raises(DataError, match="tfds:dmlab: not prepared"):
    make_source("vtab:dmlab", split="test", data_dir=data_dir)
