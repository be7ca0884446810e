import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.models.variants import make_model
from vit_jax.weights import adapt, architecture
from vit_jax.weights.posemb_grid import POSEMB

KEYS = ("patch_size", "width", "depth", "mlp_dim", "num_heads", "head_dim",
        "resnet", "resnet_width", "pooling", "pre_logits", "qkv_bias",
        "qk_norm", "block", "registers", "distilled", "layer_scale", "gated",
        "pre_norm", "final_norm", "posemb", "posemb_at", "num_classes")


def shapes_only(model, image_size):
  """Returns arrays of the right shapes that take no memory."""
  return {name: np.broadcast_to(np.float32(0), shape) for name, shape
          in adapt.expected_shapes(model, image_size).items()}


def check(model, size, **given):
  found = architecture.infer_architecture(shapes_only(model, size), **given)
  assert found == ({key: getattr(model, key) for key in KEYS}, size)


@pytest.mark.parametrize("variant, size", [
    ("Ti/16", 224), ("S/32", 384), ("B/8", 64), ("L/16", 224), ("H/14", 378),
    ("R50+B/16", 384), ("R26+S/32", 224), ("R50+L/32", 64), ("R+Ti/16", 224)])
def test_named_models_are_recognised(variant, size):
  check(make_model(variant=variant, num_classes=1000, dtype="float32"),
        (size, size))


@pytest.mark.parametrize("changes", [
    dict(pooling="gap"), dict(pooling="map"), dict(pre_logits=24),
    dict(num_classes=0), dict(qkv_bias=False), dict(qk_norm=True),
    dict(head_dim=24),
    dict(block="axial", pooling="gap", qk_norm=True), dict(depth=11),
    dict(patch_size=(2, 4)), dict(num_heads=3), dict(mlp_dim=8),
    dict(resnet=(1, 2), resnet_width=0.5, patch_size=(1, 1)),
    dict(resnet=(), resnet_width=0.5, patch_size=(2, 2)),
    dict(posemb="2d"), dict(posemb="relative"), dict(posemb_at="layers"),
    dict(posemb="2d", posemb_at="layers", pooling="gap"),
    dict(block="axial", pooling="gap"),
    dict(block="axial", pooling="gap", posemb="relative"),
    dict(registers=2), dict(registers=1, distilled=True), dict(gated=True),
    dict(layer_scale=True), dict(pre_norm=True), dict(final_norm="pooled"),
    dict(final_norm="none", pooling="gap", registers=3),
    dict(pooling="cls_gap", layer_scale=True), dict(pooling="map", registers=1),
])
def test_every_part_is_read_off_the_shapes(small_model, changes):
  model = small_model(**changes)
  size = (32, 32) if model.resnet is not None else (8, 8)
  if "patch_size" in changes and model.resnet is None:
    size = (8, 16)
  check(model, size)


def test_a_grid_that_is_not_square_has_to_be_given(small_model):
  model = small_model()
  check(model, (8, 24), image_size=(8, 24))
  check(model, (8, 24), grid=(2, 6))
  with pytest.raises(CheckpointError, match="12 patches, which is not a sq"):
    check(model, (8, 24))


def test_without_position_embedding_the_size_is_unknown(small_model):
  model = small_model(posemb="none")
  _, size = architecture.infer_architecture(shapes_only(model, (8, 8)))
  assert size is None


def test_tables_by_coordinate_tell_a_grid_that_is_not_square(small_model):
  check(small_model(posemb="2d"), (8, 24))
  check(small_model(block="axial", pooling="gap", posemb="relative"), (8, 24))


def test_arrays_that_tell_the_architecture_are_needed(
    small_model, random_flat):
  flat = random_flat(small_model())
  query = ("Transformer/encoderblock_{}/MultiHeadDotProductAttention_0/query/"
           "kernel")
  del flat[query.format(0)]  # one of two blocks is enough
  assert architecture.infer_architecture(flat)[0]["depth"] == 2
  del flat[query.format(1)]
  flat["embedding/kernel"] = np.ones(3, np.float32)
  with pytest.raises(CheckpointError) as error:
    architecture.infer_architecture(flat, source="f.npz")
  message = str(error.value)
  assert message.startswith("f.npz: not the weights of a ViT")
  assert "embedding/kernel is of shape (3,), 4 dimensions were" in message
  assert f"{query.format(0)} is missing, 3 dimensions were" in message


def test_contradictions_name_both_sides():
  found = dict(width=48, patch_size=(8, 8), resnet=None, posemb="1d")
  assert not architecture.contradictions(
      dict(width=48, patch_size=[8, 8], resnet=None, gelu="erf"), found)
  assert architecture.contradictions(
      dict(width=64, patch_size=[8, 4], posemb="2d"), found) == [
          "width is 64, but 48 in the arrays",
          "patch_size is [8, 4], but [8, 8] in the arrays"]


def test_the_position_embedding_must_be_one(small_model, random_flat):
  flat = random_flat(small_model())
  flat[POSEMB] = flat[POSEMB][0]
  with pytest.raises(CheckpointError, match="not a square grid"):
    architecture.infer_architecture(flat)
