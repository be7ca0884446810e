"""ImageNet-1k and 21k out of small archives in the published formats."""

import os

import make_archives as archives
import pytest

from vit_jax.data import class_names
from vit_jax.data.decode import decode
from vit_jax.data.prepare import imagenet
from vit_jax.data.prepare.run import prepare
from vit_jax.data.sources import make_source
from vit_jax.errors import DataError, UsageError


def read(name, split, data_dir):
  """Returns {number of the picture: label}; see make_archives.jpeg."""
  source = make_source(f"tfds:{name}", split=split, data_dir=data_dir)
  examples = [source[i] for i in range(len(source))]
  return source, {int(decode(example["image"])[0, 0, 0]): example["label"]
                  for example in examples}


@pytest.fixture
def folders(tmp_path):
  return str(tmp_path / "archives"), str(tmp_path / "data")


def test_imagenet_1k(folders):
  """Labels follow the sorted ids; validation goes by the kit's numbers."""
  manual, data = folders
  truth = archives.imagenet2012(manual)
  report, = prepare("imagenet2012", manual_dir=manual, data_dir=data,
                    partial=True, workers=2)
  assert report.name == "imagenet2012" and report.how == "prepared"
  assert report.splits == {"train": 12, "validation": 7}
  assert report.expected["train"] == 1_281_167
  source, labels = read("imagenet2012", "train", data)
  assert source.class_names == archives.SYNSETS
  assert labels == {i: 0 if i < 4 else 1 if i < 7 else 2 for i in range(12)}
  _, labels = read("imagenet2012", "val", data)
  assert labels == {100 + i: archives.SYNSETS.index(wnid)
                    for i, wnid in enumerate(truth)}
  assert make_source("tfds:imagenet2012", split="train[:1]", data_dir=data)[0][
      "image"].startswith(b"\xff\xd8")


def test_what_is_missing_is_said_before_anything_is_written(folders, caplog):
  manual, data = folders
  archives.imagenet2012(manual)
  # The kit says how many pictures each class has: one class lost one.
  counts = dict(zip(archives.SYNSETS, (4, 2, 5), strict=True))
  archives.write(manual, **{"ILSVRC2012_img_train.tar": archives.tar({
      f"{wnid}.tar": archives.synset_tar(wnid, range(count))
      for wnid, count in counts.items()})})
  with pytest.raises(DataError) as error:
    prepare("imagenet2012", manual_dir=manual, data_dir=data)
  text = str(error.value)
  assert "3 classes of 1,000" in text
  assert "train: 11 images of 1,281,167" in text
  assert "train: n01443537 has 2 of 3;" in text
  assert "validation: n01440764 has 3 of 50, n01443537 has 2 of 50" in text
  assert "--partial" in text and "\n" not in text
  workshop = f"{data}/imagenet2012/5.1.0.incomplete"
  assert set(os.listdir(workshop)) == {"lock", "unpacked"}
  os.remove(f"{manual}/ILSVRC2012_img_val.tar")
  report, = prepare("imagenet2012", manual_dir=manual, data_dir=data,
                    partial=True)
  assert report.splits == {"train": 11}
  assert "validation is missing (50,000 images)" in report.notes
  assert "ILSVRC2012_img_val.tar: no such file" in caplog.text


def test_without_the_kit_the_lists_of_tfds_count(folders):
  manual, data = folders
  archives.imagenet2012(manual)
  os.remove(f"{manual}/ILSVRC2012_devkit_t12.tar.gz")
  archives.write(manual, **{"ILSVRC2012_img_train.tar": archives.tar(
      {"n01440764.tar": archives.synset_tar("n01440764", range(2))})})
  prepare("imagenet2012", manual_dir=manual, data_dir=data, partial=True)
  source, labels = read("imagenet2012", "validation", data)
  assert source.num_classes == 1000
  # The first two: n01751748 (65) and n09193705 (970).
  assert (labels[100], labels[101]) == (65, 970)
  assert read("imagenet2012", "train", data)[1] == {0: 0, 1: 0}


