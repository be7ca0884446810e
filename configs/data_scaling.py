r"""How much data a model needs, Figure 4 (section 4.3).

    python -m vit_jax study --config=configs/data_scaling.py \
        --workdir=runs/data --config.data.data_dir=gs://BUCKET/data
    python -m vit_jax study --config=configs/data_scaling.py:digits \
        --workdir=runs/data-digits --seeds=3

Models trained on growing parts of a data set with the same hyper-parameters,
no further regularisation, and as many updates: what is reported is the linear
5-shot score at the step with the best validation accuracy (early stopping).
The paper's parts are 9, 30, 90 and 300 million images of JFT-300M; another
data set with the splits train and validation goes by --config.data.source, and
has the same shares of it as parts. With
`digits`, small ViTs of two patch sizes, a ResNet of 14 layers (which has many
times their parameters) and parts of the digits, scored on the test split.

Expected: large ViTs overfit more than ResNets of the same cost where data are
few, and pass them from 90 million on (B/32 against R50x1); B/32 and b/32 are
close on little data, and b/32 is left behind on much. The paper prints no
numbers.

Time: JFT-300M was not run here; the digits take minutes on 2 cores.
"""

from ml_collections import ConfigDict

from vit_jax.config import recipes
from vit_jax.config.schema import default_config, eval_config
from vit_jax.experiments.study import Row, Study, TrainingStage
from vit_jax.models.variants import network_type

MODELS = ("L/16", "L/32", "B/32", "b/32", "R50x1", "R152x2")
RATES = {"L/16": 4e-4, "L/32": 6e-4, "R50x1": 1e-3, "R152x2": 6e-4}
SPLITS = {"9M": "train[:3%]", "30M": "train[:10%]", "90M": "train[:30%]",
          "300M": "train"}
MILLIONS = {"9M": 9.0, "30M": 30.0, "90M": 90.0, "300M": 300.0}
DIGITS = {"1%": "train[:13]", "3%": "train[:40]", "10%": "train[:126]",
          "30%": "train[:377]", "100%": "train"}
COUNTS = {"1%": 13, "3%": 40, "10%": 126, "30%": 377, "100%": 1258}
# On the digits: two ViTs, and a ResNet of 14 layers, which has no patches.
SMALL = {"patch-4": ("digits", {"model.patch_size": 4}),
         "patch-8": ("digits", {"model.patch_size": 8}),
         "R14x1": ("digits,R14x1", {})}


def get_config(arg: str = "") -> ConfigDict:
  """Returns B/32 on everything; see the module for `arg`."""
  dataset, resnet = recipes.split_arg("data_scaling.py", arg, ["", ""])
  recipes.choose("data_scaling.py", "option", dataset, ("", "digits"))
  recipes.choose("data_scaling.py", "model", resnet, ("", "R14x1"))
  config = default_config()
  if dataset:
    recipes.use_digits(config, steps=400, resnet=resnet)
    return config
  recipes.use_jft(config, "B/32", learning_rate=8e-4)
  config.evals.val = eval_config(
      split=recipes.DATASETS["jft300m"].dev,
      preprocess="resize_small(256)|central_crop({size})")
  return config


def get_study(arg: str = "") -> Study:
  """Returns one curve per model."""
  if arg:
    rows = {
        f"{name}-{part}": Row(
            (TrainingStage(small, {**changes, "data.split": split}),),
            series=name, x=float(COUNTS[part]))
        for name, (small, changes) in SMALL.items()
        for part, split in DIGITS.items()}
  else:
    rows = {
        f"{name.replace('/', '')}-{part}": Row(
            (TrainingStage(arg, {
                "model.variant": name, "data.split": split,
                "model.pre_logits": (
                    "pre_logits" in network_type(name).options),
                "optim.learning_rate": RATES.get(name, 8e-4)}),),
            series=name, x=MILLIONS[part])
        for name in MODELS for part, split in SPLITS.items()}
  return Study(
      "How much data a model needs", "Figure 4", rows,
      metric="eval/test/accuracy" if arg else "eval/fewshot/accuracy_5shot",
      x_label="training images" if arg else "training images (millions)",
      best_by="eval/val/accuracy")
