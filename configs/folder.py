r"""Your own images: any checkpoint, fine-tuned on a folder, on any machine.

    python -m vit_jax train --config=configs/folder.py:b16,birds \
        --workdir=runs/birds

The argument is MODEL,PATH[,OPTION=VALUE...]. MODEL, the weights to start from:

    b16, L/32, R50+B/16   pre-trained on ImageNet-21k by the paper's authors
    s16, Ti/16, R26+S/32  or, in sizes that they did not release, by AugReg's
    imagenet21k/ViT-B_16  any other name of `python -m vit_jax checkpoints`
    FILE, RUN or a URL    an .npz or .safetensors file, or a finished run
    scratch-S/16          nothing: random weights of that network

PATH is a folder with a folder for each class, with or without train, val and
test above them; a folder or file with labels; shards:PATTERN; or a data set
of TFDS, tfds:NAME. docs/own-images-layouts.md lists all layouts. PATH may hold
colons and commas, but no ",size=..." or another of these options:

    epochs=20   passes over the training images (scratch: 100)
    size=384    side of the images in pixels; by default the side that the
                weights were trained at (scratch: 224). The paper fine-tunes
                at 384, which costs three times as much as 224.
    batch=64    images in an update; by default never more than there are
    rate=0.01   learning rate (scratch: 0.001)
    val=0.2     share held out where the data have no split val; 0 for none

The network, its patches and its classes are not named: they are read off the
weights and the data. Held out is a fixed random sample with the same share of
every class. It is scored after every epoch; a split test is scored once, after
the last step. Every key can be overridden; --config.data.source=OTHER brings
the classes of other data, while splits and batch stay those of PATH.

As in the paper's fine-tuning: SGD with momentum 0.9, cosine, no weight decay,
clipping at norm 1, a new head that begins at zero, random crops and flips.
A tenth of the steps is warm-up, as AugReg's 200 of 2,500 or thereabouts. From
scratch: Adam, weight decay 0.1. Rate, batch and epochs suit a few hundred to
some thousand images; `python -m vit_jax sweep --dev=val` tries rates.

Expected: not run here with released weights, which could not be downloaded.
docs/own-images.md has the score of a network from scratch on photographs.
"""

import os
import re

from ml_collections import ConfigDict

from vit_jax.config import recipes
from vit_jax.config.schema import default_config, eval_config
from vit_jax.data import sources, splits
from vit_jax.errors import UsageError, suggest
from vit_jax.models import names
from vit_jax.weights.hub import augreg_index, model_hub, released

FILE = "folder.py"
SCRATCH = "scratch-"
OPTIONS = {"size": int, "epochs": float, "batch": int, "rate": float,
           "val": float}
USAGE = "expected configs/folder.py:MODEL,PATH, such as b16,birds"


def get_config(arg: str = "") -> ConfigDict:
  """Returns the recipe for a model and data; see the module for `arg`."""
  model, path, options = split_argument(arg)
  scratch = model.startswith(SCRATCH)
  config = default_config()
  if scratch:
    config.model.variant = str(names.parse(model.removeprefix(SCRATCH)))
    config.optim.update(name="adam", learning_rate=1e-3, weight_decay=0.1)
  else:
    config.init.path, config.model.dropout = start_weights(model)
    config.data.image_size = None
    config.optim.update(name="sgd", momentum=0.9, learning_rate=0.01)
  config.optim.update(schedule="cosine", warmup_share=0.1, clip_norm=1.0)
  if "rate" in options:
    config.optim.learning_rate = options["rate"]
  if "size" in options:
    config.data.image_size = options["size"]

  train, evals, count = choose_splits(path, options.get("val"))
  batch = batch_size(count, options.get("batch"))
  config.data.update(
      source=path, split=train, batch_size=batch,
      preprocess="inception_crop({size})|flip_lr")
  for name, split in evals.items():
    config.evals[name] = eval_config(
        split=split, preprocess="resize({size})", at_end=name == "test")
  epoch = max(1, round(count / batch))
  config.train.update(
      epochs=options.get("epochs", 100.0 if scratch else 20.0),
      eval_every=epoch, log_every=min(epoch, 50))
  config.checkpoint.save_every = max(50, 5 * epoch)
  return config


