"""Folders are read as a person means them, or refused with both readings."""

import os

from made_folders import files, labels, make
import pytest

from vit_jax.data.sources import make_source
from vit_jax.data.sources.folder import scan
from vit_jax.data.sources.sample import split_of
from vit_jax.errors import DataError, UsageError


def read(root, split="all"):
  return make_source(str(root), split=split)


def counts(root, split="all"):
  """Returns the number of images of each class."""
  source = read(root, split)
  return {name: labels(source).count(label)
          for label, name in enumerate(source.class_names)}


def refusal(root, split="all"):
  with pytest.raises(DataError) as error:
    read(root, split)
  message = str(error.value)
  assert "\n" not in message
  assert str(root) in message
  return message


# The names of splits.


@pytest.mark.parametrize("train,val,test", [
    ("train", "val", "test"), ("Train", "Val", "Test"),
    ("TRAIN", "VALID", "TEST"), ("training", "validation", "testing"),
    ("train_set", "dev_set", "test_set"), ("Training-Images", "Dev", "Eval"),
    ("train2017", "val2017", "test2017")])
def test_splits_by_their_usual_names(tmp_path, train, val, test):
  make(tmp_path, f"{train}/{{cat,dog}}/*.jpg", count=3)
  make(tmp_path, f"{val}/{{cat,dog}}/*.jpg", f"{test}/cat/*.jpg", count=2)
  for split, name, number in (("train", train, 6), ("val", val, 4),
                              ("test", test, 2)):
    source = read(tmp_path, split)
    assert source.class_names == ("cat", "dog")
    assert len(source) == number
    assert all(path.startswith(f"{name}/") for path in files(source, tmp_path))
    assert len(read(tmp_path, name.lower())) == number


@pytest.mark.parametrize("around", ["", "{}/"])
@pytest.mark.parametrize("train,test", [
    ("seg_train", "seg_test"), ("asl_alphabet_train", "asl_alphabet_val"),
    ("Birds-Training", "Birds-Testing"), ("train_birds", "test_birds"),
    ("train", "test"), ("training_set", "test_set")])
def test_splits_with_a_word_in_common(tmp_path, train, test, around):
  """These were the classes seg_train and seg_test, without a word."""
  for split in (train, test):
    make(tmp_path, f"{split}/{around.format(split)}{{sea,ice}}/*.jpg", count=2)
  split = "val" if test.endswith("val") else "test"
  assert set(files(read(tmp_path, split), tmp_path)) == {
      f"{test}/{around.format(test)}{name}/{i}.jpg"
      for name in ("sea", "ice") for i in range(2)}
  assert counts(tmp_path, "train") == {"ice": 2, "sea": 2}


def test_unlabelled_pictures_in_a_folder_of_their_own(tmp_path, caplog):
  """Intel's scenes: seg_pred/seg_pred/* has no labels."""
  make(tmp_path, "seg_train/seg_train/{sea,ice}/*.jpg",
       "seg_test/seg_test/{sea,ice}/*.jpg", "seg_pred/seg_pred/*.jpg")
  assert counts(tmp_path, "test") == {"ice": 20, "sea": 20}
  assert "not splits, ignored: seg_pred" in caplog.text
  make(tmp_path / "asl", "asl_train/asl_train/{a,b}/*.jpg",
       "asl_test/asl_test/*.jpg")
  assert counts(tmp_path / "asl", "train") == {"a": 20, "b": 20}
  assert "split 'test' holds no example" in refusal(tmp_path / "asl", "test")


def test_one_name_with_the_word_of_a_split_is_a_class(tmp_path):
  make(tmp_path, "{steam_train,freight_train,bus}/*.jpg")
  assert counts(tmp_path) == {"bus": 20, "freight_train": 20, "steam_train": 20}


def test_a_split_that_only_differs_in_case_is_no_class(tmp_path):
  """This was "a 2-class problem, Test and Train", without a word."""
  make(tmp_path, "{train,Test,Val}/{cat,dog}/*.jpg", count=2)
  assert read(tmp_path, "test").class_names == ("cat", "dog")
  assert len(read(tmp_path, "val")) == 4


def test_two_folders_of_one_split_are_refused(tmp_path):
  make(tmp_path, "{train,Train2}/{cat,dog}/*.jpg")
  assert "Train2 and train are both names of the split train" in refusal(
      tmp_path)
  make(tmp_path / "b", "{train,valid,dev}/{cat,dog}/*.jpg")
  assert "dev and valid are both names of the split val" in refusal(
      tmp_path / "b")


