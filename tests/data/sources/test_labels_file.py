"""labels.csv, metadata.csv and metadata.jsonl: strict, and named by line."""

import os

from made_folders import JPEG, files, labels, make
import pytest

from vit_jax.data.sources import fingerprint, make_source
from vit_jax.errors import DataError

GOOD = "file_name,label\n0.jpg,cat\n1.jpg,dog\n2.jpg,cat\n3.jpg,dog\n"


def write(root, text, name="labels.csv", count=4, encoding="utf-8"):
  make(root, "*.jpg", count=count)
  (root / name).write_bytes(text.encode(encoding))
  return root


def read(root, split="all"):
  return make_source(str(root), split=split)


def pairs(root, split="all"):
  """Returns {file: class name}."""
  source = read(root, split)
  return {path: source.class_names[label] for path, label in zip(
      files(source, root), labels(source), strict=True)}


def refusal(root):
  with pytest.raises(DataError) as error:
    read(root)
  message = str(error.value)
  assert "\n" not in message
  return message.removeprefix(f"{root}/")


EXPECTED = {"0.jpg": "cat", "1.jpg": "dog", "2.jpg": "cat", "3.jpg": "dog"}


@pytest.mark.parametrize("text,name", [
    (GOOD, "labels.csv"), (GOOD, "metadata.csv"), (GOOD, "Labels.CSV"),
    (GOOD.replace(",", ";"), "labels.csv"),
    (GOOD.replace(",", "\t"), "labels.tsv"),
    (GOOD.replace("\n", "\r\n"), "labels.csv"),
    ("\ufeff" + GOOD, "labels.csv"),
    (GOOD.replace("1.jpg,dog", '"1.jpg","dog"'), "labels.csv"),
    (GOOD.replace("1.jpg,dog", "./1.jpg , dog\n\n"), "labels.csv"),
    (GOOD + ",\n", "labels.csv"),
    ("extra,label,file_name\n" + "".join(
        f"x,{label},{name}\n" for name, label in EXPECTED.items()),
     "metadata.csv"),
    ("".join(f'{{"file_name": "{name}", "label": "{label}", "n": [1]}}\n\n'
             for name, label in EXPECTED.items()), "metadata.jsonl")])
def test_reads(tmp_path, text, name):
  write(tmp_path, text, name)
  assert pairs(tmp_path) == EXPECTED
  assert read(tmp_path).class_names == ("cat", "dog")


@pytest.mark.parametrize("text,line,reason", [
    (GOOD + "0.jpg,dog\n", 6, "'0.jpg' is listed in line 2 already"),
    (GOOD + "./0.jpg,cat\n", 6, "'./0.jpg' is listed in line 2 already"),
    (GOOD + "x/../0.jpg,cat\n", 6, "is listed in line 2 already"),
    (GOOD + "9.jpg,cat\n", 6, "there is no file '9.jpg'"),
    (GOOD.replace("0.jpg", "0"), 2, "'0' (did you mean '0.jpg'?)"),
    (GOOD.replace("0.jpg", "0.JPG"), 2, "(did you mean '0.jpg'?)"),
    (GOOD.replace("0.jpg", "x\\0.jpg"), 2, "(did you mean '0.jpg'?)"),
    (GOOD.replace("1.jpg,dog", "1.jpg,"), 3, "label is empty"),
    (GOOD.replace("1.jpg,dog", "1.jpg,  "), 3, "label is empty"),
    (GOOD.replace("1.jpg,dog", ",dog"), 3, "file_name is empty"),
    (GOOD.replace("1.jpg,dog", "1.jpg"), 3, "1 value for the 2 columns"),
    (GOOD.replace("1.jpg,dog", "1.jpg,a,b"), 3, "a ',' needs quotes"),
    (GOOD.replace("1.jpg,dog", '1.jpg,"dog'), 3, "check its quotes"),
    (GOOD.replace("1.jpg,dog", '1.jpg,"d"og'), 3, "check its quotes"),
    (GOOD.replace("1.jpg,dog", '1.jpg,"do\ng"'), 3, "no line break in it"),
    (GOOD.replace("1.jpg", "../1.jpg"), 3, "lies outside of the folder"),
    (GOOD.replace("1.jpg", "x/../../1.jpg"), 3, "lies outside of the folder"),
    (GOOD.replace("1.jpg", "/etc/hostname"), 3, "lies outside of the folder"),
    (GOOD.replace("1.jpg", "C:\\1.jpg"), 3, "lies outside of the folder"),
    (GOOD.replace("file_name", "image"), 1, "has the columns image, label;"),
    (GOOD.replace("label", "class"), 2, "label is missing; expected file_name"),
    (GOOD.replace("label", "file_name"), 1, "a column occurs twice"),
    (GOOD[:30] + "\ufeff" + GOOD[30:], 3, "a byte-order mark in the middle")])
def test_refuses_by_line(tmp_path, text, line, reason):
  message = refusal(write(tmp_path, text))
  assert message.startswith(f"labels.csv, line {line}: ")
  assert reason in message


