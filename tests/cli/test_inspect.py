"""What inspect prints is what the file holds."""

import numpy as np
import pytest

from vit_jax.weights.read import read_weights


def test_json(vit, checkpoint, tiny_model):
  answer = vit("inspect", checkpoint, "--json", "--stats").json()
  model, _ = tiny_model
  assert answer["macs"] == model.macs((8, 8))
  assert answer["image_size"] == [8, 8]
  assert answer["grid"] == [2, 2]
  assert answer["class_names"][3] == "digit 3"
  assert answer["scores"] == {"eval/test/accuracy": 0.125}
  assert answer["architecture"]["width"] == 16
  flat = read_weights(checkpoint).flat
  assert {row["name"] for row in answer["parameters"]} == set(flat)
  assert sum(row["count"] for row in answer["parameters"]) == (
      answer["parameter_count"])
  row = next(r for r in answer["parameters"] if r["name"] == "head/kernel")
  assert (row["shape"], row["dtype"]) == ([16, 10], "float32")
  assert row["mean"] == pytest.approx(flat["head/kernel"].mean(), rel=1e-5)
  assert row["std"] == pytest.approx(flat["head/kernel"].std(), rel=1e-5)


@pytest.mark.parametrize("options", [(), ("--stats",)])
@pytest.mark.parametrize("name", [
    "vit_i21k_layout.npz", "hybrid_layout.npz", "gap_layout.npz",
    "r_ti_layout.npz", "vit_i21k_big_vision_scan_layout.npz"])
def test_table_of_every_golden_is_readable(vit, goldens, name, options):
  ran = vit("inspect", goldens / name, *options)
  assert ran.code == 0
  lines = ran.out.splitlines()
  assert max(map(len, lines)) <= 100 + len(str(goldens))
  flat = read_weights(goldens / name).flat
  total = sum(array.size for array in flat.values())
  assert lines[-1].startswith(f"{total:,} parameters in {len(flat):,} arrays")
  blocks = {n.split("/")[1] for n in flat if "encoderblock" in n}
  headings = [line for line in lines if "encoderblock" in line]
  assert len(headings) == (len(blocks) if options else 1)


def test_a_zero_head_is_shown(vit, tmp_path, goldens):
  arrays = dict(np.load(goldens / "vit_finetuned_layout.npz"))
  arrays["head/kernel"] *= 0
  np.savez(tmp_path / "zero.npz", **arrays)
  assert "head all zeros" in vit("inspect", tmp_path / "zero.npz").out
  assert "head all zeros" not in vit(
      "inspect", goldens / "vit_finetuned_layout.npz").out


@pytest.mark.parametrize(("changes", "words"), [
    ({}, "1d position embedding at the stem, global attention"),
    ({"posemb": "2d", "posemb_at": "layers"}, "2d position embedding at every"),
    ({"posemb": "none"}, "no position embedding"),
    ({"posemb": "relative"}, "relative positions"),
    ({"block": "axial", "pooling": "gap"}, "axial attention")])
def test_kinds_of_positions_and_attention_are_shown(
    vit, tmp_path, changes, words):
  import jax
  import jax.numpy as jnp

  from vit_jax.models.variants import make_model
  from vit_jax.training.workdir import model_description, write_model

  model = make_model("Ti/16", num_classes=3, patch_size=4, width=16, depth=1,
                     mlp_dim=16, num_heads=2, **changes)
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
  params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  write_model(str(tmp_path), params, model_description(
      model, image_size=(16, 16), preprocess="resize({size})",
      class_names=None, scores={}, init=None, step=1))
  assert words in vit("inspect", str(tmp_path / "model.npz")).out


def test_the_arrays_of_anything_are_listed(vit, tmp_path):
  path = tmp_path / "resnet.npz"
  np.savez(path, **{"layer1.0.conv1.weight": np.ones((2, 3), np.float32)})
  ran = vit("inspect", path)
  assert ran.code == 1
  assert "layer1.0.conv1.weight  2x3" in ran.out
  assert "look like the arrays of a ResNet of PyTorch" in ran.err
  ran = vit("inspect", path, "--json")
  assert ran.json()["parameters"][0]["shape"] == [2, 3]