def test_splits_inside_of_classes(tmp_path):
  make(tmp_path, "{cat,dog}/{train,Test}/*.jpg", count=3)
  assert counts(tmp_path, "train") == {"cat": 3, "dog": 3}
  assert set(files(read(tmp_path, "test"), tmp_path)) == {
      f"{name}/Test/{i}.jpg" for name in ("cat", "dog") for i in range(3)}


# One level too high or too low.


@pytest.mark.parametrize("extra", ["", "readme.txt", "__MACOSX/flowers/._0.jpg",
                                   "annotations/0.xml", ".git/0.jpg"])
def test_a_folder_around_the_data_set(tmp_path, caplog, extra):
  make(tmp_path, "flowers/{rose,tulip}/*.jpg", extra or "flowers/readme.txt")
  source = read(tmp_path)
  assert source.class_names == ("rose", "tulip")
  assert len(source) == 40
  assert f"{tmp_path}: reading {tmp_path}/flowers" in caplog.text


def test_several_folders_around_the_data_set(tmp_path):
  make(tmp_path, "download/data/{train,test}/{rose,tulip}/*.jpg", count=2)
  assert len(read(tmp_path, "test")) == 4
  # The same split as when the inner folder is named.
  inner = tmp_path / "download/data"
  assert files(read(tmp_path, "test"), inner) == files(
      read(inner, "test"), inner)


def test_an_empty_folder_beside_may_be_a_class(tmp_path):
  make(tmp_path, "cat/{front,back}/*.jpg", "dog/")
  assert "are the classes cat, or the folders inside of them, back, front" in (
      refusal(tmp_path)) or "dog" in refusal(tmp_path)


def test_a_split_named_alone(tmp_path, caplog):
  make(tmp_path, "{train,test}/{cat,dog}/*.jpg")
  assert counts(tmp_path / "train", "all") == {"cat": 20, "dog": 20}
  assert (f"{tmp_path}/train: lies beside test, but is read alone" in
          caplog.text)
  assert f"name {tmp_path}" in caplog.text


def test_a_class_named_alone(tmp_path):
  make(tmp_path, "{cat,dog}/*.jpg")
  message = refusal(tmp_path / "cat")
  assert "20 images, but no class folders and so no labels" in message
  assert "labels.csv" in message
  assert f"did you mean {tmp_path}, with the folders cat, dog?" in message


def test_one_class_is_said(tmp_path, caplog):
  make(tmp_path, "cat/{a,b}.jpg")
  assert read(tmp_path).class_names == ("cat",)
  assert "one class only, 'cat', so that scores mean nothing" in caplog.text


# Nested classes.


def test_classes_that_all_hold_the_same_folders(tmp_path):
  make(tmp_path, "{2023,2024}/{cat,dog}/*.jpg", count=5)
  message = refusal(tmp_path)
  assert "are the classes 2023, 2024, or the folders inside" in message
  assert "cat, dog?" in message
  assert counts(f"{tmp_path}/*") == {"2023": 10, "2024": 10}
  assert counts(f"{tmp_path}/*/*") == {"cat": 10, "dog": 10}


def test_nested_classes(tmp_path):
  make(tmp_path, "animal/{cat,dog}/*.jpg", "plant/rose/*.jpg", count=5)
  message = refusal(tmp_path, "train")
  assert f"name {tmp_path}/*, for the second {tmp_path}/*/*" in message
  assert counts(f"{tmp_path}/*") == {"animal": 10, "plant": 5}
  assert counts(f"{tmp_path}/*/*/") == {"cat": 5, "dog": 5, "rose": 5}


def test_classes_below_a_single_folder_of_each(tmp_path):
  make(tmp_path, "{2023,2024}/pictures/{cat,dog}/*.jpg", count=5)
  message = refusal(tmp_path)
  assert "inside of them, cat, dog?" in message
  assert f"name {tmp_path}/*, for the second {tmp_path}/*/*/*" in message
  assert counts(f"{tmp_path}/*/*/*") == {"cat": 10, "dog": 10}


@pytest.mark.parametrize("pictures,masks", [
    ("images", "masks"), ("JPEGImages", "SegmentationClass"),
    ("Images", "labels")])
def test_pictures_and_their_masks_are_no_classes(tmp_path, pictures, masks):
  make(tmp_path, f"{pictures}/*.jpg", f"{masks}/*.png", f"{masks}/0.txt")
  message = refusal(tmp_path)
  assert "classes, or pictures and what belongs to each" in message
  assert f"{tmp_path}/labels.csv" in message
  assert set(counts(f"{tmp_path}/*")) == {pictures, masks}