@pytest.mark.parametrize("text,line,reason", [
    ('{"file_name": "0.jpg", "label": 1.5}', 1, "label is 1.5; expected a str"),
    ('{"file_name": "0.jpg", "label": true}', 1, "label is True"),
    ('{"file_name": "0.jpg", "label": null}', 1, "label is None"),
    ('{"file_name": "0.jpg", "lable": "a"}', 1, "label is missing"),
    ('\n{"file_name": "0.jpg", "label": "a"', 2, "is not JSON"),
    ('[1]', 1, 'expected an object such as {"file_name"')])
def test_refuses_lines_of_json(tmp_path, text, line, reason):
  message = refusal(write(tmp_path, text, "metadata.jsonl", count=1))
  assert message.startswith(f"metadata.jsonl, line {line}: ")
  assert reason in message


def test_other_encodings_are_named(tmp_path):
  text = GOOD.replace("dog", "h\u00fcnd")
  assert "labels.csv, line 3: not UTF-8" in refusal(
      write(tmp_path / "a", text, encoding="latin-1"))
  assert "labels.csv, line 1: UTF-16" in refusal(
      write(tmp_path / "b", text, encoding="utf-16"))
  assert set(pairs(write(tmp_path / "c", text)).values()) == {
      "cat", "h\u00fcnd"}


def test_images_that_are_not_listed_are_refused(tmp_path):
  message = refusal(write(tmp_path, GOOD, count=6))
  assert "does not list 2 images of the folder: 4.jpg, 5.jpg" in message
  # Hidden ones are none.
  make(tmp_path / "b", ".4.jpg", "@eaDir/0.jpg", "notes.txt")
  assert pairs(write(tmp_path / "b", GOOD)) == EXPECTED


@pytest.mark.parametrize("text", ["", "file_name,label\n", "\n\n"])
def test_an_empty_file_is_refused(tmp_path, text):
  assert "lists no image; expected the columns file_name,label" in refusal(
      write(tmp_path, text))


def test_two_files_are_refused(tmp_path):
  write(tmp_path, GOOD)
  write(tmp_path, GOOD, "metadata.csv")
  with pytest.raises(DataError, match="labels.csv and metadata.csv may both"):
    read(tmp_path)


def test_pipes_are_no_images(tmp_path):
  write(tmp_path, GOOD + "p.jpg,cat\n")
  os.mkfifo(tmp_path / "p.jpg")
  assert "line 6: there is no file 'p.jpg'" in refusal(tmp_path)


# Splits.


def test_a_column_of_splits(tmp_path):
  write(tmp_path, "file_name,label,split\n0.jpg,cat,train\n1.jpg,dog,Training\n"
        "2.jpg,cat,validation\n3.jpg,dog,TEST\n")
  assert pairs(tmp_path, "train") == {"0.jpg": "cat", "1.jpg": "dog"}
  assert pairs(tmp_path, "val") == {"2.jpg": "cat"}
  assert pairs(tmp_path, "test") == {"3.jpg": "dog"}
  assert pairs(tmp_path) == EXPECTED


@pytest.mark.parametrize("split,reason", [
    ("tset", "split 'tset' is unknown; expected train, val or test"),
    ("", "split is empty, but other lines have one")])
def test_wrong_splits_are_named(tmp_path, split, reason):
  write(tmp_path, "file_name,label,split\n0.jpg,cat,train\n1.jpg,dog,train\n"
        f"2.jpg,cat,{split}\n3.jpg,dog,test\n")
  assert refusal(tmp_path).startswith(f"labels.csv, line 4: {reason}")


def test_a_label_that_train_lacks_is_named(tmp_path):
  write(tmp_path, "file_name,label,split\n0.jpg,cat,train\n1.jpg,dog,train\n"
        "2.jpg,dgo,test\n3.jpg,dog,test\n")
  message = refusal(tmp_path)
  assert message.startswith("labels.csv, line 4: label 'dgo' of the split test")
  assert "did you mean 'dog'?" in message


def test_without_splits_the_hash_of_folders_makes_them(tmp_path):
  text = "file_name,label\n" + "".join(
      f"{i}.jpg,{'cat' if i % 2 else 'dog'}\n" for i in range(100))
  write(tmp_path, text, count=100)
  parts = [pairs(tmp_path, split) for split in ("train", "val", "test")]
  assert sum(map(len, parts)) == 100
  assert 70 < len(parts[0]) < 90
  assert pairs(tmp_path) == parts[0] | parts[1] | parts[2]


