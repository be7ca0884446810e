"""big_vision's layouts: folded cls, scan, MAP head, image towers of SigLIP.

The arrays are laid out here as big_vision's models name them, from parameters
under our own names, so that the logits are known.
"""

import jax
import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights import trees
from vit_jax.weights.load import init_params, load

SIZE = (16, 16)
POSEMB = "Transformer/posembed_input/pos_embedding"


def big_vision(flat, scan):
  """The same parameters under the names of big_vision's models/vit.py."""
  theirs = dict(flat)
  posemb = theirs.pop(POSEMB)
  if "cls" in theirs:  # its position is folded into it
    theirs["cls"] = theirs["cls"] + posemb[:, :1]
    posemb = posemb[:, 1:]
  theirs["pos_embedding"] = posemb
  if scan:
    rest = sorted(n.split("/", 2)[2] for n in theirs if "encoderblock_0/" in n)
    for name in rest:
      theirs[f"Transformer/encoderblock/{name}"] = np.stack([
          theirs.pop(f"Transformer/encoderblock_{i}/{name}") for i in (0, 1)])
  return theirs


def text_tower():
  rng = np.random.default_rng(9)
  return {
      "txt/Embed_0/embedding": rng.random((7, 24), np.float32),
      "txt/pos_embedding": rng.random((1, 4, 24), np.float32),
      "txt/Encoder_0/encoderblock_0/LayerNorm_0/scale": np.ones(24, "f4"),
      "txt/head/kernel": rng.random((24, 48), np.float32),
      "txt/head/bias": np.zeros(48, "f4")}


def two_towers(image, prefix):
  """SigLIP's file: both towers, temperature and bias."""
  arrays = {f"img/{name}": a for name, a in image.items()} | text_tower()
  arrays |= {"t": np.array([2.3], "f4"), "b": np.array([-10.0], "f4")}
  return {prefix + name: a for name, a in arrays.items()}


def run(vit):
  images = np.random.default_rng(1).uniform(-1, 1, (2, *SIZE, 3))
  return jax.jit(vit.model.apply)(
      {"params": vit.params}, images.astype(np.float32))


def reference(model, flat):
  images = np.random.default_rng(1).uniform(-1, 1, (2, *SIZE, 3))
  return model.apply({"params": trees.unflatten(flat)},
                     images.astype(np.float32))[0]


@pytest.fixture
def saved(tmp_path):
  def save(arrays):
    np.savez(tmp_path / "f.npz", **arrays)
    return tmp_path / "f.npz"

  return save


@pytest.mark.parametrize("scan, prefix", [(False, ""), (True, "params/")])
@pytest.mark.parametrize("change", [
    dict(), dict(pooling="gap"), dict(pooling="map"), dict(num_classes=0)])
def test_single_towers(small_model, random_flat, saved, scan, change, prefix):
  model = small_model(**change)
  flat = random_flat(model, SIZE)
  vit = load(saved({
      prefix + name: a for name, a in big_vision(flat, scan).items()}))
  assert vit.model == model
  assert vit.config["dialect"].startswith("big_vision")
  got, want = run(vit)[0], reference(model, flat)
  np.testing.assert_allclose(got, want, atol=1e-5)
  assert np.abs(got[0] - got[1]).max() > 1e-2


@pytest.mark.parametrize("prefix", ["params/", ""])
@pytest.mark.parametrize("scan", [False, True])
def test_siglip_image_towers_are_features(
    small_model, random_flat, saved, prefix, scan, caplog):
  model = small_model(num_classes=0, pooling="map")
  flat = random_flat(model, SIZE)
  vit = load(saved(two_towers(big_vision(flat, scan), prefix)))
  assert vit.model == model  # no head: its logits are the embedding
  assert f"big_vision {prefix}img/" in vit.config["dialect"]
  assert "ignored 7 arrays beside the parameters" in caplog.text
  logits, aux = run(vit)
  assert logits.shape == (2, 48)
  np.testing.assert_array_equal(logits, aux["pre_logits"])
  np.testing.assert_allclose(logits, reference(model, flat), atol=1e-5)


def test_a_head_that_is_the_identity_changes_nothing(
    small_model, random_flat, saved):
  model = small_model(num_classes=0, pooling="map")
  flat = random_flat(model, SIZE)
  head = {"head/kernel": np.eye(48, dtype="f4"),
          "head/bias": np.zeros(48, "f4")}
  path = saved(two_towers(big_vision(flat | head, False), "params/"))
  vit, features = load(path), load(path, num_classes=0)
  assert vit.model.num_classes == 48 and features.model == model
  np.testing.assert_allclose(run(vit)[0], run(features)[0], atol=1e-6)
  np.testing.assert_allclose(run(vit)[0], reference(model, flat), atol=1e-5)


def test_towers_with_the_state_of_their_training(
    small_model, random_flat, saved):
  model = small_model(num_classes=0, pooling="map")
  flat = random_flat(model, SIZE)
  arrays = two_towers(big_vision(flat, True), "params/")
  arrays |= {f"opt/0/mu/{n}": a * np.nan for n, a in arrays.items()
             if n.startswith("params/img/")}
  vit = load(saved(arrays))
  np.testing.assert_allclose(run(vit)[0], reference(model, flat), atol=1e-5)


def test_training_starts_from_a_tower(small_model, random_flat, saved):
  model = small_model(num_classes=0, pooling="map")
  path = saved(two_towers(big_vision(random_flat(model, SIZE), True), ""))
  params, report = init_params(path, model.clone(num_classes=3), 24)
  assert report.head == "reset"
  assert report.resized == ((4, 4), (6, 6), "corner_aligned")
  assert params["head"]["kernel"].shape == (48, 3)
  assert "probe" in params["MAPHead_0"]


def test_a_text_tower_alone_is_no_vision_transformer(saved):
  with pytest.raises(CheckpointError, match="no Vision Transformer"):
    load(saved({f"params/{n}": a for n, a in text_tower().items()}))
