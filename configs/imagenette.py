r"""Imagenette, ten easy classes of ImageNet in 9,469 images.

    python -m vit_jax prepare imagenette
    python -m vit_jax.main --config=configs/imagenette.py \
        --workdir=runs/imagenette
    python -m vit_jax.main --config=configs/imagenette.py:finetune \
        --workdir=runs/imagenette-finetuned

The first trains S/16 from scratch at 160x160 with the paper's recipe for
ImageNet (Table 3), as a rehearsal of pre-training on one accelerator. The
second fine-tunes AugReg's Ti/16 at 224x224 with SGD; its pre-training saw
ImageNet-21k, which holds these ten classes and most of these images, so
that its score says that the code works and no more.

Expected: no published scores for these recipes. Not run here.
"""

from ml_collections import ConfigDict

from vit_jax.config import recipes
from vit_jax.config.schema import default_config, eval_config


def get_config(arg: str = "") -> ConfigDict:
  """Returns the recipe from scratch, or with "finetune" the other."""
  options = recipes.split_arg(
      "imagenette.py", arg, [], more=("finetune",))
  config = default_config()
  config.data.update(
      source="tfds:imagenette/160px-v2", split="train",
      preprocess="inception_crop({size})|flip_lr")
  config.evals.test = eval_config(
      split="validation", preprocess="resize_small(182)|central_crop({size})")
  if options:
    config.data.update(
        source="tfds:imagenette/320px-v2", image_size=224, batch_size=256)
    config.evals.test.preprocess = "resize_small(256)|central_crop({size})"
    config.model.variant = "Ti/16"
    config.init.path = "augreg/Ti_16"
    config.optim.update(
        name="sgd", learning_rate=0.01, warmup_steps=50, clip_norm=1.0)
    config.train.update(steps=500, eval_every=100)
    return config
  config.data.update(image_size=160, batch_size=256)
  config.model.update(variant="S/16", dropout=0.1)
  config.optim.update(
      name="adam", learning_rate=1e-3, schedule="cosine", warmup_steps=500,
      weight_decay=0.3, clip_norm=1.0)
  config.train.update(epochs=300.0, eval_every=500)
  return config