def test_nested_classes_in_splits(tmp_path):
  make(tmp_path, "{train,test}/{a/{cat,dog},b/{emu,fox}}/*.jpg", count=5)
  message = refusal(tmp_path, "test")
  assert f"For the first name {tmp_path}/*, for" in message
  assert counts(f"{tmp_path}/*", "test") == {"a": 10, "b": 10}
  assert counts(f"{tmp_path}/*/*", "test") == dict.fromkeys(
      ("cat", "dog", "emu", "fox"), 5)


def test_one_folder_in_every_class_is_no_level(tmp_path):
  """As Tiny ImageNet has it: CLASS/images/*."""
  make(tmp_path, "train/{n01,n02}/images/*.jpg", "train/n01/n01_boxes.txt")
  assert counts(tmp_path) == {"n01": 20, "n02": 20}


def test_folders_beside_images_belong_to_the_class(tmp_path, caplog):
  make(tmp_path, "cat/*.jpg", "dog/{front,back}/*.jpg")
  assert counts(tmp_path) == {"cat": 20, "dog": 40}
  assert "all folders inside of dog are read as one class" in caplog.text


def test_levels_name_the_classes_whatever_they_are_called(tmp_path):
  make(tmp_path, "{train,test}/*.jpg", count=3)
  assert counts(f"{tmp_path}/*") == {"test": 3, "train": 3}
  with pytest.raises(UsageError, match="there is no folder"):
    read(f"{tmp_path}/none/*")


# Images beside folders.


def test_loose_images_are_said(tmp_path, caplog):
  make(tmp_path, "{cat,dog}/*.jpg", "{a,b}.jpg")
  assert len(read(tmp_path)) == 40
  assert ("2 images beside the folders cat, dog without label, ignored: a.jpg,"
          " b.jpg") in caplog.text


def test_loose_images_in_a_split_are_said(tmp_path, caplog):
  make(tmp_path, "train/{cat,dog}/*.jpg", "train/a.jpg", "b.jpg")
  assert len(read(tmp_path)) == 40
  assert f"{tmp_path}/train: 1 image beside the folders cat, dog" in caplog.text
  assert f"{tmp_path}: 1 image beside the folders train" in caplog.text


def test_mostly_loose_images_are_refused(tmp_path):
  make(tmp_path, "{cat,dog}/0.jpg", "*.jpg")
  message = refusal(tmp_path)
  assert "2 images in the folders cat, dog, or the 20 beside them" in message
  assert f"{tmp_path}/labels.csv" in message


# Classes that are called like splits.


def test_a_class_called_train_among_others(tmp_path):
  make(tmp_path, "{bus,car,train}/*.jpg")
  assert counts(tmp_path) == {"bus": 20, "car": 20, "train": 20}


def test_a_class_called_train_with_folders(tmp_path):
  make(tmp_path, "{bus,car}/*.jpg", "train/{steam,diesel}/*.jpg")
  message = refusal(tmp_path)
  assert ("is train a split with the classes diesel, steam, or are the classes "
          "bus, car, train?") in message
  assert counts(f"{tmp_path}/*") == {"bus": 20, "car": 20, "train": 40}


@pytest.mark.parametrize("names", ["cat,dog,test", "train,test", "val",
                                   "train", "cat,Eval", "Train,Test,cat"])
def test_folders_of_images_called_like_splits(tmp_path, names):
  make(tmp_path, f"{{{names}}}/*.jpg" if "," in names else f"{names}/*.jpg")
  message = refusal(tmp_path)
  assert "whose images lack labels, or" in message
  assert f"{tmp_path}/labels.csv" in message
  assert f"name {tmp_path}/*" in message


def test_a_split_without_class_folders(tmp_path, caplog):
  """The unlabelled test set of a competition."""
  make(tmp_path, "train/{cat,dog}/*.jpg", "test/*.jpg")
  assert len(read(tmp_path, "train")) == 40
  assert (f"{tmp_path}/test: 20 images without class folders, and so without "
          "labels, ignored") in caplog.text
  assert "split 'test' holds no example" in refusal(tmp_path, "test")


def test_what_is_not_a_split_is_said(tmp_path, caplog):
  make(tmp_path, "{train,test}/{cat,dog}/*.jpg", "extra/*.jpg")
  assert len(read(tmp_path)) == 80
  assert f"{tmp_path}: not splits, ignored: extra" in caplog.text


