r"""Axial attention, Figure 13 (appendix D.6).

    python -m vit_jax study --config=configs/axial.py --workdir=runs/axial \
        --config.data.data_dir=gs://BUCKET/data
    python -m vit_jax study --config=configs/axial.py:digits \
        --workdir=runs/axial-digits

Axial-ViT replaces each block by two: attention along the rows and an MLP, then
attention along the columns and an MLP. There is no class token on a row, so
patches are averaged; the rate is then the lower one of Figure 9. So that one
thing differs at a time, plain blocks that are averaged, at that rate, are a row
as well (gap-), which the paper's figure has not. B/32 and B/16 on JFT-300M,
linear 5-shot on ImageNet, against the cost by formula. With `digits` or
`fashion_mnist`, small ViTs of two patch sizes, scored on the test split.

Expected: Axial-B/32 and Axial-B/16 are better than B/32 and B/16, at more
compute. The paper prints no numbers.

Time: JFT-300M was not run here; the digits take minutes on 2 cores,
Fashion-MNIST about a minute a run.
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


def get_config(arg: str = "") -> ConfigDict:
  """Returns the plain B/32; see the module for `arg`."""
  options = recipes.split_arg("axial.py", arg, [], more=recipes.SMALL)
  config = default_config()
  if options:
    recipes.use_small(config, options[0], steps=400)
  else:
    recipes.use_jft(config, "B/32", learning_rate=8e-4)
  return config


def get_study(arg: str = "") -> Study:
  """Returns both models with both kinds of block."""
  base: dict[str, Any] = {"variant": "B/32"}
  size, patches, rate = 224, (32, 16), 3e-4
  if arg:
    depth = {"digits": 4, "fashion_mnist": 2}[arg]
    base |= dict(width=64, depth=depth, mlp_dim=128, num_heads=4)
    size, patches, rate = {
        "digits": (16, (4, 2), 1e-3), "fashion_mnist": (28, (7, 4), 1e-3)}[arg]
  base["patch_size"] = patches[0]
  rows = {}
  for patch in patches:
    plain = {"patch_size": patch}
    pooled = plain | {"pooling": "gap"}
    axial = pooled | {"block": "axial"}
    name = f"patch-{patch}" if arg else f"B{patch}"
    lower = {"optim.learning_rate": rate}
    for row, series, model, changes in (
        (name, "ViT", plain, {}),
        (f"gap-{name}", "ViT, averaged", pooled, lower),
        (f"axial-{name}", "Axial-ViT", axial, lower)):
      rows[row] = Row(
          (TrainingStage(arg, {
              f"model.{k}": v for k, v in model.items()} | changes),),
          series=series, x=relative_compute(model, base, size))
  return Study(
      "Axial attention", "Figure 13", rows,
      metric="eval/test/accuracy" if arg else "eval/fewshot/accuracy_5shot",
      x_label="compute relative to the cheapest ViT (multiply-adds)")
