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
has the same shares of it as parts. With `digits` or `fashion_mnist`, small ViTs
of two patch sizes, a ResNet of 14 layers (which has many times their
parameters) and parts of the data, scored on the test split.

Expected: large ViTs overfit more than ResNets of the same cost where data are
few, and pass them from 90 million on (B/32 against R50x1); B/32 and b/32 are
close on little data, and b/32 is left behind on much. The paper prints no
numbers.

Time: JFT-300M was not run here; the digits take minutes on 2 cores,
Fashion-MNIST two minutes a run, ten for the ResNet.
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
# In the small forms: training images by share, two ViTs by their patches, and a
# ResNet of 14 layers, which has none.
COUNTS = {
    "digits": {"1%": 13, "3%": 40, "10%": 126, "30%": 377, "100%": 1258},
    "fashion_mnist": {"0.3%": 180, "1%": 600, "3%": 1800, "10%": 6000,
                      "90%": 54_000}}
PATCHES = {"digits": (4, 8), "fashion_mnist": (4, 7)}


def get_config(arg: str = "") -> ConfigDict:
  """Returns B/32 on everything; see the module for `arg`."""
  dataset, resnet = recipes.split_arg("data_scaling.py", arg, ["", ""])
  recipes.choose("data_scaling.py", "option", dataset, ("", *recipes.SMALL))
  recipes.choose("data_scaling.py", "model", resnet, ("", "R14x1"))
  config = default_config()
  if dataset:
    recipes.use_small(config, dataset, steps=400, resnet=resnet)
    return config
  recipes.use_jft(config, "B/32", learning_rate=8e-4)
  config.evals.val = eval_config(
      split=recipes.DATASETS["jft300m"].dev,
      preprocess="resize_small(256)|central_crop({size})")
  return config


def get_study(arg: str = "") -> Study:
  """Returns one curve per model."""
  if arg:
    models = {f"patch-{patch}": (arg, {"model.patch_size": patch})
              for patch in PATCHES[arg]} | {"R14x1": (f"{arg},R14x1", {})}
    rows = {
        f"{name}-{part}": Row(
            (TrainingStage(small, {**changes, "data.split": f"train[:{n}]"}),),
            series=name, x=float(n))
        for name, (small, changes) in models.items()
        for part, n in COUNTS[arg].items()}
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
