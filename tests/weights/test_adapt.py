import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from vit_jax.errors import CheckpointError, UsageError
from vit_jax.models import posemb
from vit_jax.weights import adapt, trees
from vit_jax.weights.names import google
from vit_jax.weights.posemb_grid import POSEMB
from vit_jax.weights.posemb_resize import resize_posemb

SIZE = (8, 8)  # a grid of 2x2


@pytest.fixture(autouse=True)
def warnings(monkeypatch):
  """Returns the list of warnings that were logged."""
  logged = []
  monkeypatch.setattr(
      adapt.logging, "warning", lambda text, *args: logged.append(text % args))
  return logged


def corner_aligned(grid, shape):
  """Returns the same by its definition: corners onto corners, linear."""
  def weights(old, new):
    at = np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0)
    distance = np.abs(at[:, None] - np.arange(old)[None, :])
    return np.maximum(0, 1 - distance)
  return np.einsum("yh,xw,hwd->yxd", weights(grid.shape[0], shape[0]),
                   weights(grid.shape[1], shape[1]), grid.astype(np.float64))


GRIDS = [((14, 14), (24, 24)), ((24, 24), (14, 14)), ((4, 6), (7, 3)),
         ((2, 3), (3, 2)), ((5, 1), (5, 4)), ((3, 4), (1, 1))]


@pytest.mark.parametrize("old, new", GRIDS)
@pytest.mark.parametrize("num_prefix", [0, 1, 3])
def test_resizing_is_linear_from_corner_to_corner(old, new, num_prefix):
  rng = np.random.default_rng(0)
  table = rng.normal(size=(1, num_prefix + old[0] * old[1], 5)).astype("f4")
  got = resize_posemb(table, old, new, num_prefix)
  grid = table[0, num_prefix:].reshape(*old, 5)
  zoom = (new[0] / old[0], new[1] / old[1], 1)
  np.testing.assert_array_equal(
      got[0, num_prefix:], ndimage.zoom(grid, zoom, order=1).reshape(-1, 5))
  np.testing.assert_allclose(
      got[0, num_prefix:], corner_aligned(grid, new).reshape(-1, 5), atol=1e-6)
  np.testing.assert_array_equal(got[:, :num_prefix], table[:, :num_prefix])
  assert got.dtype == np.float32
  if min(old + new) > 1:
    other = resize_posemb(table, old, new, num_prefix, "bilinear")
    assert other.shape == got.shape and np.abs(other - got).max() > 1e-2


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_other_methods_are_those_of_jax(method):
  table = np.random.default_rng(0).normal(size=(1, 13, 5)).astype("f4")
  got = resize_posemb(table, (3, 4), (5, 6), 1, method)
  want = jax.image.resize(table[0, 1:].reshape(3, 4, 5), (5, 6, 5), method)
  np.testing.assert_array_equal(got[0, 1:], want.reshape(-1, 5))


def test_the_old_grid_must_fit():
  with pytest.raises(CheckpointError, match="13 rows is not 1 and a grid"):
    resize_posemb(np.zeros((1, 13, 5), "f4"), (3, 3), (2, 2), 1)


@pytest.mark.parametrize("changes", [
    *(dict(posemb=kind) for kind in posemb.KINDS),
    *(dict(posemb="2d", posemb_at=place) for place in posemb.PLACES),
    dict(block="axial", pooling="gap", posemb="relative"),
    dict(scan=True), dict(pooling="map", pre_logits=8),
    dict(resnet=(2, 1), resnet_width=0.5, patch_size=(1, 1))])
def test_expected_parameters_are_those_of_init(small_model, changes):
  model = small_model(depth=3, **changes)
  images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  tree = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
  got = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf
         in adapt.expected_parameters(model, (32, 32)).items()}
  if model.scan:
    got = trees.stack_blocks(got)
  chex.assert_trees_all_equal_shapes_and_dtypes(trees.unflatten(got), tree)


def test_what_fits_is_used_as_it_is(small_model, random_flat, warnings):
  model = small_model(pre_logits=8)
  flat = random_flat(model)
  tree, report = adapt.adapt(flat, model, SIZE)
  got = trees.flatten(tree)
  assert got.keys() == flat.keys()
  assert all(got[n] is flat[n] for n in flat)
  assert report == adapt.AdaptReport("kept", False, "kept")
  assert not warnings


def test_stacked_blocks(small_model, random_flat):
  flat = random_flat(small_model())
  model = small_model(scan=True)
  tree, _ = adapt.adapt(flat, model, SIZE)
  images = jnp.zeros((1, *SIZE, 3))
  want = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
  chex.assert_trees_all_equal_shapes_and_dtypes(tree, want)
  logits, _ = jax.jit(model.apply)({"params": tree}, images)
  single, _ = jax.jit(small_model().apply)(
      {"params": trees.unflatten(flat)}, images)
  np.testing.assert_allclose(logits, single, atol=1e-5)


