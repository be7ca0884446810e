"""Position embeddings: what each kind adds, where, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import UsageError
from vit_jax.models.posemb import (
    KINDS,
    PLACES,
    TABLES,
    PositionEmbedding,
    RelativeLogits,
    sincos_2d,
    skew,
)
from vit_jax.models.variants import make_model

# Those that Table 8 measures, sincos2d and the rotary ones.
ALL = [(kind, at) for kind in KINDS for at in PLACES
       if at == "stem" or kind in TABLES]
TABLE_8 = {
    # What each adds to ViT-B/16 at 224: 197 tokens, a 14x14 grid, 12 blocks.
    ("none", "stem"): 0,
    ("1d", "stem"): 197 * 768,
    ("1d", "layers"): 12 * 197 * 768,
    ("1d", "layers_shared"): 197 * 768,
    ("2d", "stem"): (14 + 14) * 384,
    ("2d", "layers"): 12 * (14 + 14) * 384,
    ("2d", "layers_shared"): (14 + 14) * 384,
    ("sincos2d", "stem"): 0,
    ("sincos2d", "layers"): 0,
    ("sincos2d", "layers_shared"): 0,
    ("relative", "stem"): 12 * (2 * 197 - 1) * 768,
    ("rope2d", "stem"): 0, ("rope2d_unit", "stem"): 0,
}


def run(model, params, pictures, **kwargs):
  return jax.jit(lambda p, x: model.apply({"params": p}, x, **kwargs))(
      params, pictures)


def shapes(model, sides):
  picture = jax.ShapeDtypeStruct((1, *sides, 3), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), picture)["params"]


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_table_8_is_complete():
  assert list(TABLE_8) == ALL


@pytest.mark.parametrize(("kind", "at"), ALL)
def test_exactly_the_parameters_that_each_adds(kind, at):
  model = make_model(
      "B/16", num_classes=1000, posemb=kind, posemb_at=at, scan=True)
  without = 86_567_656 - 197 * 768
  assert count(shapes(model, (224, 224))) == without + TABLE_8[kind, at]


def test_parameter_names(tiny):
  def names(**kwargs):
    tree = shapes(tiny(depth=2, **kwargs), (16, 24))["Transformer"]
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        "/".join(k.key for k in path): leaf.shape for path, leaf in flat
        if "pos" in str(path)}

  assert names() == {"posembed_input/pos_embedding": (1, 7, 32)}
  assert names(posemb="2d", posemb_at="layers_shared") == {
      "posembed_input/pos_embedding_y": (1, 2, 16),
      "posembed_input/pos_embedding_x": (1, 3, 16)}
  assert names(posemb_at="layers") == {
      f"encoderblock_{i}/posembed_input/pos_embedding": (1, 7, 32)
      for i in range(2)}
  assert names(posemb="relative") == {
      f"encoderblock_{i}/MultiHeadDotProductAttention_0/posembed_relative/"
      "pos_embedding": (13, 4, 8) for i in range(2)}


@pytest.mark.parametrize(("kind", "at", "why"), [
    ("none", "layers", "there is nothing to add"),
    ("relative", "layers_shared", "inside the attention of every block"),
    ("rope2d", "layers", "inside the attention of every block")])
def test_places_that_make_no_sense_are_refused(tiny, kind, at, why):
  with pytest.raises(UsageError) as error:
    tiny(posemb=kind, posemb_at=at)
  assert f"model.posemb_at={at!r}" in str(error.value)
  assert why in str(error.value)


def test_widths_that_do_not_fit_are_refused(tiny):
  with pytest.raises(UsageError, match="model.width=33 is odd"):
    tiny(width=33, num_heads=3, posemb="2d")
  with pytest.raises(UsageError, match="multiple of 4.*model.width is 30"):
    tiny(width=30, num_heads=3, posemb="sincos2d")
  with pytest.raises(UsageError, match="multiple of 4.*num_heads is 6"):
    shapes(tiny(width=24, num_heads=4, posemb="rope2d"), (16, 16))


def test_2d_concatenates_the_embeddings_of_both_coordinates():
  module = PositionEmbedding("2d", (2, 3))
  params = module.init(jax.random.key(0), 7, 8)["params"]
  table = module.apply({"params": params}, 7, 8)
  assert table.shape == (1, 7, 8)
  assert not table[0, 0].any()
  x, y = params["pos_embedding_x"][0], params["pos_embedding_y"][0]
  assert not np.allclose(x[0], x[1])
  for i in range(2):
    for j in range(3):
      np.testing.assert_array_equal(
          table[0, 1 + 3 * i + j], np.concatenate([x[j], y[i]]))
  np.testing.assert_allclose(np.std(np.concatenate([x, y])), 0.02, rtol=0.5)


def test_sincos_2d_equals_the_loops():
  rows, cols, width = 3, 4, 16
  expected = np.zeros((rows * cols, width))
  for i in range(rows):
    for j in range(cols):
      for k in range(4):
        frequency = 10_000 ** -(k / 3)
        expected[cols * i + j, [k, 4 + k, 8 + k, 12 + k]] = [
            np.sin(j * frequency), np.cos(j * frequency),
            np.sin(i * frequency), np.cos(i * frequency)]
  table = sincos_2d((rows, cols), width)
  assert np.abs(sincos_2d((cols, rows), width) - expected).max() > 0.1
  np.testing.assert_allclose(table, expected, atol=1e-6)
  # With a class token before the patches: a row of zeros.
  padded = PositionEmbedding("sincos2d", (rows, cols)).apply({}, 13, width)
  np.testing.assert_array_equal(padded[0, 1:], table)
  assert not padded[0, 0].any()


def test_skew_reads_each_key_at_its_offset():
  x = np.random.default_rng(0).normal(size=(2, 3, 4, 7))
  out = skew(jnp.asarray(x))
  expected = np.stack([
      np.stack([x[:, :, q, s - q + 3] for s in range(4)], -1)
      for q in range(4)], 2)
  assert not np.allclose(x[..., :4], expected)
  np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_relative_logits_depend_on_content_and_offset():
  query = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype(np.float32)
  module = RelativeLogits()
  params = module.init(jax.random.key(0), query)["params"]
  table = params["pos_embedding"]
  assert table.shape == (9, 3, 4)
  out = module.apply({"params": params}, query)
  for q in range(5):
    for s in range(5):
      np.testing.assert_allclose(
          out[:, :, q, s],
          np.einsum("bhk,hk->bh", query[:, q], table[s - q + 4]), atol=1e-6)


def test_relative_logits_are_added_before_the_softmax(
    tiny, images, random_params):
  pictures = images(8, 24)
  model = tiny(depth=1, posemb="relative", pooling="gap", num_classes=0)
  params = random_params(model, pictures)
  _, aux = run(model, params, pictures, capture_attention=(0,))
  block = params["Transformer"]["encoderblock_0"]
  part = block["MultiHeadDotProductAttention_0"]
  x = np.asarray(aux["embedded"])
  y = (x - x.mean(-1, keepdims=True)) / np.sqrt(
      x.var(-1, keepdims=True) + 1e-6)
  y = y * block["LayerNorm_0"]["scale"] + block["LayerNorm_0"]["bias"]
  query, key = (
      np.einsum("bnd,dhk->bnhk", y, part[name]["kernel"]) + part[name]["bias"]
      for name in ("query", "key"))
  table = part["posembed_relative"]["pos_embedding"]
  plain = np.einsum("bqhk,bshk->bhqs", query, key) / np.sqrt(8)
  logits = plain.copy()
  for q in range(3):
    for s in range(3):
      logits[:, :, q, s] += np.einsum(
          "bhk,hk->bh", query[:, q], table[s - q + 2]) / np.sqrt(8)

  def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)

  assert np.abs(softmax(plain) - softmax(logits)).max() > 1e-2
  np.testing.assert_allclose(aux["attention0"], softmax(logits), atol=1e-5)


@pytest.mark.parametrize(("kind", "at"), ALL)
def test_the_order_of_patches_matters_unless_there_are_no_positions(
    tiny, images, random_params, kind, at):
  pictures = images(8, 24)
  swapped = np.concatenate([pictures[:, :, 16:], pictures[:, :, :16]], axis=2)
  model = tiny(depth=1, posemb=kind, posemb_at=at, scan=True)
  params = random_params(model, pictures)
  forward = jax.jit(lambda x: model.apply({"params": params}, x)[0])
  one, two = forward(pictures), forward(swapped)
  assert np.allclose(one, two, atol=1e-4) == (kind == "none")


@pytest.mark.parametrize(("kind", "at"), [
    ("1d", "layers"), ("relative", "stem"), ("rope2d", "stem")])
def test_scan_and_remat_leave_the_numbers(
    tiny, images, random_params, stack, kind, at):
  pictures = images(8, 16)
  options = dict(depth=2, posemb=kind, posemb_at=at)
  params = random_params(tiny(**options), pictures)
  expected, _ = run(tiny(**options), params, pictures)
  forward = jax.jit(lambda p: tiny(**options, scan=True, remat="full").apply(
      {"params": p}, pictures)[0])
  stacked = stack(params)
  found = forward(stacked)
  stacked["Transformer"]["encoderblock"] = jax.tree.map(
      lambda a: a[::-1], stacked["Transformer"]["encoderblock"])
  assert np.abs(forward(stacked) - expected).max() > 1e-2
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_shared_table_gathers_the_gradients_of_all_blocks(
    tiny, images, random_params, stack):
  """In a loop with remat, too."""
  pictures = images(8, 16)
  options = dict(depth=2, posemb="2d", posemb_at="layers_shared")
  params = random_params(tiny(**options), pictures)

  def gradient(model):
    return jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(
        model.apply({"params": p}, pictures)[0]))))

  expected = stack(gradient(tiny(**options))(params))
  found = gradient(tiny(**options, scan=True, remat="full"))
  stacked = stack(params)
  changed = found(jax.tree.map(lambda a: 1.1 * a, stacked))
  differ = []
  for a, b, c in zip(*map(jax.tree.leaves, (
      expected, found(stacked), changed)), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)
    differ.append(not np.allclose(a, c, rtol=2e-4, atol=2e-4))
  assert np.mean(differ) > 0.9  # The keys' biases have no gradient.


def test_at_the_layers_every_block_gets_the_table(
    tiny, images, random_params):
  """One shared table equals own tables of the same numbers, not the stem."""
  pictures = images(8, 16)
  own = tiny(depth=2, posemb_at="layers")
  shared = tiny(depth=2, posemb_at="layers_shared")
  params = random_params(own, pictures)
  inside = dict(params["Transformer"])
  table = inside["encoderblock_0"]["posembed_input"]
  for i in range(2):
    inside[f"encoderblock_{i}"] = {
        **inside[f"encoderblock_{i}"], "posembed_input": table}
  one, _ = run(own, {**params, "Transformer": inside}, pictures)
  for i in range(2):
    block = dict(inside[f"encoderblock_{i}"])
    del block["posembed_input"]
    inside[f"encoderblock_{i}"] = block
  inside["posembed_input"] = table
  once = {**params, "Transformer": inside}
  two, _ = run(shared, once, pictures)
  stem, _ = run(tiny(depth=2), once, pictures)
  assert np.abs(stem - two).max() > 1e-2
  np.testing.assert_allclose(one, two, atol=1e-5)
