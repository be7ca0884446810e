"""Food-101 in its published form becomes what TFDS would have made."""

import make_archives as archives
import pytest

from vit_jax.config.find import load_config
from vit_jax.data.decode import decode
from vit_jax.data.prepare.run import prepare
from vit_jax.data.sources import make_source
from vit_jax.errors import DataError


def test_every_image_is_in_its_split_and_class(tmp_path):
  truth = archives.food101(tmp_path / "archives")
  report, = prepare("food101", manual_dir=str(tmp_path / "archives"),
                    data_dir=str(tmp_path / "data"), partial=True)
  assert report.splits == {"train": 4, "validation": 2}
  seen = {}
  for split in report.splits:
    source = make_source(
        "tfds:food101", split=split, data_dir=str(tmp_path / "data"))
    assert source.class_names == ("apple_pie", "waffles")
    for index in range(len(source)):
      example = source[index]
      number = int(decode(example["image"])[0, 0, 0])
      seen[number] = ("test" if split == "validation" else split,
                      source.class_names[example["label"]])
  assert seen == truth


def test_official_numbers_and_damaged_lists(tmp_path):
  archives.food101(tmp_path)
  with pytest.raises(DataError, match="2 classes of 101.*750"):
    prepare("food101", manual_dir=str(tmp_path), data_dir=str(tmp_path / "d"))
  archives.food101(tmp_path, classes=("apple_pie", "no such"))
  with pytest.raises(DataError, match="food-101.tar.gz: meta/train.txt lists"):
    prepare("food101", manual_dir=str(tmp_path), data_dir=str(tmp_path / "d"),
            partial=True)


def test_the_recipes_fine_tune_on_it():
  for name in ("vit.py:b16,food101", "augreg.py:R_Ti_16,food101"):
    config = load_config([f"--config=configs/{name}"])
    assert config.data.source == "tfds:food101"
    assert config.evals.test.split == "validation"
