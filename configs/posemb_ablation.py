r"""Position embeddings, Table 8 of the paper (appendix D.4).

    python -m vit_jax study --config=configs/posemb_ablation.py \
        --workdir=runs/posemb --config.data.data_dir=gs://BUCKET/data
    python -m vit_jax study --config=configs/posemb_ablation.py:digits \
        --workdir=runs/posemb-digits

No embedding, one learned vector a token (1-D), two half-wide tables for rows
and columns (2-D), relative attention, and, beyond the paper, fixed sines and
cosines (sincos2d); added at the stem, at every layer with a table of its own,
or at every layer with one shared table. B/16 on JFT-300M for 7 epochs, scored
by the linear 5-shot probe on ImageNet; with `digits` or `fashion_mnist`, a
small ViT on those, scored on the test split.

Expected (5-shot on ImageNet, %): none 61.4; everything else 63.96 to 64.29.
JFT-300M was not run here. Time of the digits and of Fashion-MNIST: two minutes
a run on 2 cores.
"""

from ml_collections import ConfigDict

from vit_jax.config import recipes
from vit_jax.config.schema import default_config
from vit_jax.experiments.study import Row, Study, TrainingStage

# Table 8: kind, place -> 5-shot accuracy; None beyond the paper.
TABLE_8 = {
    ("none", "stem"): 0.61382,
    ("1d", "stem"): 0.64206,
    ("1d", "layers"): 0.63964,
    ("1d", "layers_shared"): 0.64292,
    ("2d", "stem"): 0.64001,
    ("2d", "layers"): 0.64046,
    ("2d", "layers_shared"): 0.64022,
    ("relative", "stem"): 0.64032,
    ("sincos2d", "stem"): None,
}


def get_config(arg: str = "") -> ConfigDict:
  """Returns the row "1-D at the stem"; see the module for `arg`."""
  options = recipes.split_arg("posemb_ablation.py", arg, [], more=recipes.SMALL)
  config = default_config()
  if options:
    recipes.use_small(config, options[0], steps=800)
  else:
    recipes.use_jft(config, "B/16", learning_rate=8e-4)
  return config


def get_study(arg: str = "") -> Study:
  """Returns the table."""
  rows = {
      f"{kind}-{place}" if kind != "none" else kind: Row(
          (TrainingStage(
              arg, {"model.posemb": kind, "model.posemb_at": place}),),
          paper=None if arg else paper)
      for (kind, place), paper in TABLE_8.items()}
  return Study(
      "Position embeddings", "Table 8", rows,
      metric="eval/test/accuracy" if arg else "eval/fewshot/accuracy_5shot")
