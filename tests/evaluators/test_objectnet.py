"""ObjectNet: its overlap with ImageNet, its frames, its two accuracies."""

import json

import cv2
import numpy as np
import pytest
from tiny_images import CLASSES, top5

from vit_jax.errors import DataError, UsageError
from vit_jax.evaluators import make_evaluator
from vit_jax.evaluators.objectnet import group_scores, read_overlap

OVERLAP = {"alarm_clock": [3, 7], "banana": [9], "mug": [2], "sock": [11, 0, 5]}


def write_mappings(folder):
  """The four files, in the form in which ObjectNet comes with them."""
  folder.mkdir()
  texts = [f"thing {c}, object number {c}" for c in range(CLASSES)]
  # Line of the list of names -> class number is a permutation.
  order = np.random.default_rng(5).permutation(CLASSES).tolist()
  lines = {str(c): order.index(c) for c in range(CLASSES)}
  (folder / "imagenet_to_label_2012_v2").write_text(
      "\n".join(texts[c] for c in order) + "\n")
  (folder / "pytorch_to_imagenet_2012_id.json").write_text(json.dumps(lines))
  labels = {name: name.replace("_", " ").capitalize()
            for name in ("air_freshener", *OVERLAP)}
  (folder / "folder_to_objectnet_label.json").write_text(json.dumps(labels))
  (folder / "objectnet_to_imagenet_1k.json").write_text(json.dumps(
      {labels[name]: "; ".join(texts[c] for c in classes)
       for name, classes in OVERLAP.items()}))
  return folder


@pytest.fixture(scope="module")
def objectnet(tmp_path_factory, digits, write):
  """images/ with red frames and mappings/, and what is inside the frames."""
  root = tmp_path_factory.mktemp("objectnet-1.0")
  names = ["air_freshener", *OVERLAP]
  inside = {name: [] for name in names}
  for i, (image, _) in enumerate(digits):
    name = names[i % len(names)]
    framed = cv2.copyMakeBorder(
        image, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 0, 0))
    write(root / "images" / name / f"{i:02}.png", framed)
    inside[name].append(image)
  return root, write_mappings(root / "mappings"), inside


def test_overlap_is_read_from_the_published_files(objectnet, tmp_path):
  _, mappings, _ = objectnet
  assert read_overlap(str(mappings), CLASSES) == OVERLAP
  (tmp_path / "own.json").write_text(json.dumps(OVERLAP))
  assert read_overlap(str(tmp_path / "own.json"), CLASSES) == OVERLAP


def test_group_scores_are_the_best_of_each_group():
  logits = np.array([[1.0, 5.0, 3.0, -2.0], [0.0, -9.0, -8.0, 4.0]])
  members = np.array([[0, 1], [2, -1], [3, -1]])
  np.testing.assert_array_equal(
      group_scores(logits, members), [[5, 3, -2], [0, -8, 4]])


def test_objectnet_scores_what_imagenet_has(objectnet, common, params, answer):
  root, mappings, inside = objectnet
  evaluator = make_evaluator(
      type="objectnet", source=str(root / "images"), split="test",
      labels=str(mappings), **common)
  names = sorted(OVERLAP)
  rows = [row for row, name in enumerate(names) for _ in inside[name]]
  logits, _ = answer([image for name in names for image in inside[name]])
  best = top5(logits)
  sets = [OVERLAP[names[row]] for row in rows]
  among = np.stack(
      [logits[:, OVERLAP[name]].max(axis=-1) for name in names], axis=-1)
  expected = {
      "accuracy": np.mean([b[0] in s for b, s in zip(best, sets, strict=True)]),
      "accuracy_top5": np.mean(
          [bool(set(b) & set(s)) for b, s in zip(best, sets, strict=True)]),
      "overlap_accuracy": np.mean(among.argmax(axis=-1) == rows),
      "overlap_accuracy_top5": 1.0,  # There are only four objects here.
      "examples": 32}
  scores = evaluator.run(params)
  assert scores == pytest.approx(expected)
  assert len(rows) == 32 < 40  # Air fresheners are not looked at.
  # With the frames left on, the model sees something else.
  framed, _ = answer(sorted(map(str, (root / "images").glob("[b-s]*/*.png"))))
  assert not np.allclose(framed[:8], logits[8:16], atol=1e-2)
  assert evaluator.source[0]["label"] == OVERLAP[names[0]][0]


def test_objectnet_that_is_something_else(objectnet, common, tmp_path):
  root, mappings, _ = objectnet

  def make(labels, source=root / "images", **changes):
    return make_evaluator(type="objectnet", source=str(source), split="",
                          labels=str(labels), **common | changes)

  with pytest.raises(UsageError, match="needs labels=PATH"):
    make("")
  with pytest.raises(DataError, match="none of the folders"):
    make(mappings, source=root)
  small = common["model"].clone(num_classes=10)
  with pytest.raises(DataError, match="class 11.*has 10 classes"):
    make(mappings, model=small)
  (tmp_path / "list.json").write_text("[1, 2]")
  with pytest.raises(DataError, match=r"\{folder: \[ImageNet class"):
    make(tmp_path / "list.json")
  broken = write_mappings(tmp_path / "mappings")
  (broken / "imagenet_to_label_2012_v2").write_text("thing 0\n" * CLASSES)
  with pytest.raises(DataError, match="is not in imagenet_to_label_2012_v2"):
    make(broken)
  (broken / "pytorch_to_imagenet_2012_id.json").unlink()
  with pytest.raises(DataError, match="pytorch_to_imagenet.*cannot be read"):
    make(broken)