# Classes that are empty, missing, or called alike.


def test_a_class_that_is_empty_in_a_split(tmp_path, caplog):
  make(tmp_path, "{train,test}/cat/*.jpg", "train/dog/*.jpg", "test/dog/")
  assert counts(tmp_path, "test") == {"cat": 20, "dog": 0}
  assert f"{tmp_path}, test: no image of dog" in caplog.text


def test_a_class_that_is_empty_in_train(tmp_path):
  make(tmp_path, "{train,test}/cat/*.jpg", "test/dog/*.jpg", "train/dog/")
  assert "class dog has no image in train" in refusal(tmp_path, "train")
  assert counts(tmp_path, "test") == {"cat": 20, "dog": 20}


def test_an_empty_class_without_splits(tmp_path, caplog):
  make(tmp_path, "{cat,dog}/*.jpg", "emu/")
  assert "class emu has no image in train" in refusal(tmp_path, "train")
  assert counts(tmp_path) == {"cat": 20, "dog": 20, "emu": 0}
  assert f"{tmp_path}, all: no image of emu" in caplog.text


def test_a_class_in_another_case(tmp_path):
  make(tmp_path, "train/{Cat,dog}/*.jpg", "test/{cat,dog}/*.jpg")
  message = refusal(tmp_path / "", "test")
  assert "class cat is missing in train" in message
  assert "did you mean 'Cat'?" in message


@pytest.mark.parametrize("one,other", [("Cat", "cat"), ("sea ice", "sea  ice")])
def test_classes_of_nearly_one_name_are_said(tmp_path, caplog, one, other):
  make(tmp_path, f"{{{one},{other},dog}}/*.jpg")
  assert counts(tmp_path) == dict.fromkeys((one, other, "dog"), 20)
  first, second = sorted((one, other))
  assert f"{first!r} and {second!r} are read as 2 classes" in caplog.text


def test_numbers_are_sorted_as_numbers(tmp_path):
  make(tmp_path, "{0..10}/a.jpg", count=1)
  source = read(tmp_path)
  assert source.class_names == tuple(map(str, range(11)))
  assert labels(source) == [int(path.split("/")[0])
                            for path in files(source, tmp_path)]
  make(tmp_path, "x/a.jpg")  # Not all are numbers any more.
  assert read(tmp_path).class_names[:3] == ("0", "1", "10")


def test_composed_and_decomposed_names_are_one_class(tmp_path, caplog):
  make(tmp_path, "train/{caf\u00e9,tea}/*.jpg", "test/{cafe\u0301,tea}/*.jpg")
  assert counts(tmp_path, "test") == {"caf\u00e9": 20, "tea": 20}
  both = make(tmp_path / "both", "{caf\u00e9,cafe\u0301,tea}/*.jpg")
  assert counts(both) == {"caf\u00e9": 40, "tea": 20}
  assert "2 folders are called 'caf\u00e9' and are one class" in caplog.text


# No images.


def test_what_a_folder_without_images_holds_is_said(tmp_path):
  make(tmp_path, "cat/{a,b}.heic", "dog/c.txt")
  message = refusal(tmp_path)
  assert "no image found (but 2 .heic, 1 .txt)" in message
  assert "ROOT/train/CLASS/*" in message


def test_a_hash_that_leaves_a_split_none_is_said(tmp_path):
  names = [name for name in map(str, range(40))
           if split_of(f"cat/{name}.jpg") == split_of(f"dog/{name}.jpg")
           == "train"][:3]
  make(tmp_path, f"{{cat,dog}}/{{{','.join(names)}}}.jpg")
  assert len(read(tmp_path, "all")) == len(read(tmp_path, "train")) == 6
  message = refusal(tmp_path, "val+test")
  assert "there are no folders of splits, and a hash leaves it none" in message


def test_searching_other_splits_is_left_out(tmp_path, monkeypatch):
  """Training data may be large; scoring the test split lists only that."""
  make(tmp_path, "{train,test}/{cat,dog}/{a,b}/*.jpg", "train/{cat,dog}/0.jpg",
       "test/{cat,dog}/0.jpg")
  scanned = []
  real = os.scandir
  monkeypatch.setattr(
      os, "scandir", lambda path: scanned.append(str(path)) or real(path))
  scan(str(tmp_path), {"test"})
  assert f"{tmp_path}/test/dog/b" in scanned
  assert f"{tmp_path}/train" in scanned  # For the names of the classes.
  assert f"{tmp_path}/train/dog" not in scanned