def test_missing_and_broken_archives_are_named(folders):
  manual, data = folders

  def message():
    with pytest.raises(DataError) as error:
      prepare("imagenet2012", manual_dir=manual, data_dir=data)
    assert "\n" not in str(error.value)
    return str(error.value)

  text = message()
  assert "ILSVRC2012_img_train.tar: no such file" in text
  assert "https://image-net.org/download-images" in text
  archives.imagenet2012(manual)
  path = f"{manual}/ILSVRC2012_img_train.tar"
  size = os.path.getsize(path)
  archives.cut(path, size - 20_000)  # Within the last synset.
  assert f"{path}: a damaged or truncated archive" in message()
  # Cut exactly where a synset ends: only the end mark is missing.
  archives.imagenet2012(manual)
  second = archives.tar({"n01440764.tar": archives.synset_tar(
      "n01440764", range(4))}).rstrip(b"\0")
  archives.cut(path, -(-len(second) // 10240) * 10240 + 512)
  assert "truncated" in message()
  archives.write(manual, **{"ILSVRC2012_img_train.tar": b"<html>" * 999})
  assert "truncated archive of 5,994 bytes" in message()
  # A synset that is cut off inside of a whole tar.
  whole = archives.synset_tar("n01440764", range(4))
  archives.write(manual, **{
      "ILSVRC2012_img_train.tar": archives.tar({
          "n01440764.tar": whole[:1536], "n01443537.tar": whole})})
  assert "n01440764.tar: " in message()
  archives.write(manual, **{
      "ILSVRC2012_img_train.tar": archives.tar({"cats.tar": whole})})
  assert "contains 'cats.tar'; expected one tar file per class" in message()
  archives.imagenet2012(manual)
  archives.cut(f"{manual}/ILSVRC2012_devkit_t12.tar.gz", 300)
  assert "devkit_t12.tar.gz: a damaged or truncated" in message()


def synsets(manual, ids=archives.SYNSETS):
  archives.write(manual, **{
      f"{wnid}.tar": archives.synset_tar(wnid, range(3 * k, 3 * k + 3))
      for k, wnid in enumerate(ids)})


def test_imagenet_21k_by_sorted_ids(folders):
  manual, data = folders
  synsets(manual)
  report, = prepare("imagenet21k", manual_dir=manual, data_dir=data,
                    release="winter21", partial=True)
  assert report.name == "imagenet21k_winter21"
  assert any("3 classes of 19,167" in note for note in report.notes)
  source, labels = read("imagenet21k_winter21", "full", data)
  assert source.class_names == archives.SYNSETS
  assert labels == {i: i // 3 for i in range(9)}
  with pytest.raises(DataError, match="3 classes of 21,841"):
    prepare("imagenet21k", manual_dir=manual, data_dir=data, release="fall11")


def test_imagenet_21k_as_one_tar_by_released_rows(folders):
  rows = class_names.released_rows(archives.SYNSETS)
  if rows is None:
    pytest.skip("timm is not installed")
  manual, data = folders
  archives.write(manual, **{"fall11_whole.tar": archives.tar({
      f"{wnid}.tar": archives.synset_tar(wnid, [k])
      for k, wnid in enumerate(archives.SYNSETS)})})
  report, = prepare("imagenet21k", manual_dir=manual, data_dir=data,
                    partial=True)
  assert report.classes == 21_843
  assert "labels are the rows of the released heads" in report.notes
  source, labels = read("imagenet21k", "full", data)
  assert labels == dict(enumerate(rows))
  assert [source.class_names[row] for row in rows] == list(archives.SYNSETS)


def test_released_rows_of_a_complete_copy_need_no_table(folders, monkeypatch):
  """Of all 21,841 classes the rows are known, of fewer they are not."""
  monkeypatch.setattr(class_names, "_read_list", lambda *_: None)
  ids = [f"n{600 * i:08d}" for i in range(1, 21_842)]
  rows = class_names.released_rows(ids)
  assert rows == sorted(rows) and rows[-1] == 21_842
  assert class_names.released_rows(ids[1:]) is None
  manual, data = folders
  synsets(manual)
  with pytest.raises(DataError, match="3 of fall11's 21,841 classes.*timm"):
    prepare("imagenet21k", manual_dir=manual, data_dir=data, partial=True)
  report, = prepare("imagenet21k", manual_dir=manual, data_dir=data,
                    partial=True, release="fall11")
  assert any("released heads are unknown" in note for note in report.notes)


def test_imagenet_21k_packed_or_misspelt(folders):
  manual, data = folders
  archives.write(manual, **{"winter21_whole.tar.gz": b"x"})
  with pytest.raises(DataError, match="tar -xzf winter21_whole.tar.gz"):
    prepare("imagenet21k", manual_dir=manual, data_dir=data,
            release="winter21")
  with pytest.raises(DataError, match=r"n\*.tar: no such file.*fall11_whole"):
    prepare("imagenet21k", manual_dir=manual, data_dir=data)
  with pytest.raises(UsageError, match="did you mean 'winter21'"):
    prepare("imagenet21k", manual_dir=manual, data_dir=data, release="winter")
  assert imagenet.WHOLE.keys() == {"fall11", "winter21"}
