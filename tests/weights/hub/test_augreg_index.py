"""AugReg's index and file names: what they say, and what is recommended."""

import time

from made_augreg_index import COLUMNS, PUBLISHED, rows, write_index
import pytest

from vit_jax.errors import CheckpointError, UsageError
from vit_jax.models import names
from vit_jax.weights.hub import augreg_index, released


@pytest.fixture(scope="module")
def index(tmp_path_factory):
  return augreg_index.read_augreg_index(
      write_index(tmp_path_factory.mktemp("augreg") / "index.csv"))


def published(model, suffix=""):
  """The name, without .npz, of a published file of released.csv."""
  name = f"augreg/{model.replace('+', '_').replace('/', '_')}{suffix}"
  file, = [r["file"] for r in released.released_table() if r["name"] == name]
  return file.removeprefix("augreg/").removesuffix(".npz")


def test_file_names_hold_their_settings(index):
  for row in index:
    settings = augreg_index.parse_filename(row["adapt_filename"])
    for column in ("lr", "aug", "wd", "do", "sd", "epochs", "adapt_ds",
                   "adapt_lr", "adapt_resolution"):
      assert settings[column] == row[column]
    assert int(settings["adapt_steps"]) == int(row["adapt_steps"]) // 1000
    assert names.canonical(settings["model"]) == row["name"]
    assert row["ds"].startswith(settings["ds"])
    assert augreg_index.parse_filename(row["filename"])["adapt_ds"] is None


@pytest.mark.parametrize("name", [
    "B_16", "ViT-B_16", "augreg/B_16-384", "B_16-i21k-300ep-lr_0.001.npz",
    "imagenet21k/ViT-B_16.npz"])
def test_other_names_are_not_taken_for_augreg(name):
  assert augreg_index.parse_filename(name) is None
  with pytest.raises(UsageError, match="not the name of an AugReg file"):
    augreg_index.released_row(name)


def test_unknown_models_are_refused_with_the_nearest():
  name = published("R26+S/32").replace("R26_S_32", "R26_S_16")
  with pytest.raises(UsageError, match="did you mean 'R26_S_32'"):
    augreg_index.released_row(name)


def test_file_names_agree_with_the_table():
  known = [row for row in released.released_table()
           if row["file"].startswith("augreg/")]
  assert len(known) == 20
  for row in known:
    described = augreg_index.released_row(row["file"])
    assert described.keys() == row.keys()
    for key in ("file", "variant", "classes", "resolution", "pre_logits",
                "head_zeros", "pooling", "preprocess"):
      assert described[key] == row[key], (row["name"], key)


@pytest.mark.parametrize(["ds", "classes"], [
    ("cifar100", 100), ("oxford_iiit_pet", 37), ("resisc45", 45),
    ("kitti", None)])
def test_heads_of_transfer_sets(ds, classes):
  name = f"{published('B/32')}--{ds}-steps_2k-lr_0.01-res_224"
  row = augreg_index.released_row(name)
  assert (row["classes"], row["resolution"]) == (classes, 224)
  described = augreg_index.released_row(name.replace("i21k-", "i1k-"))
  assert described["pre_logits"] is None


def test_the_index_is_read_as_it_is_written(index):
  assert list(index[0]) == COLUMNS == list(augreg_index.COLUMNS)
  wanted = list(rows())
  assert [r["adapt_filename"] for r in index] == [
      r["adapt_filename"] for r in wanted]
  assert augreg_index.typed_row(index[0]) == wanted[0] | {
      k: float(wanted[0][k]) for k in ("lr", "wd", "do", "sd", "adapt_lr")}


def test_blanks_are_none(index):
  b8 = augreg_index.typed_row(augreg_index.select_rows(index, name="B/8")[0])
  assert b8["infer_samples_per_sec"] is None
  row = augreg_index.typed_row(index[0] | {"final_val": "nan"})
  assert row["final_val"] is None


@pytest.mark.parametrize(["text", "words"], [
    ("<html>no</html>", "is not AugReg's index.csv"), ("", "no column 'name'"),
    (",".join(COLUMNS) + "\nTi/16,i1k\n", "damaged")])
def test_what_is_no_index_says_so(tmp_path, text, words):
  path = tmp_path / "index.csv"
  path.write_text(text)
  with pytest.raises(CheckpointError, match=words) as error:
    augreg_index.read_augreg_index(path)
  assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_select_by_any_spelling(index):
  for wanted in (dict(name="R_Ti_16"), dict(wd="0.10"), dict(wd=0.1),
                 dict(adapt_resolution=384, adapt_ds="cifar100"),
                 dict(filename=published("S/16") + ".npz")):
    found = augreg_index.select_rows(index, **wanted)
    assert 0 < len(found) < len(index)
  tenths = augreg_index.select_rows(index, wd="0.10")
  assert {row["wd"] for row in tenths} == {"0.1"}
  chosen = augreg_index.select_rows(index, name="ViT-B_16")
  assert {row["name"] for row in chosen} == {"B/16"}


