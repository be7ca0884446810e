"""Data sets prepared by TFDS, read and even made without TensorFlow."""

import io
import json
import os
import pathlib
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import simplejpeg

from vit_jax.data.decode import decode
from vit_jax.data.sources import fingerprint, make_source
from vit_jax.errors import DataError, UsageError

tfds = pytest.importorskip("tensorflow_datasets")

LABELS = {"train": 20, "validation": 5}


def jpeg(number):
  return simplejpeg.encode_jpeg(np.full((6, 8, 3), 10 * number, np.uint8))


class TinyPets(tfds.core.GeneratorBasedBuilder):
  """Twenty-five pictures with more features than anyone asked for."""

  VERSION = tfds.core.Version("1.2.0")
  FEATURES = {
      "image": tfds.features.Image(shape=(None, None, 3)),
      "mask": tfds.features.Image(shape=(None, None, 1)),
      "label": tfds.features.ClassLabel(names=["cat", "dog", "emu"]),
      "coarse": tfds.features.ClassLabel(num_classes=1),
      "file_name": tfds.features.Text()}
  SUPERVISED = ("image", "label")

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict(self.FEATURES),
        supervised_keys=self.SUPERVISED)

  def _split_generators(self, dl_manager):
    return {name: self._generate_examples(count)
            for name, count in LABELS.items()}

  def _generate_examples(self, count):
    for i in range(count):
      values = {"image": io.BytesIO(jpeg(i)), "mask": io.BytesIO(jpeg(0)),
                "label": i % 3, "coarse": 0, "file_name": f"{i}.jpg"}
      yield i, {key: values[key] for key in self.FEATURES}


class TwoPictures(TinyPets):
  """Which of the two is meant nobody can know."""

  FEATURES = {"left": TinyPets.FEATURES["image"],
              "right": TinyPets.FEATURES["image"],
              "label": TinyPets.FEATURES["label"]}
  SUPERVISED = None

  def _generate_examples(self, count):
    for i in range(count):
      yield i, {"left": io.BytesIO(jpeg(i)), "right": io.BytesIO(jpeg(i)),
                "label": 0}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  path = str(tmp_path_factory.mktemp("tfds"))
  for builder in (TinyPets, TwoPictures):
    builder(data_dir=path, file_format="array_record").download_and_prepare()
  return path


def originals(source):
  """Numbers of the pictures, by what they show."""
  return [round(int(decode(source[i]["image"])[0, 0, 0]) / 10)
          for i in range(len(source))]


def test_reads_raw_pictures_and_labels(data_dir):
  source = make_source("tfds:tiny_pets", split="train", data_dir=data_dir)
  assert len(source) == 20
  assert source.class_names == ("cat", "dog", "emu")
  assert source.num_classes == 3
  numbers = originals(source)
  assert sorted(numbers) == list(range(20))  # TFDS shuffles when it writes.
  for i, number in enumerate(numbers):
    assert source[i]["image"] == jpeg(number)
    assert source[i]["label"] == number % 3
  assert source[7]["id"] == "tfds:tiny_pets train 7"


def test_parts(data_dir):
  def read(split):
    return originals(make_source(
        "tfds:tiny_pets:1.2.0", split=split, data_dir=data_dir))

  train, val = read("train"), read("validation")
  assert read("train[:50%]") + read("train[50%:]") == train
  assert read("train[3:5]") == train[3:5]
  assert read("val") == val
  assert read("validation[1:]+train[:2]") == val[1:] + train[:2]


def test_worker_processes_can_have_it(data_dir):
  source = make_source("tfds:tiny_pets", split="val", data_dir=data_dir)
  again = pickle.loads(pickle.dumps(source))
  assert again[2] == source[2]
  assert fingerprint(again) == fingerprint(source)
  assert fingerprint(source) != fingerprint(
      make_source("tfds:tiny_pets", split="train[:5]", data_dir=data_dir))


def test_not_prepared_names_the_command(data_dir):
  with pytest.raises(DataError) as error:
    make_source("tfds:cifar10", split="train", data_dir=data_dir)
  assert "python -m vit_jax prepare cifar10" in str(error.value)
  assert data_dir in str(error.value)
  assert "mean" not in str(error.value)
  assert "\n" not in str(error.value)
  with pytest.raises(DataError, match="did you mean 'imagenet2012'"):
    make_source("tfds:imagnet2012", split="train", data_dir=data_dir)
  with pytest.raises(UsageError, match="a b"):
    make_source("tfds:a b", split="train", data_dir=data_dir)
  with pytest.raises(UsageError, match="there are: train, validation"):
    make_source("tfds:tiny_pets", split="test", data_dir=data_dir)


def test_other_formats_are_refused(data_dir, tmp_path):
  old = f"{data_dir}/tiny_pets/1.2.0"
  new = tmp_path / "tiny_pets/1.2.0"
  new.mkdir(parents=True)
  for name in ("features.json", "dataset_info.json", "label.labels.txt"):
    text = open(f"{old}/{name}").read()
    new.joinpath(name).write_text(text.replace("array_record", "tfrecord"))
  with pytest.raises(DataError, match="prepared as tfrecord.*array_record"):
    make_source("tfds:tiny_pets", split="train", data_dir=str(tmp_path))


def test_ambiguous_features_are_named(data_dir):
  with pytest.raises(DataError, match=r"one image \(Image\).*left, right"):
    make_source("tfds:two_pictures", split="train", data_dir=data_dir)


def test_damaged_record_is_named(data_dir):
  source = make_source("tfds:tiny_pets", split="val", data_dir=data_dir)

  class Broken:
    def __getitem__(self, index):
      raise ValueError("checksum\nand more")

  (_, reader), = source.read.args[1].values()
  reader = type(reader)(reader.func, Broken(), *reader.args[1:])
  with pytest.raises(DataError, match="validation 3: cannot be read: checksum"):
    reader(3)


def test_tensorflow_is_never_imported(data_dir, tmp_path):
  """In a process of its own, with a TensorFlow that records its import."""
  (tmp_path / "tensorflow.py").write_text(
      "import builtins\nbuiltins.tensorflow_was_imported = True\n")
  code = """
      import builtins, json, sys
      from vit_jax.data import loader, sources
      light = [name for name in ("tensorflow_datasets", "sklearn")
               if name in sys.modules]
      source = sources.make_source(
          "tfds:tiny_pets", split="train", data_dir=sys.argv[1])
      batches = loader.train_batches(
          source, preprocess="resize({size})", image_size=4, batch_size=8,
          seed=0, num_threads=2)
      shape = next(batches)["image"].shape
      batches.close()
      imported = hasattr(builtins, "tensorflow_was_imported")
      print(json.dumps([light, shape, imported, "tensorflow" in sys.modules]))
  """
  path = os.pathsep.join(filter(None, [
      str(tmp_path), str(pathlib.Path(__file__).parents[2]),
      os.environ.get("PYTHONPATH")]))
  output = subprocess.run(
      [sys.executable, "-c", textwrap.dedent(code), data_dir], check=True,
      capture_output=True, text=True, timeout=300,
      env={**os.environ, "PYTHONPATH": path}).stdout
  assert json.loads(output.splitlines()[-1]) == [[], [8, 4, 4, 3], False, False]
