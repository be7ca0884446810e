"""Predictions equal the model's, name the classes, survive broken images."""

import re

import jax
import numpy as np
from PIL import Image
import pytest

from vit_jax.cli import predict as predict_verb
from vit_jax.data.pictures import find_images
from vit_jax.errors import UsageError
from vit_jax.models.features import features
from vit_jax.weights import convert
from vit_jax.weights.load import load


@pytest.fixture
def folder(tmp_path):
  """Five images in two folders, one of them broken, and a text file."""
  rng = np.random.default_rng(0)
  (tmp_path / "more").mkdir()
  for name in ("a.png", "b.jpg", "more/c.png", "more/d.bmp"):
    Image.fromarray(
        rng.integers(0, 256, (11, 9, 3), np.uint8)).save(tmp_path / name)
  (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
  (tmp_path / "notes.txt").write_text("not an image")
  return tmp_path


def test_json_equals_the_model(vit, checkpoint, folder):
  files = [str(folder / "a.png"), str(folder / "b.jpg")]
  ran = vit("predict", f"--checkpoint={checkpoint}", "--json", *files)
  assert (ran.code, ran.err) == (0, "")
  answer = ran.json()
  assert [p["file"] for p in answer["predictions"]] == files
  loaded = load(checkpoint)
  logits, _ = loaded.model.apply(
      {"params": loaded.params}, loaded.preprocess(files))
  expected = np.asarray(jax.nn.softmax(logits))
  assert np.abs(expected[0] - expected[1]).max() > 1e-3  # They can differ.
  for prediction, row in zip(answer["predictions"], expected, strict=True):
    classes = prediction["classes"]
    assert [c["label"] for c in classes] == list(np.argsort(-row)[:5])
    assert [c["name"] for c in classes] == [
        f"digit {c['label']}" for c in classes]
    np.testing.assert_allclose(
        [c["probability"] for c in classes], np.sort(row)[::-1][:5], rtol=1e-5)


def test_flip_averages_the_logits_of_a_picture_and_its_mirror(
    vit, checkpoint, folder):
  file = folder / "a.png"
  mirror = folder / "mirror.png"
  Image.fromarray(np.asarray(Image.open(file))[:, ::-1]).save(mirror)
  ran = vit("predict", f"--checkpoint={checkpoint}", "--json", "--flip",
            "--top_k=10", file, mirror)
  one, two = (entry["classes"] for entry in ran.json()["predictions"])
  loaded = load(checkpoint)
  logits, _ = loaded.model.apply(
      {"params": loaded.params}, loaded.preprocess([file, mirror]))
  expected = np.asarray(jax.nn.softmax(logits.mean(axis=0)))
  for classes in (one, two):
    for entry in classes:
      assert entry["probability"] == pytest.approx(
          expected[entry["label"]], abs=1e-5)
  assert np.abs(expected - np.asarray(jax.nn.softmax(logits[0]))).max() > 1e-3


def test_the_verb_and_python_give_equal_numbers(vit, checkpoint, folder):
  (folder / "broken.jpg").unlink()
  ran = vit("predict", f"--checkpoint={checkpoint}", "--json", "--top_k=3",
            folder)
  in_python = load(checkpoint).predict(folder, top_k=3)
  assert [[(c["name"], c["probability"]) for c in entry["classes"]]
          for entry in ran.json()["predictions"]] == in_python
  assert len(in_python) == 4


def test_table_for_people(vit, checkpoint, folder):
  ran = vit("predict", f"--checkpoint={checkpoint}", folder / "a.png",
            "--top_k=2")
  first, *guesses = ran.out.splitlines()
  assert first == str(folder / "a.png")
  assert len(guesses) == 2
  for guess in guesses:
    assert re.fullmatch(r"  +\d+\.\d\d%  digit \d", guess)


def test_more_classes_wanted_than_there_are(vit, checkpoint, folder):
  ran = vit("predict", f"--checkpoint={checkpoint}", folder / "a.png",
            "--top_k=50", "--json")
  classes = ran.json()["predictions"][0]["classes"]
  assert len(classes) == 10
  assert sum(c["probability"] for c in classes) == pytest.approx(1, rel=1e-5)


def test_a_broken_image_is_named_and_the_others_are_classified(
    vit, checkpoint, folder):
  ran = vit("predict", f"--checkpoint={checkpoint}", "--json",
            "--batch_size=2", folder, folder / "missing.png")
  assert ran.code == 1
  answer = ran.json()
  assert [p["file"].removeprefix(f"{folder}/") for p in answer["predictions"]
          ] == ["a.png", "b.jpg", "more/c.png", "more/d.bmp"]
  broken, missing = answer["errors"]
  assert "broken.jpg" in broken["file"]
  assert "JPEG" in broken["error"]
  assert "missing.png" in missing["error"]
  lines = ran.err.splitlines()
  assert len(lines) == 4
  assert lines[0].endswith("not images, ignored: 1 .txt")
  assert lines[-1] == "vit_jax: 2 of 6 images could not be read"


def test_predictions_do_not_depend_on_the_batch(vit, checkpoint, folder):
  (folder / "broken.jpg").unlink()
  one, four = (
      vit("predict", f"--checkpoint={checkpoint}", "--json", folder,
          f"--batch_size={n}").json()["predictions"] for n in (1, 3))
  for a, b in zip(one, four, strict=True):
    assert a["file"] == b["file"]
    np.testing.assert_allclose([c["probability"] for c in a["classes"]],
                               [c["probability"] for c in b["classes"]],
                               rtol=1e-5)


def test_one_compile_for_all_batches(checkpoint, folder, monkeypatch):
  loaded = load(checkpoint)
  features.clear_cache()  # An equal model may have been compiled before.
  traces = []
  apply = type(loaded.model).apply

  def counted(self, *args, **kwargs):
    traces.append(1)
    return apply(self, *args, **kwargs)

  monkeypatch.setattr(type(loaded.model), "apply", counted)
  files = find_images([str(folder)])
  assert len(list(predict_verb.predict(loaded, files, 2, 3))) == 5
  assert len(traces) == 1


def test_folders_are_searched_in_order(folder):
  (folder / ".hidden.png").write_bytes(b"")
  found = find_images([str(folder)])
  assert [f.removeprefix(f"{folder}/") for f in found] == [
      "a.png", "b.jpg", "broken.jpg", "more/c.png", "more/d.bmp"]


def test_a_zero_head_is_answer_loudly(vit, tmp_path, tiny_model, folder):
  _, params = tiny_model
  params = params | {"head": {"kernel": np.zeros((16, 10), np.float32),
                              "bias": np.zeros(10, np.float32)}}
  convert.write_weights(tmp_path / "zero.npz", params, {})
  ran = vit("predict", f"--checkpoint={tmp_path / 'zero.npz'}",
            folder / "a.png")
  assert ran.code == 0
  assert "WARNING: the head of this checkpoint is all zeros" in ran.err
  assert "class 0" in ran.out


def test_a_model_without_head_is_refused(vit, tmp_path, tiny_model, folder):
  params = {k: v for k, v in tiny_model[1].items() if k != "head"}
  convert.write_weights(tmp_path / "features.npz", params, {})
  ran = vit("predict", f"--checkpoint={tmp_path / 'features.npz'}",
            folder / "a.png")
  assert ran.code == 2
  assert "has no head" in ran.err


def test_one_logit_is_no_choice(vit, tiny_model, folder):
  path = folder / "one.npz"
  params = tiny_model[1] | {"head": {
      name: a[..., :1] for name, a in tiny_model[1]["head"].items()}}
  convert.write_weights(path, params, {"preprocess": "resize({size})"})
  ran = vit("predict", f"--checkpoint={path}", folder / "a.png")
  assert ran.code == 2 and "has 1 output, but no classes" in ran.err
  with pytest.raises(UsageError, match="has 1 output, but no classes"):
    load(path).predict(folder / "a.png")