@pytest.mark.parametrize(["wanted", "words"], [
    (dict(adapt_dataset="kitti"), "no column 'adapt_dataset'.*'adapt_ds'"),
    (dict(ds="i22k"), "ds=i22k.*did you mean 'i21k'.*i1k, i21k, i21k_30"),
    (dict(name="B/16", adapt_resolution=512), "adapt_resolution is 224, 384"),
    (dict(wd="heavy"), "wd is 0.03, 0.1")])
def test_select_names_what_there_is(index, wanted, words):
  with pytest.raises(UsageError, match=words):
    augreg_index.select_rows(index, **wanted)


def test_order(index):
  falling = [float(row["final_val"])
             for row in augreg_index.sort_rows(index, "final_val")]
  assert falling == sorted(falling, reverse=True) != sorted(falling)
  rising = augreg_index.sort_rows(index, "final_val", ascending=True)
  assert [float(r["final_val"]) for r in rising] == falling[::-1]
  names = [r["name"] for r in augreg_index.sort_rows(index, "name")]
  assert names == sorted(names) != [r["name"] for r in index]
  speeds = [r["infer_samples_per_sec"]
            for r in augreg_index.sort_rows(index, "infer_samples_per_sec")]
  assert speeds[0] == "9371" and speeds[-1] == ""  # numbers, blanks last
  with pytest.raises(UsageError, match="did you mean 'final_val'"):
    augreg_index.sort_rows(index, "finalval")


@pytest.mark.parametrize("model", PUBLISHED)
def test_recommended_is_the_published_file(index, model):
  best = augreg_index.recommended(index, model)
  assert best["filename"] == published(model)
  assert best["ds"] == "i21k" and best["epochs"] == "300"
  # The index would tell a wrong rule: other rows score higher.
  mine = augreg_index.select_rows(index, name=model)
  by_adapted = augreg_index.sort_rows(
      augreg_index.select_rows(mine, ds="i21k"), "adapt_final_val")[0]
  assert by_adapted["filename"] != best["filename"]
  if model != "B/8":
    assert augreg_index.sort_rows(mine, "final_val")[0]["ds"] == "i1k"
    thirty = augreg_index.sort_rows(
        augreg_index.select_rows(mine, ds="i21k_30"), "final_val")[0]
    assert float(thirty["final_val"]) > float(best["final_val"])


@pytest.mark.parametrize("model", sorted(set(PUBLISHED) - {"B/8"}))
def test_recommended_fine_tuned_is_the_published_file(index, model):
  file = published(model, "-384")
  row = augreg_index.recommended_adapted(
      index, model, "imagenet2012", 384, file)
  assert row["adapt_filename"] == file
  assert float(row["adapt_final_test"]) == PUBLISHED[model][4]


def test_recommended_fine_tuned_elsewhere(index):
  row = augreg_index.recommended_adapted(index, "S_16", "cifar100", 224)
  assert row["filename"] == published("S/16")
  assert (row["adapt_ds"], row["adapt_resolution"]) == ("cifar100", "224")
  with pytest.raises(UsageError, match="adapt_ds is cifar100, .*, resisc45"):
    augreg_index.recommended_adapted(index, "S_16", "flowers", 224)


def test_the_whole_index_in_a_second(tmp_path):
  path = write_index(tmp_path / "index.csv", whole=True)
  start = time.process_time()
  index = augreg_index.read_augreg_index(path)
  found = augreg_index.sort_rows(
      augreg_index.select_rows(index, name="B/16", ds="i21k"), "final_val")
  seconds = time.process_time() - start
  assert len(index) == len({r["adapt_filename"] for r in index}) == 51_509
  assert len({r["filename"] for r in index}) == 759
  assert len(found) == 28 * 68
  assert found[0]["filename"] == published("B/16")
  assert seconds < 1


@pytest.mark.parametrize("lines", [1, 2], ids=["header", "words"])
def test_an_index_without_numbers_is_damaged(tmp_path, lines):
  path = write_index(tmp_path / "index.csv")
  text = path.read_text().splitlines()[:lines]
  if lines == 2:
    cells = text[1].split(",")
    cells[COLUMNS.index("final_val")] = "high"
    text[1] = ",".join(cells)
  path.write_text("\n".join(text) + "\n")
  with pytest.raises(CheckpointError, match="is damaged") as error:
    augreg_index.read_augreg_index(path)
  assert "\n" not in str(error.value)
