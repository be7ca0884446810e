"""Names of models and their exact parameter counts (224, 384, 21843)."""

import jax
import jax.numpy as jnp
import pytest

from vit_jax.errors import UsageError
from vit_jax.models.variants import compute_dtype, make_model

# name: (backbone without head at 224, 1000 classes at 224, 1000 at 384, 21843
# at 224, 21843 and pre_logits at 224). The second column is the one that the
# paper's code tests; the others follow from the formula of the architecture.
COUNTS = {
    "Ti/16": (5_524_416, 5_717_416, 5_790_376, 9_740_115, 9_777_171),
    "S/32": (22_493_952, 22_878_952, 22_915_432, 30_903_507, 31_051_347),
    "S/16": (21_665_664, 22_050_664, 22_196_584, 30_075_219, 30_223_059),
    "B/32": (87_455_232, 88_224_232, 88_297_192, 104_252_499, 104_843_091),
    "B/16": (85_798_656, 86_567_656, 86_859_496, 102_595_923, 103_186_515),
    "B/8": (85_807_872, 86_576_872, 87_744_232, 102_605_139, 103_195_731),
    "L/32": (305_510_400, 306_535_400, 306_632_680, 327_899_475, 328_949_075),
    "L/16": (303_301_632, 304_326_632, 304_715_752, 325_690_707, 326_740_307),
    "H/14": (630_764_800, 632_045_800, 632_651_240, 658_745_683, 660_385_363),
    "R+Ti/16": (6_144_704, 6_337_704, 6_355_944, 10_360_403, 10_397_459),
    "R26+S/32": (36_046_912, 36_431_912, 36_468_392, 44_456_467, 44_604_307),
    "R26+B/32": (
        100_614_976, 101_383_976, 101_456_936, 117_412_243, 118_002_835),
    "R50+B/16": (97_890_112, 98_659_112, 98_950_952, 114_687_379, 115_277_971),
    "R50+L/32": (
        327_969_856, 328_994_856, 329_092_136, 350_358_931, 351_408_531),
    "R50+B/32": (
        110_176_832, 110_945_832, 111_018_792, 126_974_099, 127_564_691),
    "R50+L/16": (
        315_458_624, 316_483_624, 316_872_744, 337_847_699, 338_897_299),
}
COLUMNS = [
    dict(size=224, num_classes=0),
    dict(size=224, num_classes=1000),
    dict(size=384, num_classes=1000),
    dict(size=224, num_classes=21843),
    dict(size=224, num_classes=21843, pre_logits=True),
]


def shapes(variant, *, size, **kwargs):
  model = make_model(variant, **kwargs)
  picture = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), picture)["params"]


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("variant", [
    pytest.param(name, marks=[pytest.mark.slow] * (
        name.startswith("R") and name != "R50+B/16")) for name in COUNTS])
def test_exact_parameter_counts(variant):
  # One stacked block holds what `depth` blocks hold, and traces quicker.
  found = tuple(
      count(shapes(variant, scan=True, **column)) for column in COLUMNS)
  assert found == COUNTS[variant]


@pytest.mark.parametrize("variant", ["B/16", "R50+B/16", "H/14"])
def test_unrolled_and_stacked_blocks_hold_the_same(variant):
  column = dict(size=224, num_classes=1000)
  assert count(shapes(variant, **column)) == COUNTS[variant][1]


@pytest.mark.parametrize(("variant", "size", "expected"), [
    ("L/16", 512, 305_174_504), ("H/14", 518, 633_470_440)])
def test_counts_at_the_resolutions_of_table_2(variant, size, expected):
  found = shapes(variant, size=size, num_classes=1000, scan=True)
  assert count(found) == expected


@pytest.mark.parametrize(("variant", "expected"), [
    ("B/16", 86_566_120), ("B/32", 88_222_696), ("S/16", 22_049_896),
    ("S/32", 22_878_184)])
def test_average_pooling_leaves_out_cls_and_its_position(variant, expected):
  found = shapes(
      variant, size=224, num_classes=1000, pooling="gap", scan=True)
  assert count(found) == expected
  assert "cls" not in found


def test_map_head_adds_attention_mlp_norm_and_probe():
  gap = dict(size=224, num_classes=10, scan=True, pooling="gap")
  d, mlp = 192, 768
  head = d + 4 * (d * d + d) + 2 * d + (2 * d * mlp + mlp + d)
  assert count(shapes("Ti/16", **gap | {"pooling": "map"})) == (
      count(shapes("Ti/16", **gap)) + head)


