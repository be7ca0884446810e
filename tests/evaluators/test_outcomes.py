"""What was said of each example, and the scores that follow from it."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_images import SPLIT

from vit_jax.data.sources import make_source
from vit_jax.devices.sharding import make_mesh
from vit_jax.evaluators import make_evaluator, outcomes, run_by_example


@pytest.mark.parametrize("batch_size, devices", [(8, 1), (48, 8)])
def test_every_example_once_and_in_order(
    common, params, logits, labels, batch_size, devices):
  # A batch of 48 is padded, and split over the devices.
  changes = dict(
      batch_size=batch_size, mesh=make_mesh(devices=jax.devices()[:devices]))
  scores, found = run_by_example(make_evaluator(
      source="digits", split=SPLIT, **common | changes), params)
  np.testing.assert_array_equal(found.index, np.arange(40))
  np.testing.assert_array_equal(found.label, labels)
  np.testing.assert_array_equal(found.predicted, logits.argmax(-1))
  chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  np.testing.assert_allclose(found.probability, chances.max(-1), rtol=1e-5)
  assert found.hits.mean() == scores["accuracy"]


def test_an_unread_image_is_not_among_them(common, params, digits, write,
                                           tmp_path):
  paths = [write(tmp_path / "test" / f"{label:02}" / f"{i:02}.png", image)
           for i, (image, label) in enumerate(digits)]
  broken = sorted(paths).index(paths[3])
  (tmp_path / "test" / f"{digits[3][1]:02}" / "03.png").write_bytes(b"broken")
  _, found = run_by_example(make_evaluator(
      source=str(tmp_path), split="test", max_broken=1, **common), params)
  assert found.index.tolist() == [i for i in range(40) if i != broken]


def test_an_evaluator_without_single_labels_has_none(common, params):
  evaluator = make_evaluator(
      type="fewshot", source="digits", split="val[:16]",
      train_split="train[:96]", shots=(1,), num_seeds=1, **common)
  scores, found = run_by_example(evaluator, params)
  assert found is None
  assert "accuracy_1shot" in scores


@pytest.fixture
def three():
  """Seven examples of the classes a, b and d; none of c."""
  source = make_source("digits", split="test[:7]")
  return outcomes.Outcomes(
      source, 4, ("a", "b", "c", "d"), index=np.arange(7),
      label=np.array([0, 0, 0, 1, 1, 3, 3]),
      predicted=np.array([0, 0, 1, 1, 2, 0, 0]),
      probability=np.array([0.9, 0.8, 0.5, 0.9, 0.4, 0.6, 0.7]))


def test_accuracies_of_the_classes_in_the_split(three):
  scores = three.scores()
  by_class = np.array([2 / 3, 1 / 2, 0])  # Of a, b, d: c has no example.
  assert scores["accuracy_class_mean"] == pytest.approx(by_class.mean())
  assert scores["accuracy_class_min"] == 0
  assert by_class.mean() != pytest.approx(three.hits.mean())
  described = three.to_json(0)["accuracy_by_class"]
  assert [(x["name"], x["examples"]) for x in described] == [
      ("a", 3), ("b", 2), ("d", 2)]
  assert [x["accuracy"] for x in described] == by_class.tolist()


def test_the_confusion_matrix_has_true_classes_as_rows(three):
  matrix = three.confusion_matrix()
  assert matrix.tolist() == [
      [2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [2, 0, 0, 0]]
  assert matrix.sum() == 7
  assert np.trace(matrix) == three.hits.sum()
  assert three.confusions() == [(3, 0, 2), (0, 1, 1), (1, 2, 1)]


def test_mistakes_have_the_names_of_their_files_the_surest_first(three):
  described = three.to_json(3)
  rows = [6, 5, 2]
  assert [x["file"] for x in described["mistakes"]] == [
      three.source[i]["id"] for i in rows]
  assert [x["index"] for x in described["mistakes"]] == rows
  first = described["mistakes"][0]
  assert (first["name"], first["predicted_name"]) == ("d", "a")
  assert first["probability"] == 0.7
  assert described["mistakes_left_out"] == 1
  assert three.to_json(9)["mistakes_left_out"] == 0


def test_many_classes_have_pairs_instead_of_a_matrix(three):
  many = dataclasses.replace(
      three, num_classes=outcomes.MOST_CLASSES + 1, class_names=None)
  described = many.to_json(1)
  assert described["confusion_matrix"] is None
  assert described["confusions"][0] == {
      "label": 3, "name": "class 3", "predicted": 0,
      "predicted_name": "class 0", "count": 2}
  assert described["confusions_left_out"] == 0


def test_nothing_wrong_and_nothing_to_list(three):
  perfect = dataclasses.replace(three, predicted=three.label)
  described = perfect.to_json(5)
  assert described["confusions"] == described["mistakes"] == []
  assert perfect.scores()["accuracy_class_min"] == 1
