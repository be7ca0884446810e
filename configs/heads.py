r"""Class token against average pooling, Figure 9 (appendix D.3).

    python -m vit_jax study --config=configs/heads.py --workdir=runs/heads \
        --config.data.data_dir=gs://BUCKET/data
    python -m vit_jax study --config=configs/heads.py:digits \
        --workdir=runs/heads-digits

Average pooling over the patches works as well as the class token, but wants a
lower rate: with that of the class token the paper at first took it for worse.
B/16 on JFT-300M, linear 5-shot on ImageNet at the end of 7 epochs (the figure
shows the way there; metrics.jsonl of each run has it too). With `digits` or
`fashion_mnist`, a small ViT on those, rates in the same proportion.

Expected: the curves of cls at 8e-4 and gap at 3e-4 lie on each other, gap at
8e-4 below; the paper prints no numbers.

Time: JFT-300M was not run here; the digits take minutes on 2 cores,
Fashion-MNIST two minutes a run.
"""

from ml_collections import ConfigDict

from vit_jax.config import recipes
from vit_jax.config.schema import default_config
from vit_jax.experiments.study import Row, Study, TrainingStage

ROWS = {"cls-8e-4": ("cls", 8e-4), "gap-8e-4": ("gap", 8e-4),
        "gap-3e-4": ("gap", 3e-4)}
# In the small forms the class token's rate is this many times the paper's.
SMALL_RATES = 2.5


def get_config(arg: str = "") -> ConfigDict:
  """Returns the row of the class token; see the module for `arg`."""
  options = recipes.split_arg("heads.py", arg, [], more=recipes.SMALL)
  config = default_config()
  if options:
    recipes.use_small(config, options[0], steps=800)
  else:
    recipes.use_jft(config, "B/16", learning_rate=8e-4)
  return config


def get_study(arg: str = "") -> Study:
  """Returns the three curves' ends."""
  scale = SMALL_RATES if arg else 1.0
  # "Followed by a linear classifier": without the hidden layer of pre-training.
  rows = {
      name: Row((TrainingStage(arg, {
          "model.pooling": pooling, "optim.learning_rate": rate * scale} | (
              {"model.pre_logits": False} if pooling == "gap" else {})),))
      for name, (pooling, rate) in ROWS.items()}
  return Study(
      "Class token or average pooling", "Figure 9", rows,
      metric="eval/test/accuracy" if arg else "eval/fewshot/accuracy_5shot")
