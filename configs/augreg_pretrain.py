r"""Pre-training as in AugReg ("How to train your ViT?"), every setting of it.

    python -m vit_jax.main \
        --config=configs/augreg_pretrain.py:B/16,i21k,medium1,wd_0.1 \
        --workdir=gs://BUCKET/b16-i21k --config.data.data_dir=gs://BUCKET/data

The argument is MODEL,DATASET,LEVEL[,do_0.1][,sd_0.1][,wd_0.03][,30ep], or the
whole name of a released file, such as
B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0, whose recipe it then
is. MODEL is Ti/16, S/32, S/16, B/32, B/16, B/8, L/16, R+Ti/16, R26+S/32 or
R50+L/32 in any spelling, DATASET imagenet21k (300 epochs, or 30ep) or
imagenet2012 (300). Without more words: no dropout, no stochastic depth, weight
decay 0.1. AugReg trained with dropout and stochastic depth both 0.1 or both 0.

LEVEL is one of seven (AugReg, section 3.3): RandAugment's layers and
magnitude, and mixup's alpha.

    none      -          -        medium1   2 x 15   0.2
    light1    2 x  0     -        medium2   2 x 15   0.5
    light2    2 x 10     0.2      strong1   2 x 20   0.5
                                  strong2   2 x 20   0.8

NAMES OF FILES COUNT FROM 0: aug_light0 of a file is light1 here, and aug_light1
of a file is light2. A whole file name is understood that way; as a LEVEL,
light0 is light1, and light1 is the paper's.

Throughout: Adam (0.9, 0.999) with a bfloat16 first moment, batch 4,096, rate
1e-3 with 10,000 steps of warm-up and cosine decay, weight decay of the kernels
times the rate, clipping at norm 1, 224x224, Inception crop and flip. Sigmoid
cross entropy over heads whose bias begins at -10 on ImageNet-21k, without a
hidden layer, and at -6.9 on ImageNet, with one (big_vision).

Expected (top-1, %, on ImageNet, fine-tuned at 384x384 by configs/augreg.py;
AugReg, Table 3: best setting of ImageNet-21k for 300 epochs):

    Ti/16 78.22, S/32 79.58, S/16 83.73, B/32 83.59, B/16 85.49, L/16 85.59,
    R+Ti/16 75.40, R26+S/32 83.85, R50+L/32 85.99

Time: not run here. `python -m vit_jax compile` estimates yours.
"""

from ml_collections import ConfigDict

from vit_jax.config import recipes
from vit_jax.config.schema import default_config
from vit_jax.errors import UsageError
from vit_jax.weights.hub.augreg_index import MODELS, parse_filename

FILE = "augreg_pretrain.py"
# RandAugment's layers and magnitude (no RandAugment where None), mixup's alpha.
LEVELS = {
    "none": (None, 0.0), "light1": ((2, 0), 0.0), "light2": ((2, 10), 0.2),
    "medium1": ((2, 15), 0.2), "medium2": ((2, 15), 0.5),
    "strong1": ((2, 20), 0.5), "strong2": ((2, 20), 0.8),
}
# Levels in the names of files, where they differ from the paper's.
FILE_LEVELS = {"light0": "light1", "light1": "light2"}
DATASETS = {"imagenet2012": (300,), "imagenet21k": (300, 30)}
OPTIONS = ("do_0.0", "do_0.1", "sd_0.0", "sd_0.1", "wd_0.03", "wd_0.1",
           "30ep", "300ep")


def get_config(arg: str = "") -> ConfigDict:
  """Returns the recipe of one setting; see the module for `arg`."""
  model, dataset, level, *options = recipes.split_arg(
      FILE, _arg_of_file(arg) or arg, ["B/16", "imagenet21k", "medium1"],
      more=OPTIONS)
  variant = recipes.choose_variant(FILE, model, MODELS)
  dataset = recipes.choose_dataset(FILE, dataset, DATASETS)
  level = recipes.choose(
      FILE, "level", "light1" if level == "light0" else level, LEVELS)
  epochs = 30 if "30ep" in options else 300
  if epochs not in DATASETS[dataset]:
    raise UsageError(
        f"configs/{FILE}: AugReg trained on {dataset} for 300 epochs, not 30; "
        "another length goes through --config.train.epochs")
  distortions, mixup = LEVELS[level]
  large = dataset == "imagenet21k"

  config = default_config()
  config.model.update(
      variant=variant, pre_logits=not large,
      head_bias_init=-10.0 if large else -6.9,
      dropout=0.1 if "do_0.1" in options else 0.0,
      stochastic_depth=0.1 if "sd_0.1" in options else 0.0)
  train = "inception_crop({size})|flip_lr"
  if distortions:
    train += "|randaugment({}, {})".format(*distortions)
  recipes.use_dataset(
      config, dataset, full=False, train=train,
      evaluation="resize_small(256)|central_crop({size})")
  config.data.update(image_size=224, batch_size=4096)
  config.objective.update(loss="sigmoid", mixup=mixup)
  config.optim.update(
      name="adam", learning_rate=1e-3, schedule="cosine", warmup_steps=10_000,
      weight_decay=0.03 if "wd_0.03" in options else 0.1, clip_norm=1.0,
      momentum_dtype="bfloat16")
  config.train.update(epochs=float(epochs), eval_every=5000, log_every=100)
  config.checkpoint.update(save_every=1000, keep=2)
  return config


def _arg_of_file(name: str) -> str:
  """Returns the argument that a released file's name stands for, or ""."""
  settings = parse_filename(name)
  if settings is None:
    return ""
  if settings["adapt_ds"]:
    raise UsageError(
        f"configs/{FILE}: {name!r} is a fine-tuned file; give the part before "
        "the -- for its pre-training, or use configs/augreg.py")
  return ",".join([
      settings["model"],
      settings["ds"],
      FILE_LEVELS.get(settings["aug"], settings["aug"]),
      f"do_{settings['do']}",
      f"sd_{settings['sd']}",
      f"wd_{settings['wd']}",
      f"{settings['epochs']}ep",
  ])
