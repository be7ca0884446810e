r"""Fine-tuning an AugReg checkpoint ("How to train your ViT?").

    python -m vit_jax.main --config=configs/augreg.py:R_Ti_16 \
        --workdir=runs/r-ti-pets

The argument is MODEL[,DATASET][,full]. MODEL is Ti_16, S_32, S_16, B_32, B_16,
B_8, L_16, R_Ti_16, R26_S_32 or R50_L_32, which downloads the file with the
best score of pre-training on ImageNet-21k, or the whole name of any AugReg
file without .npz. DATASET is oxford_iiit_pet (if left out), imagenet2012,
cifar10, cifar100 or oxford_flowers102; other data go through
--config.data.source and --config.data.split, a folder of images better through
configs/folder.py. `full` trains on the dev split too (see configs/vit.py).

Throughout: SGD with momentum 0.9, batch 512, cosine, clipping at norm 1,
384x384, Inception crop and flip, no dropout; evaluation on the middle 384x384
of the image resized to 448. Steps are the longer of AugReg's two; the rate
is the one that the recommended ImageNet files were fine-tuned with (0.03 or
0.01, by model), and 0.01 on the other data sets.

Expected (top-1, %, on ImageNet; AugReg, Table 3, and the README of
google-research/vision_transformer):

    Ti_16 78.22, S_32 79.58, S_16 83.73, B_32 83.59, B_16 85.49, L_16 85.59,
    R_Ti_16 75.40, R26_S_32 83.85, R50_L_32 85.99

and with big_vision's transfer config B_32: CIFAR-10 98.55, CIFAR-100 91.35,
Pets 93.78, Flowers 99.43.

Time: not run here. `python -m vit_jax compile` estimates yours.
"""

import re

from ml_collections import ConfigDict

from vit_jax.config import recipes
from vit_jax.config.schema import default_config

# Base rate of the recommended file fine-tuned on ImageNet (README of
# google-research/vision_transformer).
MODELS = {
    "Ti_16": 0.03, "S_32": 0.01, "S_16": 0.03, "B_32": 0.01, "B_16": 0.03,
    "B_8": 0.03, "L_16": 0.01, "R_Ti_16": 0.03, "R26_S_32": 0.01,
    "R50_L_32": 0.01,
}


def get_config(arg: str = "") -> ConfigDict:
  """Returns the recipe for one checkpoint; see the module for `arg`."""
  name, dataset, *options = recipes.split_arg(
      "augreg.py", arg, ["R_Ti_16", "oxford_iiit_pet"], more=("full",))
  name = re.sub(r"^augreg/|\.npz$", "", name)
  model, dash, rest = name.partition("-")
  if not dash:  # A whole file name is looked up as it is.
    model = recipes.choose_variant("augreg.py", model, MODELS)
  recipes.choose("augreg.py", "model", model, MODELS)
  dataset = recipes.choose_dataset("augreg.py", dataset, recipes.AUGREG)
  steps, warmup = recipes.AUGREG[dataset]

  config = default_config()
  config.model.variant = model
  config.init.path = f"augreg/{model}{dash}{rest}"
  recipes.use_dataset(
      config, dataset, full="full" in options,
      train="inception_crop({size})|flip_lr",
      evaluation="resize_small(448)|central_crop({size})")
  config.data.update(image_size=384, batch_size=512)
  config.optim.update(
      name="sgd", schedule="cosine", warmup_steps=warmup, momentum=0.9,
      learning_rate=MODELS[model] if dataset == "imagenet2012" else 0.01,
      clip_norm=1.0)
  config.train.update(steps=steps, eval_every=min(steps, 1000))
  return config
