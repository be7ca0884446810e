"""Labels of a data set become numbers of the model's classes, by name."""

import dataclasses

from made_folders import labels, make
import numpy as np
import pytest

from vit_jax.data.class_names import class_ids, class_names
from vit_jax.data.loader import eval_batches, train_batches
from vit_jax.data.sources import make_source
from vit_jax.data.sources.classes import (
  LabelError,
  check_labels,
  match_classes,
)
from vit_jax.errors import DataError


def source(root, names, count=2):
  make(root, *(f"{name}/*.jpg" for name in names), count=count)
  return make_source(str(root), split="all")


def test_a_set_that_lacks_classes_keeps_their_numbers(tmp_path):
  """A test set of a and c only was numbered 0 and 1: a score of 0.5."""
  test = source(tmp_path, "ac")
  matched = match_classes(test, ("a", "b", "c"), 3)
  assert labels(test) == [0, 0, 1, 1]
  assert labels(matched) == matched.labels.tolist() == [0, 0, 2, 2]
  assert matched.class_names == ("a", "b", "c")
  assert matched.num_classes == 3
  assert [matched[i]["id"] for i in range(4)] == [
      test[i]["id"] for i in range(4)]


def test_another_order_is_mapped(tmp_path):
  matched = match_classes(source(tmp_path, "abc", 1), ("c", "a", "b"), 3)
  assert labels(matched) == [1, 2, 0]


def test_more_outputs_than_names_and_the_same_names(tmp_path):
  test = source(tmp_path, "ab", 1)
  assert labels(match_classes(test, ("a", "b"), 2)) == [0, 1]
  assert labels(match_classes(test, ("x", "b", "a", "y"), 4)) == [2, 1]


def test_an_unknown_class_is_refused(tmp_path):
  test = source(tmp_path, ("cat", "dgo"))
  with pytest.raises(DataError) as error:
    match_classes(test, ("cat", "dog", "emu"), 3)
  message = str(error.value)
  assert f"{tmp_path}, all: class dgo is not one of the model's 3" in message
  assert "did you mean 'dog'?" in message
  assert "\n" not in message
  with pytest.raises(DataError, match="class dgo is not one of the model's 2"):
    match_classes(test, ("cat", "dog"), 2)


def test_composed_and_decomposed_names_match(tmp_path):
  test = source(tmp_path, ("cafe\u0301", "tea"), 1)
  assert labels(match_classes(test, ("tea", "caf\u00e9"), 2)) == [1, 0]


def test_wordnet_ids_match_words(tmp_path):
  ids = class_ids("imagenet2012")
  test = source(tmp_path, (ids[3], ids[1], ids[999]), 1)
  assert labels(match_classes(
      test, class_names("imagenet2012", 1000), 1000)) == [1, 3, 999]


def test_a_name_of_two_classes_matches_neither(tmp_path):
  test = source(tmp_path, ("crane", "dog"))
  with pytest.raises(DataError, match="class crane is not one of the model's"):
    match_classes(test, ("crane", "dog", "crane"), 3)


def test_two_spellings_of_one_list_match_by_number(tmp_path, caplog):
  names = ("crane (bird)", *"bcdefghijkl")
  test = dataclasses.replace(
      source(tmp_path, "abcdefghijkl", 1), class_names=names)
  assert labels(match_classes(test, ("crane", *names[1:]), 12)) == list(
      range(12))
  assert "the model has other names for crane (bird)" in caplog.text
  for others in (("crane", "c", "b", *names[3:]), ("x", "y", *names[2:])):
    with pytest.raises(DataError, match=r"class crane \(bird\).* is not one"):
      match_classes(test, others, 12)


@pytest.mark.parametrize("named", ["model", "data", "neither"])
def test_without_names_numbers_count_if_there_are_as_many(tmp_path, named):
  test = source(tmp_path, "abc", 1)
  if named != "data":
    test = dataclasses.replace(test, class_names=None)
  names = ("x", "y", "z") if named == "model" else None
  assert labels(match_classes(test, names, 3)) == [0, 1, 2]
  for count in (2, 4):
    with pytest.raises(DataError) as error:
      match_classes(test, names and (*names, "v")[:count], count)
    assert f"3 classes, but the model's head has {count}" in str(error.value)
    assert "cannot be matched" in str(error.value)


@pytest.mark.parametrize("label", [-1, 3, 99])
def test_a_label_outside_the_classes_names_its_example(tmp_path, label):
  """It was scored as wrong, with a loss of 0."""
  test = source(tmp_path, "abc", 4)
  read = test.read

  def wrong(index):
    example = read(index)
    return {**example, "label": label} if index == 7 else example

  test = check_labels(dataclasses.replace(test, read=wrong))
  with pytest.raises(LabelError) as error:
    test[7]
  assert f"{tmp_path}/b/3.jpg: label {label}, but the classes are 0 to 2" in (
      str(error.value))
  assert ("-1 means unlabelled" in str(error.value)) == (label < 0)
  # It is no broken image, which may be skipped.
  options = dict(preprocess="resize({size})", image_size=4, batch_size=4,
                 max_broken=9, num_threads=0)
  with pytest.raises(LabelError):
    list(eval_batches(test, **options))
  with pytest.raises(LabelError):
    batches = train_batches(test, seed=0, **options)
    for _ in range(3):
      next(batches)


def test_large_heads_match_quickly(tmp_path):
  names = tuple(f"class {i}" for i in range(22_000))
  test = source(tmp_path, names[5:8], 1)
  assert labels(match_classes(test, names, 22_000)) == [5, 6, 7]
  assert np.array_equal(match_classes(test, names, 22_000).labels, [5, 6, 7])
