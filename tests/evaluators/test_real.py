"""ImageNet-ReaL: right is what is in the picture's set of labels."""

import io
import json

import numpy as np
import pytest
from tiny_images import CLASSES, top5

from vit_jax.errors import DataError, UsageError
from vit_jax.evaluators import make_evaluator

tfds = pytest.importorskip("tensorflow_datasets")


def real_labels(logits):
  """A set for each picture; every fifth is empty, every second holds a hit."""
  rng = np.random.default_rng(3)
  sets = [sorted(rng.choice(CLASSES, 2, replace=False).tolist())
          for _ in logits]
  for i in range(0, len(sets), 2):
    sets[i].append(int(np.argmax(logits[i])))
  for i in range(0, len(sets), 5):
    sets[i] = []
  return sets


def expected(logits, sets):
  kept = [i for i, one in enumerate(sets) if one]
  best = top5(logits)
  return {
      "accuracy": np.mean([best[i, 0] in sets[i] for i in kept]),
      "accuracy_top5": np.mean(
          [any(c in sets[i] for c in best[i]) for i in kept]),
      "examples": len(kept), "unlabelled": len(sets) - len(kept)}


@pytest.fixture(scope="module")
def published(tmp_path_factory, digits, write, answer):
  """Validation pictures in class folders, real.json, and the model's logits.

  The numbers in the names and the order of the folders differ.
  """
  root = tmp_path_factory.mktemp("imagenet")
  numbers = np.random.default_rng(1).permutation(len(digits))
  images = [None] * len(digits)
  for (image, label), number in zip(digits, numbers, strict=True):
    name = f"ILSVRC2012_val_{number + 1:08d}.png"
    write(root / "val" / f"class{label}" / name, image)
    write(root / "train" / f"class{label}" / "x.png", image)
    images[number] = image
  logits, _ = answer(images)
  sets = real_labels(logits)
  (root / "real.json").write_text(json.dumps(sets))
  return root, logits, sets


def test_folder_of_validation_pictures(published, common, params):
  root, logits, sets = published
  evaluator = make_evaluator(
      type="real", source=str(root), split="val",
      labels=str(root / "real.json"), loss="softmax", shots=(1, 5, 10, 25),
      **common)
  scores = evaluator.run(params)
  assert scores == pytest.approx(expected(logits, sets))
  # In the order of the folders it would be another number.
  shifted = sets[1:] + sets[:1]
  assert expected(logits, shifted)["accuracy"] != scores["accuracy"]
  # For reports, the pictures keep their usual labels.
  assert evaluator.source.class_names[evaluator.source[0]["label"]] == (
      evaluator.source[0]["id"].split("/")[-2])


class Imagenet2012(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """The features of TFDS's own, stored in another order than the names."""

  VERSION = tfds.core.Version("5.1.0")
  PICTURES = {}

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self, features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(encoding_format="png"),
            "label": tfds.features.ClassLabel(num_classes=10),
            "file_name": tfds.features.Text()}),
        supervised_keys=("image", "label"))

  def _split_generators(self, dl_manager):
    return {"validation": self._generate_examples()}

  def _generate_examples(self):
    for name, (image, label) in self.PICTURES.items():
      yield name, {"image": io.BytesIO(image), "label": label,
                   "file_name": name}


def test_prepared_data_set(published, common, params, tmp_path):
  root, logits, sets = published
  for path in sorted(root.glob("val/*/*.png")):
    Imagenet2012.PICTURES[path.name] = (
        path.read_bytes(), int(path.parent.name.removeprefix("class")))
  Imagenet2012(data_dir=str(tmp_path), file_format="array_record"
               ).download_and_prepare()
  evaluator = make_evaluator(
      type="real", source="tfds:imagenet2012", split="validation",
      labels=str(root / "real.json"), **common | {"data_dir": str(tmp_path)})
  assert evaluator.run(params) == pytest.approx(expected(logits, sets))


def test_what_cannot_be(published, common, params, tmp_path):
  root, _, _ = published

  def make(labels=root / "real.json", source=root, split="val"):
    return make_evaluator(type="real", source=str(source), split=split,
                          labels=str(labels), **common)

  with pytest.raises(UsageError, match=r"needs labels=PATH of real\.json"):
    make(labels="")
  with pytest.raises(DataError, match="nowhere.json: cannot be read"):
    make(labels=tmp_path / "nowhere.json")
  for content, message in [
      ("{", "is not a JSON file"), ('{"a": 1}', "list of lists"),
      ('[["cat"]]', "list of lists"), ("[[12]]", "class 12.*has 12 classes"),
      ("[[1], [2]]", r"no number from 1 to 2")]:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(DataError, match=message):
      make(labels=tmp_path / "bad.json").run(params)
  with pytest.raises(DataError, match="file name 'x.png' has no number"):
    make(split="train")