def test_a_file_in_the_folder_of_each_split(tmp_path, caplog):
  """As Hugging Face's imagefolder has it."""
  make(tmp_path, "train/{0,1}.jpg", "Test/{2,3}.jpg")
  head = "file_name,label\n"
  (tmp_path / "train/metadata.csv").write_text(head + "0.jpg,cat\n1.jpg,dog\n")
  (tmp_path / "Test/metadata.csv").write_text(head + "2.jpg,dog\n3.jpg,cat\n")
  assert pairs(tmp_path, "train") == {"train/0.jpg": "cat",
                                      "train/1.jpg": "dog"}
  assert pairs(tmp_path, "test") == {"Test/2.jpg": "dog", "Test/3.jpg": "cat"}
  make(tmp_path, "val/4.jpg")
  read(tmp_path)
  assert f"{tmp_path}: no file of labels in val, ignored" in caplog.text
  (tmp_path / "Test/metadata.csv").write_text(head + "2.jpg,cow\n3.jpg,cat\n")
  with pytest.raises(DataError, match="Test/metadata.csv, line 2: label 'cow'"):
    read(tmp_path)
  (tmp_path / "Test/metadata.csv").write_text(
      "file_name,label,split\n2.jpg,cat,train\n3.jpg,cat,test\n")
  with pytest.raises(DataError, match="line 2: the split is train, but the"):
    read(tmp_path)


# Where the file lies.


def test_images_in_a_folder_of_their_own(tmp_path):
  make(tmp_path, "images/{0,1,2,3}.jpg")
  (tmp_path / "labels.csv").write_text(GOOD)
  assert "line 2: there is no file '0.jpg' (did you mean 'images/0.jpg'?)" in (
      refusal(tmp_path))
  text = GOOD
  for i in range(4):
    text = text.replace(f"{i}.jpg", f"images/{i}.jpg")
  (tmp_path / "labels.csv").write_text(text)
  assert len(pairs(tmp_path)) == 4


def test_one_level_too_high(tmp_path):
  write(tmp_path / "birds", GOOD)
  source = read(tmp_path)
  assert files(source, tmp_path / "birds") == list(
      files(read(tmp_path / "birds"), tmp_path / "birds"))


def test_the_file_itself_may_be_named(tmp_path):
  """Then it may be called anything, and others may list the other images."""
  write(tmp_path, GOOD, "my_train.csv", count=6)
  assert pairs(f"{tmp_path}/my_train.csv".removesuffix("/my_train.csv") + (
      "/my_train.csv"))
  source = make_source("my_train.csv", split="all", data_dir=str(tmp_path))
  assert files(source, tmp_path) == ["0.jpg", "2.jpg", "1.jpg", "3.jpg"]


@pytest.mark.parametrize("name,text", [
    ("metadata.csv", "file_name,text\ncat/0.jpg,a cat\n"),
    ("labels.csv", "id,name\n0,cat\n1,dog\n"),
    ("metadata.jsonl", '{"file_name": "cat/0.jpg", "text": "a cat"}')])
def test_other_files_beside_class_folders_are_no_labels(
    tmp_path, caplog, name, text):
  make(tmp_path, "{cat,dog}/*.jpg")
  (tmp_path / name).write_text(text)
  assert len(read(tmp_path)) == 40
  assert (f"{name}: does not have the columns file_name and label, ignored" in
          caplog.text)


def test_labels_overrule_class_folders(tmp_path):
  make(tmp_path, "{cat,dog}/0.jpg")
  (tmp_path / "labels.csv").write_text(
      "file_name,label\ncat/0.jpg,tabby\ndog/0.jpg,pug\n")
  assert read(tmp_path).class_names == ("pug", "tabby")


# Names.


def test_numbers_are_sorted_as_numbers_and_names_are_strings(tmp_path):
  write(tmp_path, "".join(
      f'{{"file_name": "{i}.jpg", "label": {i}}}\n' for i in range(12)),
        "metadata.jsonl", count=12)
  source = read(tmp_path)
  assert source.class_names == tuple(map(str, range(12)))
  assert labels(source) == list(range(12))


def test_composed_and_decomposed_names_are_one(tmp_path):
  (tmp_path / "caf\u00e9.jpg").write_bytes(JPEG)
  write(tmp_path, GOOD + "cafe\u0301.jpg,cat\n")
  assert pairs(tmp_path)["caf\u00e9.jpg"] == "cat"
  # Unless there are both.
  (tmp_path / "cafe\u0301.jpg").write_bytes(JPEG)
  (tmp_path / "labels.csv").write_text(
      GOOD + "cafe\u0301.jpg,cat\ncaf\u00e9.jpg,dog\n")
  assert pairs(tmp_path)["caf\u00e9.jpg"] == "dog"
  assert pairs(tmp_path)["cafe\u0301.jpg"] == "cat"


def test_colons_and_other_letters_in_names(tmp_path):
  write(tmp_path, "file_name,label\na:b #1?.jpg,cat\n", count=0)
  (tmp_path / "a:b #1?.jpg").write_bytes(JPEG)
  assert pairs(tmp_path) == {"a:b #1?.jpg": "cat"}


def test_the_fingerprint_knows_the_labels(tmp_path):
  one = fingerprint(read(write(tmp_path / "a", GOOD)))
  same = fingerprint(read(write(tmp_path / "b", GOOD.replace(",", ";"))))
  other = fingerprint(read(write(
      tmp_path / "c", GOOD.replace("0.jpg,cat", "0.jpg,dog"))))
  assert one == same != other
