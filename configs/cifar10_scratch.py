r"""CIFAR-10 from scratch at its own 32x32, with a small ViT of 4x4 patches.

    python -m vit_jax prepare cifar10
    python -m vit_jax.main --config=configs/cifar10_scratch.py \
        --workdir=runs/cifar10-scratch

8 blocks, width 512, MLP 3072, 8 heads: 65 tokens and 33.7 million parameters.
8 heads rather than B/16's 12, which do not divide a width of 512: a head is 64
wide, as in every model of the paper. The paper has no such run, and ViT is weak
on little data (section 4.3). The recipe is the paper's for ImageNet from
scratch (Table 3: Adam, cosine, weight decay 0.3 at rate 1e-3, dropout 0.1,
clipping at norm 1) with CIFAR's usual random crop of the image with a border of
4 pixels, and flip; `randaugment` adds two distortions of magnitude 10.

Expected: 80 to 88 %. No score of this recipe is published; a ViT of the same
patches without pre-training reaches 80 % after 200 epochs and 88 % after 500 in
github.com/kentaroy47/vision-transformers-cifar10. Not run here. By arithmetic,
200 epochs are 1.3e17 FLOPs: at 35 % of the peak some 6 minutes on an H100, 20
on an A100, half an hour on a v5e chip, and weeks on two CPU cores.
--config.data.source=digits tries the whole path in minutes, and
configs/fashion_mnist.py trains on real images on two cores.
"""

from ml_collections import ConfigDict

from vit_jax.config import recipes
from vit_jax.config.schema import default_config


def get_config(arg: str = "") -> ConfigDict:
  """Returns the recipe; it takes `full` (with the dev split), `randaugment`."""
  options = recipes.split_arg(
      "cifar10_scratch.py", arg, [], more=("full", "randaugment"))
  config = default_config()
  config.model.update(
      variant="B/16", patch_size=4, width=512, depth=8, mlp_dim=3072,
      num_heads=8, dropout=0.1)
  recipes.use_dataset(
      config, "cifar10", full="full" in options,
      train="resize({size})|random_crop({size}, 4)|flip_lr" + (
          "|randaugment(2, 10)" if "randaugment" in options else ""),
      evaluation="resize({size})")
  config.data.update(image_size=32, batch_size=512)
  config.objective.label_smoothing = 0.1
  config.optim.update(
      name="adam", learning_rate=1e-3, schedule="cosine", warmup_steps=1000,
      weight_decay=0.3, clip_norm=1.0)
  config.train.update(epochs=200.0, eval_every=1000)
  return config
