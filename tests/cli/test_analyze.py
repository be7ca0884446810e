"""The verb writes arrays, figures and a page, and names what it leaves out."""

import json
import re

import numpy as np
from PIL import Image
import pytest

from vit_jax.analysis import attention
from vit_jax.weights import convert
from vit_jax.weights.load import load


@pytest.fixture
def images(tmp_path):
  folder = tmp_path / "images"
  folder.mkdir()
  rng = np.random.default_rng(0)
  for i in range(3):
    Image.fromarray(rng.integers(0, 256, (11, 9, 3), np.uint8)).save(
        folder / f"{i}.png")
  return folder


def test_everything_is_written(vit, checkpoint, images, tmp_path):
  out = tmp_path / "out"
  ran = vit("analyze", f"--checkpoint={checkpoint}", "--images", images,
            f"--out={out}", "--batch_size=2", "--json")
  assert (ran.code, ran.err) == (0, "")
  answer = ran.json()
  assert (answer["images"], answer["pictures"], answer["layers"]) == (3, 3, [0])
  assert {path.name for path in out.iterdir()} == {
      "analysis.npz", "learned.png", "filters.png", "attention_distance.png",
      "position_similarity.png", "rollout.png", "attention.html"}
  assert sorted(answer["files"]) == sorted(map(str, out.iterdir()))
  for path in out.glob("*.png"):
    assert min(Image.open(path).size) > 200, path
  # The numbers are the network's, whatever the batch.
  loaded = load(checkpoint)
  files = sorted(map(str, images.iterdir()))
  expected = attention.make_summarize(loaded.model, (8, 8))(
      loaded.params, loaded.preprocess(files))
  with np.load(out / "analysis.npz", allow_pickle=False) as arrays:
    assert arrays["names"].tolist() == files
    np.testing.assert_allclose(
        arrays["attention_distance_by_picture"], expected["distance"],
        rtol=1e-5)
    np.testing.assert_allclose(
        arrays["attention_distance"], expected["distance"].mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        arrays["rollout"], expected["rollout"], rtol=1e-5)
    assert arrays["position_similarity"].shape == (2, 2, 2, 2)
    assert arrays["filter_components"].shape == (15, 4, 4, 3)
    assert arrays["stride"].tolist() == [4, 4]
  np.testing.assert_allclose(
      answer["attention_distance"], expected["distance"].mean(0), rtol=1e-5)
  page = (out / "attention.html").read_text()
  data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
  assert [p["name"] for p in data["images"]] == files
  assert data["images"][0]["classes"][0][0].startswith("digit ")


def test_a_data_set_and_a_table_for_people(vit, checkpoint, tmp_path):
  ran = vit("analyze", f"--checkpoint={checkpoint}", "--source=digits",
            "--max_images=2", f"--out={tmp_path / 'out'}")
  assert ran.code == 0
  assert "using 2 of the 360 images, evenly spread" in ran.err
  assert ran.out.splitlines()[0].split("  ")[0] == "layer"
  assert "in pixels, over 2 images" in ran.out
  assert ran.out.splitlines()[-1] == str(tmp_path / "out" / "attention.html")


def test_what_cannot_be_shown_is_named(
    vit, tmp_path, tiny_model, images):
  # Without positions and head, and with one picture that is broken.
  params = {k: v for k, v in tiny_model[1].items() if k != "head"}
  params["Transformer"] = {k: v for k, v in params["Transformer"].items()
                           if k != "posembed_input"}
  path = tmp_path / "bare.npz"
  convert.write_weights(path, params, {
      "architecture": {
          "patch_size": [4, 4], "width": 16, "depth": 1, "mlp_dim": 32,
          "num_heads": 2, "posemb": "none", "num_classes": 0},
      "image_size": [8, 8], "preprocess": "resize({size})"})
  (images / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
  ran = vit("analyze", f"--checkpoint={path}", "--images", images,
            f"--out={tmp_path / 'out'}", "--json")
  assert ran.code == 1
  assert "broken.jpg" in ran.json()["errors"][0]["file"]
  assert "1 of 4 images could not be read" in ran.err
  assert "model.posemb='none' has no embedding of a position" in ran.err
  names = {path.name for path in (tmp_path / "out").iterdir()}
  assert "position_similarity.png" not in names
  assert {"learned.png", "rollout.png", "attention.html"} <= names


@pytest.mark.parametrize("words", [
    (), ("--images=a.png", "--source=digits")])
def test_images_come_from_one_place(words, vit, checkpoint, tmp_path):
  ran = vit("analyze", f"--checkpoint={checkpoint}", *words,
            f"--out={tmp_path}")
  assert ran.code == 2
  assert "either --images=FILE or --source=digits" in ran.err


def test_nothing_readable_is_an_error(vit, checkpoint, tmp_path):
  ran = vit("analyze", f"--checkpoint={checkpoint}", "--images=missing.png",
            f"--out={tmp_path / 'out'}")
  assert ran.code == 1
  assert "no image could be read; the first: missing.png: cannot be " in (
      ran.err)
  assert len(ran.err.splitlines()) == 1
  assert not (tmp_path / "out").exists()
