r"""The recipe of 2020 against that of 2022, beyond the paper.

    python -m vit_jax study --config=configs/two_recipes.py \
        --workdir=runs/recipes --config.data.data_dir=gs://BUCKET/data
    python -m vit_jax study --config=configs/two_recipes.py:fashion_mnist \
        --workdir=runs/recipes-small --seeds=3

S/16 on ImageNet from scratch for 300 epochs, by Table 3 of the paper
(configs/pretrain.py) and by "Better plain ViT baselines"
(configs/plain_vit.py). Table 3 has no S/16: it is trained as B/16.

With `fashion_mnist`, a small ViT on a tenth of those 60,000 pictures, for 25
epochs, so that it can overfit, as a ViT on ImageNet does: each recipe with its
own positions, pooling, head, loss, rate, decay of weights, dropout and
augmentation; batches, updates, crop, flip and clipping are the same. Two rows
more say what makes the difference: the older recipe at the rate of the newer,
and the newer without RandAugment and mixup.

Expected: 80 % for 2022's recipe (its abstract); for S/16 by Table 3 nothing is
published. Time: ImageNet was not run here; Fashion-MNIST takes four minutes of
one core a run.
"""

from typing import Any

from ml_collections import ConfigDict

from vit_jax.config import recipes
from vit_jax.config.schema import default_config
from vit_jax.experiments.study import Row, Study, TrainingStage

FILE = "two_recipes.py"
CROP = "inception_crop({size})|flip_lr"
# What differs in the small form; the values are those of the two configs.
RECIPES: dict[str, dict[str, Any]] = {
    "2020": {
        "model.posemb": "1d", "model.pooling": "cls", "model.dropout": 0.1,
        # -10 is the logarithm of one in 21,843 classes; here there are 10.
        "model.head_bias_init": -2.2, "objective.loss": "sigmoid",
        "optim.learning_rate": 3e-3, "optim.weight_decay": 0.3,
        "data.preprocess": CROP},
    "2022": {
        "model.posemb": "sincos2d", "model.pooling": "gap",
        "objective.mixup": 0.2, "optim.learning_rate": 1e-3,
        "optim.weight_decay": 0.1,
        "data.preprocess": f"{CROP}|randaugment(2, 10)"},
}
SMALL_ROWS = {
    **RECIPES,
    "2020-rate-1e-3": {**RECIPES["2020"], "optim.learning_rate": 1e-3},
    "2022-plain-images": {
        **RECIPES["2022"], "objective.mixup": 0.0, "data.preprocess": CROP},
}


def get_config(arg: str = "") -> ConfigDict:
  """Returns what the small rows have in common; see the module for `arg`."""
  recipes.split_arg(FILE, arg, [], more=("fashion_mnist",))
  config = default_config()
  recipes.use_small(config, "fashion_mnist", steps=0)
  config.data.split = "train[:10%]"
  config.model.pre_logits = True
  config.optim.update(warmup_steps=0, warmup_share=0.1)
  config.train.update(steps=2400, eval_every=400)
  config.checkpoint.save_every = 2400
  return config


def get_study(arg: str = "") -> Study:
  """Returns the two recipes, and in the small form what separates them."""
  if arg:
    rows = {name: Row((TrainingStage(arg, changes),))
            for name, changes in SMALL_ROWS.items()}
  else:
    rows = {
        "2020": Row((TrainingStage(
            "B/16,imagenet2012", {"model.variant": "S/16"},
            file="configs/pretrain.py"),)),
        "2022": Row((TrainingStage("300", file="configs/plain_vit.py"),))}
  return Study(
      "The recipe of 2020 and that of 2022", "arXiv 2205.01580", rows,
      metric="eval/test/accuracy")
