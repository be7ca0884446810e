"""Costs by formula: the paper's table, XLA's count, real parameter trees."""

import jax
import jax.numpy as jnp
import pytest

from vit_jax.models import cost
from vit_jax.models.variants import make_model
from vit_jax.models.vit import VisionTransformer

# GMACs for 1000 classes at 224 and at 384 (378 for patches of 14).
GMACS = {
    "Ti/16": (1.254, 4.682), "S/32": (1.143, 3.443), "S/16": (4.599, 15.490),
    "B/32": (4.409, 13.044), "B/16": (17.564, 55.484), "B/8": (78.148, 294.045),
    "L/32": (15.378, 45.276), "L/16": (61.555, 191.066),
    "H/14": (167.295, 503.481), "R+Ti/16": (0.434, 1.327),
    "R26+S/32": (3.464, 10.264), "R26+B/32": (6.711, 19.808),
    "R50+B/32": (8.458, 24.941), "R50+B/16": (21.535, 67.156),
    "R50+L/32": (19.413, 57.136), "R50+L/16": (65.539, 202.775),
}
# variant, epochs: (exaFLOPs by formula, printed in Table 6).
EXAFLOPS = {
    ("B/32", 7): (56.1, 55), ("B/16", 7): (223.5, 224),
    ("L/32", 7): (195.7, 196), ("L/16", 7): (783.3, 783),
    ("L/16", 14): (1566.7, 1567), ("H/14", 14): (4258, 4262),
    ("R50+B/32", 7): (107.6, 106), ("R50+B/16", 7): (274.0, 274),
    ("R50+L/32", 7): (247.0, 246), ("R50+L/16", 7): (834, 859),
    ("R50+L/16", 14): (1668, 1668),
    ("R50x1", 7): (52.0, 50), ("R50x2", 7): (205.1, 199),
    ("R101x1", 7): (99.3, 96), ("R152x1", 7): (146.5, 141),
    ("R152x2", 7): (583, 563), ("R152x2", 14): (1166.1, 1126),
    ("R200x3", 14): (3419, 3306),
}
# The paper's 7 epochs of R50+L/16 are not half of its 14; its two-digit 55 and
# its 106 lie 2 and 1.5 % under the formula that the other rows obey.
INCONSISTENT = {("R50+L/16", 7), ("B/32", 7), ("R50+B/32", 7)}
TINY = dict(num_classes=5, patch_size=(4, 8), width=32, depth=2, mlp_dim=48,
            num_heads=4)


def gmacs(variant, size, **kwargs):
  model = make_model(variant, num_classes=1000, **kwargs)
  return model.macs((size, size)) / 1e9


@pytest.mark.parametrize("variant", GMACS)
def test_multiply_adds_to_the_printed_digits(variant):
  large = 378 if variant == "H/14" else 384
  found = tuple(round(gmacs(variant, size), 3) for size in (224, large))
  assert found == GMACS[variant]


def test_multiply_adds_at_the_resolutions_of_table_2():
  assert round(gmacs("L/16", 512), 2) == 361.99
  assert round(gmacs("H/14", 518), 2) == 1016.72


@pytest.mark.parametrize(("variant", "epochs"), EXAFLOPS)
def test_exaflops_of_table_6(variant, epochs):
  formula, paper = EXAFLOPS[variant, epochs]
  found = cost.exaflops(1e9 * gmacs(variant, 224), 303e6, epochs)
  assert abs(found - formula) <= (0.06 if formula < 1600 and formula % 1 else 1)
  consistent = (variant, epochs) not in INCONSISTENT and "/" in variant
  assert (abs(found / paper - 1) < 0.01) == consistent
  # The paper counts ResNets 3 to 4 % cheaper than their convolutions are.
  assert "/" in variant or 0.03 < found / paper - 1 < 0.042


def test_training_is_six_flops_a_multiply_add():
  model = make_model("B/16", num_classes=1000)
  assert cost.train_flops(model, (224, 224)) == (
      6 * model.macs((224, 224)))


@pytest.mark.parametrize(("options", "sides"), [
    (dict(), (64, 64)),
    (dict(pooling="map", pre_logits=64), (32, 64)),
    (dict(resnet=(1, 1), patch_size=(1, 1), resnet_width=1.0), (64, 64)),
    (dict(posemb="relative", block="axial", pooling="gap"), (64, 96)),
    (dict(registers=16, gated=True, layer_scale=True), (64, 64)),
    (dict(registers=1, distilled=True, num_classes=4000), (64, 64)),
    (dict(pooling="cls_gap", num_classes=4000, pre_norm=True), (64, 64)),
], ids=str)
def test_agrees_with_the_compiler(options, sides):
  """XLA also counts what is no product; two per cent at these widths."""
  model = VisionTransformer(**dict(
      num_classes=10, patch_size=(8, 8), width=384, depth=2, mlp_dim=1536,
      num_heads=6) | options)
  images = jax.ShapeDtypeStruct((1, *sides, 3), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), images)
  compiled = jax.jit(
      lambda p, x: model.apply(p, x)[0]).lower(params, images).compile()
  flops = compiled.cost_analysis()["flops"]
  macs = model.macs(sides)
  taller = model.macs((sides[0] + 8, sides[1]))
  assert abs(flops / (2 * taller) - 1) > 0.02
  assert abs(flops / (2 * macs) - 1) < 0.02


@pytest.mark.parametrize(("kind", "tera"), [
    ("TPU v2", 22.5), ("TPU v3", 61.5), ("TPU v4", 275), ("TPU v5 lite", 197),
    ("TPU v5", 459), ("TPU v5p", 459), ("TPU v6 lite", 918),
    ("TPU7x", 1153.5), ("NVIDIA A100-SXM4-80GB", 312),
    ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756),
    ("NVIDIA H200", 989), ("Tesla V100-SXM2-16GB", 125),
    ("Tesla V100-PCIE-16GB", 112)])
def test_peak_of_a_jax_device(kind, tera):
  assert cost.peak_flops(kind) == pytest.approx(tera * 1e12)


def test_mfu():
  flops = cost.train_flops(make_model("B/16", num_classes=1000), (224, 224))
  # 1000 pictures/s on one chip of v4, which is one JAX device.
  assert cost.mfu(1000, flops, "TPU v4") == pytest.approx(
      1000 * 6 * 17.564e9 / 275e12, rel=1e-4)
  # A core of v3 is half a chip: the same rate there is twice the share.
  assert cost.mfu(100, flops, "TPU v3") == pytest.approx(
      100 * flops / (123e12 / 2))
  assert cost.mfu(1000, flops, "cpu") is None
  assert cost.mfu(1000, flops, "NVIDIA Something 9000") is None
