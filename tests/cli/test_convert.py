"""From a file to another and back: bit for bit the same parameters."""

import numpy as np
import pytest

from vit_jax.weights.read import read_weights


def same(a, b):
  assert set(a) == set(b)
  return all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name, options, dialect", [
    ("out.npz", (), "released"),
    ("out.npz", ("--dialect=linen",), "linen"),
    ("out.npz", ("--dialect=big_vision",), "big_vision"),
    ("out.safetensors", (), "timm"),
    ("out.safetensors", ("--dialect=hugging_face",), "hugging_face"),
])
def test_there_and_back(vit, checkpoint, tmp_path, name, options, dialect):
  there, back = tmp_path / name, tmp_path / "back.npz"
  ran = vit("convert", checkpoint, there, *options)
  assert ran.code == 0, ran.err
  assert f"wrote {there} ({dialect}, " in ran.out
  ran = vit("convert", there, back, "--dialect=released", "--json")
  assert ran.json()["dialect"] == "released"
  first, last = read_weights(checkpoint), read_weights(back)
  if dialect == "big_vision":  # It keeps only the sum of the two.
    for file in (first, last):
      posemb = file.flat["Transformer/posembed_input/pos_embedding"]
      file.flat["cls"] = file.flat["cls"] + posemb[:, :1]
      posemb[:, :1] = 0
  assert same(first.flat, last.flat)
  assert last.metadata["class_names"] == first.metadata["class_names"]
  last.flat["cls"] = last.flat["cls"] + 1e-6
  assert not same(first.flat, last.flat)


def test_a_model_card_lies_beside_what_is_for_the_hub(
    vit, checkpoint, tmp_path):
  out = tmp_path / "digits" / "model.safetensors"
  out.parent.mkdir()
  ran = vit("convert", checkpoint, out, "--dialect=hugging_face",
            "--licence=apache-2.0")
  assert ran.code == 0, ran.err
  text = (out.parent / "README.md").read_text()
  assert "license: apache-2.0" in text
  assert "# digits" in text
  assert "`eval/test/accuracy` | 0.125" in text
  ran = vit("convert", checkpoint, tmp_path / "x" / "out.npz")
  assert not (tmp_path / "x" / "README.md").exists()