def split_argument(arg: str) -> tuple[str, str, dict[str, float]]:
  """Returns model, path and options; the path may hold commas."""
  model, _, rest = arg.partition(",")
  parts = rest.split(",")
  options: dict[str, float] = {}
  while len(parts) > 1 and (match := re.fullmatch(
      rf"\s*({'|'.join(OPTIONS)})=(.*)", parts[-1])):
    options.setdefault(match[1], option(match[1], match[2].strip()))
    parts.pop()
  path = ",".join(parts).strip()
  if not model.strip() or not path:
    raise UsageError(
        f"configs/{FILE}: the argument {arg!r} lacks "
        f"{'PATH' if model.strip() else 'MODEL'}; {USAGE}")
  return model.strip(), path, options


def option(name: str, text: str) -> float:
  """Returns the value of an option."""
  lowest, highest = (0, 0.99) if name == "val" else (1e-9, float("inf"))
  try:
    value = OPTIONS[name](text)
  except ValueError:
    value = -1
  if not lowest <= value <= highest:
    kind = ("a share from 0 to 0.99, such as 0.2" if name == "val" else
            f"a positive number{' without a fraction' * (OPTIONS[name] is int)}"
            )
    raise UsageError(f"configs/{FILE}: {name}={text!r}; expected {kind}")
  return value


def start_weights(model: str) -> tuple[str, float]:
  """Returns init.path for a MODEL, and the dropout it is fine-tuned with."""
  local = os.path.expanduser(model)
  inside = os.path.join(local, "model.npz")
  if os.path.isfile(local) or os.path.isfile(inside):
    return (inside if os.path.isdir(local) else model), 0.0
  known = {row["name"] for row in released.released_table()}
  if ("://" in model or model_hub.is_hub_name(model)
      or model.endswith((".npz", ".safetensors"))
      or model in known or model.startswith("augreg/")
      or augreg_index.parse_filename(model)):
    return model, 0.0  # Refused, if it does not exist, where it is opened.
  released_sizes = {str(names.parse(name)): f"augreg/{name}"
                    for name in augreg_index.MODELS}
  released_sizes |= {name: f"imagenet21k/{file}"
                     for name, file in recipes.RELEASED.items()}
  try:
    variant = recipes.choose_variant(FILE, model, released_sizes)
  except UsageError:
    if not os.path.isdir(local):
      raise
    raise UsageError(
        f"configs/{FILE}: {model} holds no model.npz; expected a weights file "
        "or the --workdir of a run that has ended") from None
  return released_sizes[variant], recipes.DROPOUT.get(variant, 0.0)


def choose_splits(
    path: str, share: float | None
) -> tuple[str, dict[str, str], int]:
  """Returns what to train on, what to evaluate on, and the training images.

  Args:
    path: of the data.
    share: held out where the data have no split val; None for a fifth.
  """
  if path.startswith("vtab:"):
    raise UsageError(f"configs/{FILE}: VTAB has a recipe, configs/vtab.py")
  try:
    sizes = sources.split_sizes(path)
  except UsageError as error:
    wrong = re.search(r",\s*(\w+)=[^,]*$", path)
    raise UsageError(f"configs/{FILE}: {error}" + (
        f"; {wrong[1]} is not an option{suggest(wrong[1], OPTIONS)}: those are "
        f"{', '.join(OPTIONS)}" if wrong else "")) from None
  found = {splits.canonical_split(name) or name: name for name in sizes}
  whole = found.get("train") or found.get("all")
  if whole is None:
    raise UsageError(
        f"configs/{FILE}: {path} has no split train, but "
        f"{', '.join(sizes)}; expected one, or no splits at all")
  val, test = found.get("val") or found.get("eval"), found.get("test")
  if val and share is not None:
    raise UsageError(
        f"configs/{FILE}: val={share:g} is for data without a split for "
        f"validation, but {path} has {val!r}; leave val= out")
  evals = {"val": val, "test": test}
  train = whole
  kept = round(sizes[whole] * (1 - (0.2 if share is None else share)))
  if not val and 0 < kept < sizes[whole]:
    cut = f"{100 * (1 - (0.2 if share is None else share)):g}%"
    train, evals["val"] = f"{whole}[:{cut}]", f"{whole}[{cut}:]"
  count = sum(len(part) for _, part in splits.resolve_split(train, sizes))
  return train, {name: split for name, split in evals.items() if split}, count


def batch_size(count: int, wanted: float | None) -> int:
  """Returns the images in an update: as wanted, or else at most `count`.

  64, or the largest power of two that there are images for, which several
  devices can share; fewer than eight images are one batch.
  """
  if wanted is not None:
    return int(wanted)
  return min(64, 1 << count.bit_length() - 1) if count >= 8 else count
