r"""Which dimension to scale, Figure 8 (appendix D.2).

    python -m vit_jax study --config=configs/shapes.py --workdir=runs/shapes \
        --config.data.data_dir=gs://BUCKET/data
    python -m vit_jax study --config=configs/shapes.py:digits \
        --workdir=runs/shapes-digits

From one small ViT (8 layers, D=1024, MLP 2,048, patches of 32), one dimension
at a time: depth, width, width of the MLP, patch size, and all together; score
against compute relative to that ViT, which is counted by formula. The paper
gives the start and the axes, but not the sizes along them: those are ours.
With `digits` or `fashion_mnist`, the same about a smaller ViT.

Expected: depth helps most (up to 64 layers, less beyond 16), width least,
smaller patches help without parameters; all together is steady. The paper
prints no numbers.

Time: JFT-300M was not run here; the digits take minutes on 2 cores,
Fashion-MNIST two minutes a run.
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

BASE = dict(depth=8, width=1024, mlp_dim=2048, num_heads=16, patch_size=32)
SERIES: dict[str, tuple[dict[str, int], ...]] = {
    "depth": tuple(dict(depth=n) for n in (1, 2, 4, 16, 32, 64)),
    "width": tuple(dict(width=n, num_heads=n // 64)
                   for n in (128, 256, 512, 2048, 4096)),
    "mlp": tuple(dict(mlp_dim=n) for n in (512, 1024, 4096, 8192, 16384)),
    "patch": tuple(dict(patch_size=n) for n in (8, 16, 56)),
    "all": (dict(depth=4, width=512, mlp_dim=1024, num_heads=8, patch_size=56),
            dict(depth=12, width=1280, mlp_dim=2560, num_heads=20,
                 patch_size=28),
            dict(depth=16, width=2048, mlp_dim=4096, num_heads=32,
                 patch_size=16)),
}
SMALL_BASE = dict(width=64, mlp_dim=128, num_heads=4, patch_size=4)


def _small(
    depths: tuple[int, ...], patches: tuple[int, ...],
    *together: dict[str, int],
) -> dict[str, tuple[dict[str, int], ...]]:
  """Returns the series of a small form; width and MLP are the same in all."""
  return {
      "depth": tuple(dict(depth=n) for n in depths),
      "width": tuple(dict(width=n) for n in (16, 32, 128)),
      "mlp": tuple(dict(mlp_dim=n) for n in (32, 512)),
      "patch": tuple(dict(patch_size=n) for n in patches),
      "all": together}


# ground: image size, depth in the middle, and the series.
SMALL = {
    "digits": (16, 4, _small(
        (1, 2, 8), (2, 8),
        dict(depth=2, width=32, mlp_dim=64, num_heads=2, patch_size=8),
        dict(depth=6, width=96, mlp_dim=192, num_heads=6, patch_size=2))),
    "fashion_mnist": (28, 2, _small(
        (1, 4, 8), (7, 14),
        dict(depth=1, width=32, mlp_dim=64, num_heads=2, patch_size=7),
        dict(depth=4, width=96, mlp_dim=192, num_heads=6, patch_size=4))),
}


def get_config(arg: str = "") -> ConfigDict:
  """Returns the ViT in the middle; see the module for `arg`."""
  options = recipes.split_arg("shapes.py", arg, [], more=recipes.SMALL)
  config = default_config()
  if options:
    recipes.use_small(config, options[0], steps=400)
    return config
  recipes.use_jft(config, "B/32", learning_rate=8e-4)
  config.model.update(BASE)
  return config


def get_study(arg: str = "") -> Study:
  """Returns the five curves, which meet in the ViT in the middle."""
  base, series, size = BASE, SERIES, 224
  if arg:
    size, depth, series = SMALL[arg]
    base = SMALL_BASE | dict(depth=depth)
  rows = {"base": Row((TrainingStage(arg),), x=1.0)}
  for name, several in series.items():
    for changes in several:
      rows[f"{name}-{_size(name, changes)}"] = Row(
          (TrainingStage(arg, {f"model.{k}": v for k, v in changes.items()}),),
          series=name, x=relative_compute(
              changes, {"variant": "B/32", **base}, size))
  return Study(
      "Scaling one dimension at a time", "Figure 8", rows,
      metric="eval/test/accuracy" if arg else "eval/fewshot/accuracy_5shot",
      x_label="compute relative to the ViT in the middle (multiply-adds)")


def _size(name: str, changes: dict[str, Any]) -> str:
  """Returns what tells a row from the others of its series."""
  key = {"mlp": "mlp_dim", "patch": "patch_size", "all": "width"}
  return str(changes[key.get(name, name)])
