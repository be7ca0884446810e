r"""Axial attention, Figure 13 (appendix D.6).

    python -m vit_jax study --config=configs/axial.py --workdir=runs/axial \
        --config.data.data_dir=gs://BUCKET/data
    python -m vit_jax study --config=configs/axial.py:digits \
        --workdir=runs/axial-digits

Axial-ViT replaces each block by two: attention along the rows and an MLP, then
attention along the columns and an MLP. There is no class token on a row, so
patches are averaged; the rate is then the lower one of Figure 9. B/32 and B/16
on JFT-300M, linear 5-shot on ImageNet, against the cost by formula. With
`digits`, small ViTs of two patch sizes, scored on the test split.

Expected: Axial-B/32 and Axial-B/16 are better than B/32 and B/16, at more
compute. The paper prints no numbers.

Time: JFT-300M was not run here; the digits take minutes on 2 cores.
"""

from typing import Any

from ml_collections import ConfigDict

from vit_jax.config import recipes
from vit_jax.config.schema import default_config
from vit_jax.experiments.study import (
  Row,
  Study,
  TrainingStage,
  relative_compute,
)

AXIAL = {"model.block": "axial", "model.pooling": "gap"}


def get_config(arg: str = "") -> ConfigDict:
  """Returns the plain B/32; see the module for `arg`."""
  options = recipes.split_arg("axial.py", arg, [], more=("digits",))
  config = default_config()
  if options:
    recipes.use_digits(config, steps=400)
  else:
    recipes.use_jft(config, "B/32", learning_rate=8e-4)
  return config


def get_study(arg: str = "") -> Study:
  """Returns both models with both kinds of block."""
  base: dict[str, Any] = {"variant": "B/32"}
  size, patches, rate = 224, (32, 16), 3e-4
  if arg:
    base |= dict(width=64, depth=4, mlp_dim=128, num_heads=4)
    size, patches, rate = 16, (4, 2), 1e-3
  base["patch_size"] = patches[0]
  rows = {}
  for patch in patches:
    plain = {"patch_size": patch}
    axial = plain | {"block": "axial", "pooling": "gap"}
    name = f"patch-{patch}" if arg else f"B{patch}"
    rows[name] = Row(
        (TrainingStage(arg, {"model.patch_size": patch}),), series="ViT",
        x=relative_compute(plain, base, size))
    rows[f"axial-{name}"] = Row(
        (TrainingStage(arg, {**AXIAL, "model.patch_size": patch,
                     "optim.learning_rate": rate}),),
        series="Axial-ViT", x=relative_compute(axial, base, size))
  return Study(
      "Axial attention", "Figure 13", rows,
      metric="eval/test/accuracy" if arg else "eval/fewshot/accuracy_5shot",
      x_label="compute relative to the cheapest ViT (multiply-adds)")