def test_parameter_names_are_the_released_ones():
  found = shapes("R50+B/16", size=224, num_classes=7, pre_logits=True)
  assert set(found) == {
      "cls", "embedding", "Transformer", "pre_logits", "head", "conv_root",
      "gn_root", "block1", "block2", "block3"}
  block = found["Transformer"]["encoderblock_11"]
  assert set(block) == {
      "LayerNorm_0", "MultiHeadDotProductAttention_0", "LayerNorm_1",
      "MlpBlock_0"}
  attention = block["MultiHeadDotProductAttention_0"]
  assert attention["query"]["kernel"].shape == (768, 12, 64)
  assert attention["query"]["bias"].shape == (12, 64)
  assert attention["out"]["kernel"].shape == (12, 64, 768)
  assert found["Transformer"]["posembed_input"]["pos_embedding"].shape == (
      1, 197, 768)
  assert set(found["Transformer"]["encoder_norm"]) == {"scale", "bias"}
  assert set(found["block3"]) == {f"unit{u}" for u in range(1, 10)}
  assert set(found["block3"]["unit1"]) - set(found["block3"]["unit2"]) == {
      "conv_proj", "gn_proj"}
  assert found["block1"]["unit1"]["gn3"]["scale"].shape == (256,)
  assert found["embedding"]["kernel"].shape == (1, 1, 1024, 768)


@pytest.mark.parametrize("name", [
    *COUNTS, "g/14", "G/14", "R101+L/16", "R152+H/32", "R50+B/64", "L/7"])
def test_variant_name_is_the_inverse(name):
  assert make_model(name, num_classes=1).variant_name == name


def test_what_has_no_name_is_custom():
  custom = make_model("B/16", num_classes=1, width=96)
  assert custom.variant_name == "custom/16"
  oblong = make_model("B/16", num_classes=1, patch_size=(16, 8))
  assert oblong.variant_name == "B/16x8"


@pytest.mark.parametrize("name", ["B16", "R51+B/16", "R50+B/8", "R49x1"])
def test_unknown_names_are_refused_by_name(name):
  with pytest.raises(UsageError, match=r"model\.variant="):
    make_model(name, num_classes=1)


def test_replaced_sizes_and_patch():
  model = make_model("B/16", num_classes=3, patch_size=4, width=512, depth=8,
                     mlp_dim=3072, num_heads=8, pre_logits=True)
  assert (model.patch_size, model.width, model.depth, model.mlp_dim,
          model.num_heads, model.pre_logits) == (
              (4, 4), 512, 8, 3072, 8, 512)


def test_heads_that_do_not_divide_the_width_are_refused():
  with pytest.raises(UsageError) as error:
    make_model("B/16", num_classes=3, width=512)
  assert str(error.value) == (
      "model.width=512 is not divisible by model.num_heads=12; head counts "
      "that work: 1, 2, 4, 8, 16, 32, 64")
  with pytest.raises(UsageError, match="head counts that work: 1, 2, 4"):
    make_model("B/16", num_classes=3, width=4, num_heads=3)


@pytest.mark.parametrize(("kwargs", "words"), [
    (dict(pooling="gab"), "model.pooling='gab' is unknown (did you mean 'gap'"),
    (dict(gelu="exact"), "model.gelu='exact' is unknown"),
    (dict(remat="dot"), "did you mean 'dots'?"),
    (dict(attention="flash"), "one of auto, einsum, einsum_f32, cudnn, fused"),
    (dict(posemb="1D"), "model.posemb='1D' is unknown"),
    (dict(posemb_at="layer"), "model.posemb_at='layer' is unknown"),
    (dict(dtype="fp8"), "model.dtype='fp8' is unknown"),
    (dict(dropout=1.0), "model.dropout=1.0 is not a rate"),
    (dict(stochastic_depth=-0.1), "model.stochastic_depth=-0.1"),
    (dict(depth=0), "model.depth=0 is not a size"),
    (dict(width=0), "model.width=0 is not a size"),
    (dict(patch_size=0), "model.patch_size=(0, 0)"),
    (dict(patch_size=(8, 8, 8)), "model.patch_size=(8, 8, 8)"),
])
def test_impossible_choices_are_refused_at_once(kwargs, words):
  with pytest.raises(UsageError) as error:
    make_model("Ti/16", num_classes=3, **kwargs)
  assert words in str(error.value)
  assert "\n" not in str(error.value)


def test_auto_dtype_is_float32_on_a_cpu():
  assert compute_dtype("auto") == jnp.float32
  assert compute_dtype("bfloat16") == jnp.bfloat16


def test_axial_models_are_called_so():
  model = make_model("B/32", num_classes=2, block="axial", pooling="gap")
  assert model.variant_name == "Axial-B/32"
