"""inspect of what has no weights yet: a model's name, or a config."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.config.schema import changed
from vit_jax.models.variants import make_model
from vit_jax.training.memory import outline

# What torchsummary prints for a bias-free ViT-B/16 of 10 classes. It counts
# modules that are called, once: not the class token, the positions and the
# final norm, which are parameters of their own there, nor the second of two
# norms that share a name in each of 12 blocks.
TORCHSUMMARY = 85_606_666


def test_a_name(vit):
  answer = vit("inspect", "B/16", "--json", "--num_classes=10",
               "--config.model.qkv_bias=False").json()
  assert answer["parameter_count"] == 85_778_698
  assert answer["parameter_count"] - TORCHSUMMARY == (
      768 + 197 * 768 + 2 * 768 + 12 * 2 * 768)
  assert sum(answer["modules"].values()) == answer["parameter_count"]
  assert answer["modules"]["Transformer/encoderblocks"] == 12 * 7_085_568
  assert answer["macs"] == make_model(
      "B/16", num_classes=10, qkv_bias=False).macs((224, 224))
  assert answer["memory"]["parameters"] == 4 * 85_778_698
  assert answer["memory"]["optimizer"] >= 2 * 4 * 85_778_698  # Adam's moments
  assert answer["image_size"] == [224, 224] and answer["grid"] == [14, 14]


def test_the_parameters_are_those_of_the_network(vit):
  answer = vit("inspect", "--json", "--config=configs/quickstart.py").json()
  model = make_model("Ti/16", num_classes=10, patch_size=4, width=64, depth=4,
                     mlp_dim=128, num_heads=4)
  params = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
  assert answer["parameter_count"] == sum(
      x.size for x in jax.tree.leaves(params))
  want = {"/".join(str(k.key) for k in path): list(x.shape) for path, x in
          jax.tree_util.tree_leaves_with_path(params)}
  assert {r["name"]: r["shape"] for r in answer["parameters"]} == want
  # The average of the weights is one copy more.
  assert answer["memory"]["average"] == answer["memory"]["parameters"]
  assert answer["memory"]["batch_size"] == 64


def test_the_table(vit):
  ran = vit("inspect", "Ti/16", "--batch_size=8")
  assert ran.code == 0
  lines = ran.out.splitlines()
  assert lines[-1] == "5,717,416 parameters in 200 arrays, not initialised"
  assert any("for a batch of 8 " in line for line in lines)
  assert any(line.startswith("Transformer/encoderblocks") for line in lines)


def test_activations_are_what_a_block_keeps():
  def activations(depth, dtype="float32", **changes):
    return outline(changed({
        "model.variant": "Ti/16", "train.steps": 1, "model.depth": depth,
        "model.dtype": dtype} | changes), 10).activation_bytes

  one, two, three = map(activations, (1, 2, 3))
  assert three - two == two - one  # as much for each block
  # Its input, three operands and the weights of attention, two of the MLP's.
  tokens, width = 197, 192
  least = 4 * (tokens * width * (1 + 3 + 4) + 3 * tokens**2)
  assert least < two - one < 8 * least
  assert activations(2, "bfloat16") < 0.7 * two
  full = {"model.remat": "full"}
  # Rematerialised blocks keep their input alone.
  assert activations(3, **full) - activations(2, **full) == (
      4 * tokens * width)


@pytest.mark.slow
def test_a_config_without_its_data(vit):
  answer = vit("inspect", "--json",
               "--config=configs/pretrain.py:S/16,imagenet21k").json()
  assert answer["architecture"]["num_classes"] == 21_843
  answer = vit("inspect", "--json", "--num_classes=7",
               "--config=configs/vit.py:b16,cifar10").json()
  assert answer["architecture"]["num_classes"] == 7
  assert answer["image_size"] == [384, 384]


@pytest.mark.parametrize("words, message", [
    (("B/16", "--config=configs/quickstart.py"), "name one FILE, model or"),
    (("--config.model.width=3",), "name one FILE, model or --config"),
    (("B/16", "--config.model.num_heads=7"), "head counts that work: 1, 2, 3"),
    (("B/16", "--config.model.nope=7"), "no key 'model.nope'"),
    (("B/16", "--config.model.depth=x"), "config.model.depth='x'"),
    (("{file}", "--num_classes=3"), "--num_classes is for a model's name"),
    (("{file}", "--config.model.depth=3"), "depth=3 is for a model's name"),
    (("--config=configs/quickstart.py", "--config.data.source=/no"),
     "give --num_classes=N")])
def test_what_does_not_go_together(vit, checkpoint, words, message):
  ran = vit("inspect", *(word.format(file=checkpoint) for word in words))
  assert ran.code == 2
  assert message in ran.err.splitlines()[-1]
  assert "Traceback" not in ran.err


def test_a_file_of_a_models_name_is_the_file(vit, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with open("h14", "wb") as file:
    np.savez(file, weights=np.zeros(3))
  assert "h14" in vit("inspect", "h14").err
