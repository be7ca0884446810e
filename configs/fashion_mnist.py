r"""Fashion-MNIST from scratch, with a small ViT of 4x4 patches, on two cores.

    apt-get install dataset-fashion-mnist
    python -m vit_jax.main --config=configs/fashion_mnist.py \
        --workdir=runs/fashion-mnist

60,000 pictures of 28x28 for training, 10,000 for testing: real data, of a size
at which a share of a percent counts (the standard error of a score of 92 % is
0.3 points, where the quickstart's 360 pictures have 0.5 at 99 %). 4 blocks,
width 64, 4 heads, 50 tokens. A tenth of the training split is held out as
`val`; `full` trains on it too.

The files may lie elsewhere, and may be MNIST's or KMNIST's, which are not to be
flipped: --config.data.source=idx:FOLDER, --config.data.preprocess=...

Expected: not measured in full. Time: about a quarter of an hour on 2 cores.
"""

from ml_collections import ConfigDict

from vit_jax.config import recipes
from vit_jax.config.schema import default_config, eval_config


def get_config(arg: str = "") -> ConfigDict:
  """Returns the recipe; it takes `full` (train on the val split too)."""
  options = recipes.split_arg("fashion_mnist.py", arg, [], more=("full",))
  config = default_config()
  config.model.update(
      variant="Ti/16", patch_size=4, width=64, depth=4, mlp_dim=256,
      num_heads=4)
  config.data.update(
      source="idx:/usr/share/datasets/fashion-mnist", image_size=28,
      split="train" if options else "train[:90%]", batch_size=128,
      preprocess="random_crop({size}, 2)|flip_lr")
  config.objective.label_smoothing = 0.1
  if not options:
    config.evals.val = eval_config(split="train[90%:]")
  config.evals.test = eval_config(split="test")
  config.optim.update(
      name="adam", learning_rate=2e-3, warmup_share=0.05, warmup_steps=0,
      weight_decay=0.1, clip_norm=1.0)
  config.train.update(
      epochs=10.0, eval_every=1000, log_every=100, ema_decay=0.999)
  return config