def test_position_embeddings_are_resized_on_their_grid(
    small_model, random_flat, warnings):
  model = small_model()
  flat = random_flat(model, (8, 16))  # 2x4
  tree, report = adapt.adapt(flat, model, (16, 8), old_grid=(2, 4))
  got = trees.flatten(tree)[POSEMB]
  assert report.resized == ((2, 4), (4, 2), "corner_aligned")
  np.testing.assert_array_equal(
      got, resize_posemb(flat[POSEMB], (2, 4), (4, 2), 1))
  # As many rows as before, and yet not the same ones.
  assert got.shape == flat[POSEMB].shape
  assert not np.array_equal(got, flat[POSEMB])
  assert warnings == ["weights: position embeddings resized from a grid of "
                      "2x4 to 4x2 (corner_aligned)"]


def test_tables_by_coordinate_are_resized_one_by_one(small_model, random_flat):
  model = small_model(posemb="2d", posemb_at="layers")
  flat = random_flat(model, (8, 12))
  tree, report = adapt.adapt(flat, model, (8, 20))
  assert report.resized == ((2, 3), (2, 5), "corner_aligned")
  for i in range(2):
    name = f"Transformer/encoderblock_{i}/posembed_input/pos_embedding"
    got = trees.flatten(tree)
    np.testing.assert_array_equal(got[name + "_y"], flat[name + "_y"])
    np.testing.assert_array_equal(got[name + "_x"], resize_posemb(
        flat[name + "_x"], (1, 3), (1, 5), 0))


def test_relative_tables_are_never_resized(small_model, random_flat):
  model = small_model(posemb="relative")
  flat = random_flat(model)
  assert adapt.adapt(flat, model, SIZE)[1].resized is None
  with pytest.raises(CheckpointError, match="posembed_relative/pos_embed"):
    adapt.adapt(flat, model, (16, 16))


def test_an_old_grid_that_is_not_square_must_be_said(small_model, random_flat):
  model = small_model()
  with pytest.raises(CheckpointError, match=r"pass old_grid=\(rows, columns\)"):
    adapt.adapt(random_flat(model, (8, 16)), model, (8, 8))
  with pytest.raises(CheckpointError, match="f.npz: a position embedding"):
    adapt.adapt(random_flat(model, (8, 16)), model, (8, 8), old_grid=(3, 3),
                source="f.npz")


def test_another_number_of_classes_resets_the_head(
    small_model, random_flat, warnings):
  flat = random_flat(small_model())
  model = small_model(num_classes=9, head_bias_init=-10.0)
  tree, report = adapt.adapt(flat, model, SIZE, source="f.npz")
  assert tree["head"]["kernel"].shape == (48, 9)
  assert not tree["head"]["kernel"].any()
  assert (tree["head"]["bias"] == -10).all()
  assert report.head == "reset" and report.head_is_zero
  assert warnings == ["f.npz: the head was reset to zeros, for 9 classes (the "
                      "file has a head of 5 classes)"]
  assert report.messages == tuple(w.removeprefix("f.npz: ") for w in warnings)


def test_reset_resets_a_head_that_would_fit(small_model, random_flat):
  model = small_model()
  flat = random_flat(model)
  before = flat["head/kernel"].copy()
  tree, report = adapt.adapt(flat, model, SIZE, head="reset")
  assert report.head == "reset" and not tree["head"]["kernel"].any()
  np.testing.assert_array_equal(flat["head/kernel"], before)  # untouched


def test_a_missing_head_is_made_or_demanded(small_model, random_flat, warnings):
  flat = random_flat(small_model(num_classes=0))
  _, report = adapt.adapt(flat, small_model(), SIZE)
  assert report.head == "reset" and "no head" in warnings[0]
  with pytest.raises(CheckpointError, match="2 missing: head/"):
    adapt.adapt(flat, small_model(), SIZE, head="keep")


def test_keep_refuses_another_number_of_classes(small_model, random_flat):
  with pytest.raises(CheckpointError, match=r"2 of another shape: head/bias is "
                     r"\(5,\), the model's \(9,\), head/kernel is"):
    adapt.adapt(random_flat(small_model()), small_model(num_classes=9), SIZE,
                head="keep")


def test_features_drop_the_head(small_model, random_flat, warnings):
  flat = random_flat(small_model())
  tree, report = adapt.adapt(flat, small_model(num_classes=0), SIZE)
  assert "head" not in tree and report.head == "dropped"
  assert "head of 5 classes was dropped" in warnings[0]


def test_a_head_of_zeros_is_mentioned(small_model, random_flat, warnings):
  model = small_model()
  flat = random_flat(model)
  flat["head/kernel"] = np.zeros_like(flat["head/kernel"])
  _, report = adapt.adapt(flat, model, SIZE)
  assert report.head == "kept" and report.head_is_zero
  assert len(warnings) == 1 and "is all zeros" in warnings[0]


