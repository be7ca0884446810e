"""Exported files: the model's answers, for any batch, with jax alone."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from vit_jax.cli import export as export_verb
from vit_jax.weights import convert
from vit_jax.weights.load import load

# The three lines of the docstring, and what must not be needed for them.
ALONE = """
import sys
import numpy as np
from jax import export
model = export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
for images in np.load(sys.argv[2]).values():
  np.save(sys.argv[3] % len(images), model.call(images))
loaded = {name.split(".")[0] for name in sys.modules}
assert not loaded & {"vit_jax", "flax", "optax", "orbax", "grain"}, loaded
"""


def noise(count, size=8):
  return np.random.default_rng(count).integers(
      0, 256, (count, size, size, 3), dtype=np.uint8)


def answer(path, images, **changes):
  vit = load(path, **changes)
  logits, _ = jax.jit(vit.model.apply)({"params": vit.params}, images)
  return np.asarray(logits)


def read(path):
  return jax.export.deserialize(bytearray(path.read_bytes()))


def test_runs_with_jax_alone_for_any_number_of_images(
    vit, checkpoint, tmp_path):
  out = tmp_path / "tiny.stablehlo"
  ran = vit("export", checkpoint, out)
  assert ran.code == 0, ran.err
  assert "uint8 (b, 8, 8, 3)" in ran.out and "cpu, cuda, tpu" in ran.out
  np.savez(tmp_path / "in.npz", a=noise(1), b=noise(5))
  subprocess.run(
      [sys.executable, "-c", ALONE, out, tmp_path / "in.npz",
       tmp_path / "out%d.npy"], check=True, cwd=tmp_path)
  for count in (1, 5):
    logits = np.load(tmp_path / f"out{count}.npy")
    assert logits.shape == (count, 10)
    np.testing.assert_allclose(
        logits, answer(checkpoint, noise(count)), atol=1e-5)
  assert not np.allclose(logits, answer(checkpoint, 255 - noise(5)),
                         atol=1e-3)


def test_the_loader_is_the_one_of_the_help():
  for line in ALONE.splitlines()[3:5]:
    assert line.partition("(")[0] in export_verb.__doc__


def test_description(vit, checkpoint, tmp_path):
  ran = vit("export", checkpoint, tmp_path / "tiny.stablehlo", "--json")
  description = json.loads((tmp_path / "tiny.json").read_text())
  assert description.items() <= ran.json().items()
  assert description["class_names"] == [f"digit {i}" for i in range(10)]
  assert description["preprocess"] == "resize({size})"
  assert description["image_size"] == [8, 8]
  assert description["input"] == {
      "dtype": "uint8", "shape": ["b", 8, 8, 3], "range": [0, 255]}
  assert ran.json()["difference"] < 1e-5
  assert sorted(p.name for p in tmp_path.iterdir()) == [
      "tiny.json", "tiny.stablehlo"]


def test_floats_another_size_a_fixed_batch_and_one_platform(
    vit, checkpoint, tmp_path):
  out = tmp_path / "fixed.stablehlo"
  ran = vit("export", checkpoint, out, "--batch=3", "--platforms=cpu",
            "--input=float32", "--image_size=12")
  assert ran.code == 0, ran.err
  exported = read(out)
  assert exported.in_avals[0].shape == (3, 12, 12, 3)
  assert exported.platforms == ("cpu",)
  images = noise(3, 12).astype(np.float32) / 127.5 - 1
  np.testing.assert_allclose(
      exported.call(images), answer(checkpoint, images, image_size=12),
      atol=1e-5)


def test_bfloat16_is_nearly_the_same(
    vit, checkpoint, tmp_path):
  out = tmp_path / "half.stablehlo"
  ran = vit("export", checkpoint, out, "--dtype=bfloat16")
  assert ran.code == 0, ran.err
  near = np.asarray(read(out).call(noise(4)))
  exact = answer(checkpoint, noise(4))
  assert near.dtype == np.float32
  np.testing.assert_allclose(near, exact, atol=0.05 * np.abs(exact).max())
  assert not np.array_equal(near, exact)


def test_features_of_a_file_without_head(vit, tmp_path, tiny_model):
  params = {k: v for k, v in tiny_model[1].items() if k != "head"}
  convert.write_weights(tmp_path / "features.npz", params, {})
  out = tmp_path / "features.stablehlo"
  assert vit("export", tmp_path / "features.npz", out).code == 0
  assert read(out).call(noise(2)).shape == (2, 16)


@pytest.mark.parametrize("words, message", [
    (["--platforms=gpu"], "'gpu' is not a platform"),
    (["--batch=0"], "a whole number from 1"),
    (["--input=int8"], "invalid choice: 'int8'")])
def test_wrong_words(vit, checkpoint, tmp_path, words, message):
  ran = vit("export", checkpoint, tmp_path / "x", *words)
  assert ran.code == 2
  assert message in ran.err


def test_what_is_too_large_is_refused(vit, checkpoint, tmp_path, monkeypatch):
  monkeypatch.setattr(export_verb, "LARGEST", 1000)
  ran = vit("export", checkpoint, tmp_path / "x.stablehlo")
  assert ran.code == 1
  assert "--dtype=bfloat16" in ran.err
  assert not list(tmp_path.iterdir())
