"""Predictions equal the model's, name the classes, survive broken pictures."""

import re

import jax
import numpy as np
from PIL import Image
import pytest

import vit_jax.cli.predict as predict_verb
from vit_jax.weights import convert
from vit_jax.weights.load import load


@pytest.fixture
def pictures(tmp_path):
  """Five pictures in two folders, one of them broken, and a text file."""
  rng = np.random.default_rng(0)
  (tmp_path / "more").mkdir()
  for name in ("a.png", "b.jpg", "more/c.png", "more/d.bmp"):
    Image.fromarray(
        rng.integers(0, 256, (11, 9, 3), np.uint8)).save(tmp_path / name)
  (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
  (tmp_path / "notes.txt").write_text("no picture")
  return tmp_path


def test_json_equals_the_model(vit, checkpoint, pictures):
  files = [str(pictures / "a.png"), str(pictures / "b.jpg")]
  ran = vit("predict", f"--checkpoint={checkpoint}", "--json", *files)
  assert (ran.code, ran.err) == (0, "")
  said = ran.json()
  assert [p["file"] for p in said["predictions"]] == files
  loaded = load(checkpoint)
  logits, _ = loaded.model.apply(
      {"params": loaded.params}, loaded.preprocess(files))
  expected = np.asarray(jax.nn.softmax(logits))
  assert np.abs(expected[0] - expected[1]).max() > 1e-3  # They can differ.
  for prediction, row in zip(said["predictions"], expected, strict=True):
    classes = prediction["classes"]
    assert [c["label"] for c in classes] == list(np.argsort(-row)[:5])
    assert [c["name"] for c in classes] == [
        f"digit {c['label']}" for c in classes]
    np.testing.assert_allclose(
        [c["probability"] for c in classes], np.sort(row)[::-1][:5], rtol=1e-5)


def test_table_for_people(vit, checkpoint, pictures):
  ran = vit("predict", f"--checkpoint={checkpoint}", pictures / "a.png",
            "--top_k=2")
  first, *guesses = ran.out.splitlines()
  assert first == str(pictures / "a.png")
  assert len(guesses) == 2
  for guess in guesses:
    assert re.fullmatch(r"  +\d+\.\d\d%  digit \d", guess)


def test_more_classes_wanted_than_there_are(vit, checkpoint, pictures):
  ran = vit("predict", f"--checkpoint={checkpoint}", pictures / "a.png",
            "--top_k=50", "--json")
  classes = ran.json()["predictions"][0]["classes"]
  assert len(classes) == 10
  assert sum(c["probability"] for c in classes) == pytest.approx(1, rel=1e-5)


def test_a_broken_picture_is_named_and_the_others_go_on(
    vit, checkpoint, pictures):
  ran = vit("predict", f"--checkpoint={checkpoint}", "--json",
            "--batch_size=2", pictures, pictures / "missing.png")
  assert ran.code == 1
  said = ran.json()
  assert [p["file"].removeprefix(f"{pictures}/") for p in said["predictions"]
          ] == ["a.png", "b.jpg", "more/c.png", "more/d.bmp"]
  broken, missing = said["errors"]
  assert "broken.jpg" in broken["file"]
  assert "JPEG" in broken["error"]
  assert "missing.png" in missing["error"]
  lines = ran.err.splitlines()
  assert len(lines) == 3
  assert lines[-1] == "vit_jax: 2 of 6 pictures could not be read"


def test_predictions_do_not_depend_on_the_batch(vit, checkpoint, pictures):
  (pictures / "broken.jpg").unlink()
  one, four = (
      vit("predict", f"--checkpoint={checkpoint}", "--json", pictures,
          f"--batch_size={n}").json()["predictions"] for n in (1, 3))
  for a, b in zip(one, four, strict=True):
    assert a["file"] == b["file"]
    np.testing.assert_allclose([c["probability"] for c in a["classes"]],
                               [c["probability"] for c in b["classes"]],
                               rtol=1e-5)


def test_one_compile_for_all_batches(checkpoint, pictures, monkeypatch):
  loaded = load(checkpoint)
  traces = []
  apply = type(loaded.model).apply

  def counted(self, *args, **kwargs):
    traces.append(1)
    return apply(self, *args, **kwargs)

  monkeypatch.setattr(type(loaded.model), "apply", counted)
  files = predict_verb.find_pictures([str(pictures)])
  assert len(list(predict_verb.predict(loaded, files, 2, 3))) == 5
  assert len(traces) == 1


def test_folders_are_searched_in_order(pictures):
  (pictures / ".hidden.png").write_bytes(b"")
  found = predict_verb.find_pictures([str(pictures)])
  assert [f.removeprefix(f"{pictures}/") for f in found] == [
      "a.png", "b.jpg", "broken.jpg", "more/c.png", "more/d.bmp"]


def test_a_zero_head_is_said_loudly(vit, tmp_path, tiny_model, pictures):
  _, params = tiny_model
  params = params | {"head": {"kernel": np.zeros((16, 10), np.float32),
                              "bias": np.zeros(10, np.float32)}}
  convert.write_weights(tmp_path / "zero.npz", params, {})
  ran = vit("predict", f"--checkpoint={tmp_path / 'zero.npz'}",
            pictures / "a.png")
  assert ran.code == 0
  assert "WARNING: the head of this checkpoint is all zeros" in ran.err
  assert "class 0" in ran.out


def test_a_model_without_head_is_refused(vit, tmp_path, tiny_model, pictures):
  params = {k: v for k, v in tiny_model[1].items() if k != "head"}
  convert.write_weights(tmp_path / "features.npz", params, {})
  ran = vit("predict", f"--checkpoint={tmp_path / 'features.npz'}",
            pictures / "a.png")
  assert ran.code == 2
  assert "has no head" in ran.err