def test_pre_logits_are_dropped_kept_or_added(
    small_model, random_flat, warnings):
  with_it, without = small_model(pre_logits=8), small_model()
  flat = random_flat(with_it)
  _, report = adapt.adapt(flat, with_it, SIZE, pre_logits="keep")
  assert report.pre_logits == "kept" and not warnings

  head = random_flat(without)
  flat_without = {n: a for n, a in flat.items() if "pre_logits" not in n}
  flat_without |= {n: head[n] for n in ("head/kernel", "head/bias")}
  fits = flat_without | {n: flat[n] for n in flat if "pre_logits" in n}
  for choice in ("auto", "drop"):
    warnings.clear()
    tree, report = adapt.adapt(fits, without, SIZE, pre_logits=choice)
    assert report.pre_logits == "dropped" and "pre_logits" not in tree
    assert "was dropped" in warnings[0]
    # The head was trained on what is gone.
    assert report.head == "reset" and "head was reset" in warnings[1]
  _, report = adapt.adapt(fits, without, SIZE, head="keep")
  assert report.head == "kept"
  with pytest.raises(CheckpointError, match="2 unknown to the model: pre_logi"):
    adapt.adapt(fits, without, SIZE, pre_logits="keep")

  for choice, theirs in (("auto", flat_without), ("drop", fits)):
    warnings.clear()
    tree, report = adapt.adapt(
        theirs, with_it, SIZE, pre_logits=choice)
    kernel = tree["pre_logits"]["kernel"]
    assert report.pre_logits == "added" and kernel.shape == (48, 8)
    # Lecun: variance 1 / inputs.
    np.testing.assert_allclose(kernel.std(), 48**-0.5, rtol=0.1)
    assert "pre_logits was initialised at random" in warnings[0]
    assert report.head == "reset"
  with pytest.raises(CheckpointError, match="2 missing: pre_logits"):
    adapt.adapt(flat_without, with_it, SIZE, pre_logits="keep", head="reset")


def test_all_mismatches_are_reported_at_once(small_model, random_flat):
  flat = random_flat(small_model(depth=11))
  del flat["Transformer/encoderblock_2/LayerNorm_0/scale"]
  del flat["Transformer/encoderblock_10/LayerNorm_0/scale"]
  del flat["cls"]
  flat |= {"dist": np.ones(2, "f4"), "head/extra": np.ones(2, "f4")}
  for i in range(11):
    name = f"Transformer/encoderblock_{i}/MlpBlock_0/Dense_0/bias"
    flat[name] = np.zeros(7, "f4")
  with pytest.raises(CheckpointError) as error:
    adapt.adapt(flat, small_model(depth=11), SIZE, source="f.npz")
  message = str(error.value)
  assert "\n" not in message and message.startswith("f.npz does not fit")
  assert ("3 missing: Transformer/encoderblock_{2,10}/LayerNorm_0/scale, cls;"
          in message)
  assert "2 unknown to the model: dist, head/extra" in message
  assert ("11 of another shape: Transformer/encoderblock_{0..10}/MlpBlock_0/"
          "Dense_0/bias is (7,), the model's (64,)" in message)


def test_another_pooling_or_width_is_a_mismatch(small_model, random_flat):
  flat = random_flat(small_model())
  with pytest.raises(CheckpointError, match="1 unknown to the model: cls"):
    adapt.adapt(flat, small_model(pooling="gap"), SIZE)
  with pytest.raises(CheckpointError, match="of another shape"):
    adapt.adapt(flat, small_model(width=64), (16, 16))


def test_another_dtype_is_refused_in_one_line(small_model, random_flat):
  flat = random_flat(small_model())
  flat["cls"] = flat["cls"].astype(np.float16)
  with pytest.raises(CheckpointError, match="f.npz .* 'cls': types: float16"
                     ) as error:
    adapt.adapt(flat, small_model(), SIZE, source="f.npz")
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [
    dict(num_classes=3), dict(num_classes=0), dict(pre_logits=0),
    dict(pre_logits=4)])
def test_the_parameters_given_are_not_modified(
    small_model, random_flat, change):
  flat = random_flat(small_model(pre_logits=8))
  copy = {name: array.copy() for name, array in flat.items()}
  model = small_model(**({"pre_logits": 8} | change))
  _, report = adapt.adapt(
      flat, model, (16, 16), pre_logits="drop", source="f.npz")
  assert len(report.messages) >= 2
  chex.assert_trees_all_equal(flat, copy, strict=True)


@pytest.mark.parametrize("name, value", [
    ("head", "kept"), ("pre_logits", "dropp"), ("method", "bicubid")])
def test_unknown_choices_are_refused(small_model, random_flat, name, value):
  model = small_model()
  with pytest.raises(UsageError, match=rf"init.{name}='{value}' is unknown \("):
    adapt.adapt(random_flat(model), model, SIZE, **{name: value})


def test_resizing_keeps_what_pre_linen_names_hid(small_model, random_flat):
  """A position embedding is resized once it is out of any dialect."""
  model = small_model()
  flat = random_flat(model)
  theirs = google.encode(flat, "big_vision")
  normal, _ = google.normalise(theirs)
  tree, _ = adapt.adapt(normal, model, (16, 16))
  got = trees.flatten(tree)[POSEMB]
  assert not got[:, 0].any()
  want = resize_posemb(flat[POSEMB], (2, 2), (4, 4), 1)
  np.testing.assert_array_equal(got[:, 1:], want[:, 1:])
