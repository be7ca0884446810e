r"""One of VTAB-1k's 19 tasks: 1000 examples, one setting for all of them.

    python -m vit_jax.main --config=configs/vtab.py:b16,caltech101 \
        --workdir=runs/vtab/caltech101
    python -m vit_jax vtab --workdirs=runs/vtab

The first command trains on 800 + 200 examples and scores the whole test set;
run it for every task, the second then prints the table with the means of the
groups and of all. With three seeds each:

    python -m vit_jax sweep --config=configs/vtab.py:b16,caltech101 \
        --rates=0.01 --seeds=3 --workdir=runs/vtab/caltech101

The argument is MODEL,TASK[,select]. MODEL is a released one, as in vit.py.
TASK is caltech101, cifar100, dtd, flowers102, pets, sun397, svhn (natural);
camelyon, eurosat, resisc45, retinopathy (specialized); clevr_count,
clevr_distance, dmlab, dsprites_location, dsprites_orientation, kitti_distance,
smallnorb_azimuth or smallnorb_elevation (structured). TFDS prepares the data,
`python -m vit_jax prepare` calls it. `select` trains on the 800 examples and
scores the 200 that settings are chosen with.

As in Table 4 and appendix B.1.1 of the paper: SGD with momentum 0.9, rate 0.01,
2500 steps, batch 512, cosine, no weight decay, clipping at norm 1, 384x384 for
every task (H/14: 378x378). Pictures as in BiT: resized to 448x448, a random
crop of 384x384, mirrored at random; for testing resized to 384x384. Tasks
whose label would change are not mirrored or not cropped (BiT, appendix F). The
paper names no warm-up; 200 steps are AugReg's for runs of 2500.

Expected (test accuracy, %; L/16 from ImageNet-21k, Table 9 of the paper):

    caltech101 90.8  cifar100 84.1  dtd 74.1  flowers102 99.3  pets 92.7
    sun397 61.0  svhn 80.9                                      natural 83.3
    camelyon 82.5  eurosat 95.6  resisc45 85.2  retinopathy 75.3
                                                            specialized 84.7
    clevr_count 70.3  clevr_distance 56.1  dmlab 41.9  dsprites_location 74.7
    dsprites_orientation 64.9  kitti_distance 79.9  smallnorb_azimuth 30.5
    smallnorb_elevation 41.7                                 structured 57.5
    mean of the 19 tasks 72.7

Time: not run here. `python -m vit_jax compile` estimates yours.
"""

from ml_collections import ConfigDict

from vit_jax.config import recipes
from vit_jax.config.schema import default_config, eval_config
from vit_jax.data.sources.vtab import TASKS


def get_config(arg: str = "") -> ConfigDict:
  """Returns the recipe of one model and task; see the module for `arg`."""
  model, name, *options = recipes.split_arg(
      "vtab.py", arg, ["b16", "caltech101"], more=("select",))
  variant = recipes.choose_variant("vtab.py", model, recipes.RELEASED)
  task = TASKS[recipes.choose("vtab.py", "task", name, TASKS)]
  select = "select" in options

  config = default_config()
  recipes.use_released(config, variant)
  size = config.data.image_size
  steps = ["resize({size})"]
  if task.crop:
    steps = [f"resize({size * 7 // 6})", "random_crop({size})"]
  if task.flip:
    steps.append("flip_lr")
  config.data.update(
      source=f"vtab:{name}", preprocess="|".join(steps),
      split="train800" if select else "train800val200")
  config.optim.update(learning_rate=0.01, warmup_steps=200)
  config.train.update(steps=2500, eval_every=2500)
  if select:
    config.evals.dev = eval_config(split="val200")
  else:
    config.evals.test = eval_config(split="test")
  return config
