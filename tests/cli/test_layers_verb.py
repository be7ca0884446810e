"""The verb compares a ViT with a ResNet, or says in one line why not."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from vit_jax.models.variants import make_model
from vit_jax.weights.convert import write_weights


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
  model = make_model("R14x1", num_classes=10)
  path = tmp_path_factory.mktemp("resnet") / "resnet.npz"
  params = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
  write_weights(path, params, model.architecture() | {
      "image_size": [16, 16], "preprocess": "resize({size})"})
  return path


@pytest.mark.slow
def test_a_vit_and_a_resnet(vit, digits_checkpoint, resnet, tmp_path):
  ran = vit("layers", digits_checkpoint, resnet, "--source=digits",
            "--max_images=20", f"--out={tmp_path}/out", "--json")
  assert ran.code == 0, ran.err
  answer = ran.json()
  assert answer["images"] == 20
  vit_layers, resnet_layers = answer["layers"]
  assert vit_layers[:2] == ["embedded", "block0"]
  assert resnet_layers == [f"stage{i}" for i in range(1, 5)]
  own, other, across = map(np.array, answer["similarity"])
  for values in own, other:
    np.testing.assert_allclose(np.diag(values), 1, atol=1e-6)
    np.testing.assert_allclose(values, values.T, atol=1e-6)
  assert across.shape == (len(vit_layers), 4)
  assert json.loads((tmp_path / "out/layers.json").read_text()) == {
      key: value for key, value in answer.items() if key != "files"}
  assert min(Image.open(tmp_path / "out/layers.png").size) > 400


def test_for_people(vit, digits_checkpoint, tmp_path):
  ran = vit("layers", digits_checkpoint, digits_checkpoint, "--source=digits",
            "--max_images=12", f"--out={tmp_path}/out")
  assert ran.code == 0 and "place read off" in ran.out
  assert "over 12 images" in ran.out
  # A network is most like itself, layer by layer.
  rows = [line.split() for line in ran.out.splitlines() if "1.00" in line]
  assert rows and all(row[1] == row[2] for row in rows)


@pytest.mark.parametrize("words, said", [
    (("--source=digits", "--max_images=7"), "too few"),
    (("--images=missing.png",), "missing.png"),
    ((), "which images?")])
def test_one_line(vit, digits_checkpoint, tmp_path, words, said):
  ran = vit("layers", digits_checkpoint, digits_checkpoint, *words,
            f"--out={tmp_path}/out")
  assert ran.code and said in ran.err and not ran.out
  assert ran.err.count("vit_jax: error:") == 1
  assert not (tmp_path / "out").exists()
