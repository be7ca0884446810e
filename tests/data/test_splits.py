"""Split texts: which examples they mean, and what is refused."""

import pytest

from vit_jax.data.splits import canonical_split, resolve_split, split_names
from vit_jax.errors import DataError, UsageError

SIZES = {"train": 1037, "val": 10, "test": 3}


@pytest.mark.parametrize(("text", "expected"), [
    ("train", [("train", range(1037))]),
    ("train[100:200]", [("train", range(100, 200))]),
    ("train[:98%]", [("train", range(1016))]),
    ("train[98%:]", [("train", range(1016, 1037))]),
    ("train[-37:]", [("train", range(1000, 1037))]),
    ("train[:-1000]", [("train", range(37))]),
    ("train[:12.5%]", [("train", range(130))]),
    ("train[:0]+val", [("train", range(0)), ("val", range(10))]),
    ("train + val[5:]", [("train", range(1037)), ("val", range(5, 10))]),
    ("validation", [("val", range(10))]),
])
def test_means_these_examples(text, expected):
  assert resolve_split(text, SIZES) == expected


@pytest.mark.parametrize("percent", range(0, 101, 7))
def test_two_halves_neither_overlap_nor_leave_out(percent):
  (_, low), (_, high) = (
      resolve_split(f"train[:{percent}%]+train[{percent}%:]", SIZES))
  assert [*low, *high] == list(range(1037))


def test_val_finds_validation_and_the_other_way_round():
  assert resolve_split("val", {"validation": 4})[0][0] == "validation"
  assert resolve_split("valid", {"validation": 4})[0][0] == "validation"
  assert resolve_split("test", {"train": 1, "Testing": 4})[0][0] == "Testing"
  assert split_names("validation[:2]+train") == {"val", "eval", "train"}


@pytest.mark.parametrize(("name", "split"), [
    ("train", "train"), ("Training", "train"), ("TRAIN-set", "train"),
    ("trainset", "train"), ("train2017", "train"), ("01_train", "train"),
    ("train_images", "train"), ("trainval", "train"), ("valid", "val"),
    ("Validation", "val"), ("dev", "val"), ("val2017", "val"),
    ("testing", "test"), ("Test Images", "test"), ("holdout", "test"),
    ("eval", "eval"), ("cat", None), ("trains", None), ("set", None),
    ("train-test", None), ("steam_train", None), ("testament", None),
    ("", None), ("12", None)])
def test_usual_names_of_splits(name, split):
  assert canonical_split(name) == split


def test_a_name_of_two_splits_is_no_name():
  with pytest.raises(UsageError, match="no split 'test'; there are: test1, t"):
    resolve_split("test", {"test1": 1, "test2": 1})
  # Some call the test split "eval", and some, beside a test split, validation.
  assert resolve_split("test", {"eval": 1})[0][0] == "eval"
  assert resolve_split("val", {"eval": 1, "test": 1})[0][0] == "eval"
  assert resolve_split("test", {"eval": 1, "test": 1})[0][0] == "test"


@pytest.mark.parametrize(("text", "message"), [
    ("tset", "no split 'tset'; there are: test, train, val (did you mean"),
    ("train[", "cannot read 'train['"),
    ("", "cannot read ''"),
    ("train[a:]", "'a' is neither a number of examples nor a percentage"),
    ("train[1.5:]", "'1.5' is neither"),
    ("train[:2000]", "'2000' is beyond the 1037 examples"),
    ("train[101%:]", "'101%' is beyond"),
])
def test_refuses_by_name(text, message):
  with pytest.raises(UsageError) as error:
    resolve_split(text, SIZES)
  assert message in str(error.value)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["train[5:5]", "train[9:3]", "test[:1%]"])
def test_refuses_an_empty_split(text):
  with pytest.raises(DataError, match="holds no example"):
    resolve_split(text, SIZES)
