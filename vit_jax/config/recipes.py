"""What the files in configs/ share: their arguments, and the data sets.

A config is called as configs/FILE.py:ARG, and get_config(ARG) gets the text
after the colon, such as "b16,cifar10".
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses

from ml_collections import ConfigDict

from vit_jax.config.schema import default_config, eval_config
from vit_jax.data.sources import vtab
from vit_jax.errors import UsageError, suggest
from vit_jax.models import names
from vit_jax.models.variants import network_type


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A data set of the paper, as prepared by TFDS.

  Attributes:
    source: see `vit_jax.data.sources.make_source`.
    classes: number of labels.
    train: split to train on while choosing the rate: `full` without `dev`.
    full: split of all training examples.
    dev: split held out to choose the rate (paper, appendix B.1.1).
    test: split whose score is reported.
    examples: size of `full`.
    table_4: steps, warm-up steps and base rate of fine-tuning as in Table 4 of
      the paper, see configs/vit.py; None where it is not fine-tuned on.
    augreg: steps and warm-up steps of fine-tuning as in AugReg, Table 4, see
      configs/augreg.py.
  """

  source: str
  classes: int
  train: str
  full: str
  dev: str
  test: str
  examples: int
  table_4: tuple[int, int, float] | None = None
  augreg: tuple[int, int] | None = None


# Splits and sizes: paper, section 4.1 and appendix B.1.1; big_vision's
# transfer config for how TFDS calls them, 51,200 images of ImageNet-21k
# being its validation set. JFT-300M: BiT, section 3 (it is Google's own).
DATASETS = {
    "imagenet2012": Dataset(
        "tfds:imagenet2012", 1000, "train[:99%]", "train", "train[99%:]",
        "validation", 1_281_167, (20_000, 500, 0.03), (20_000, 500)),
    "imagenet21k": Dataset(
        "tfds:imagenet21k", 21_843, "full[51200:]", "full[51200:]",
        "full[:51200]", "full[:51200]", 14_145_922),
    "jft300m": Dataset(
        "tfds:jft300m", 18_291, "train", "train", "validation", "validation",
        303_000_000),
    "cifar10": Dataset(
        "tfds:cifar10", 10, "train[:98%]", "train", "train[98%:]", "test",
        50_000, (10_000, 500, 0.03), (10_000, 500)),
    "cifar100": Dataset(
        "tfds:cifar100", 100, "train[:98%]", "train", "train[98%:]", "test",
        50_000, (10_000, 500, 0.03), (10_000, 500)),
    "oxford_iiit_pet": Dataset(
        "tfds:oxford_iiit_pet", 37, "train[:90%]", "train", "train[90%:]",
        "test", 3_680, (500, 100, 0.003), (2_500, 200)),
    "oxford_flowers102": Dataset(
        "tfds:oxford_flowers102", 102, "train[:90%]", "train", "train[90%:]",
        "test", 1_020, (500, 100, 0.003), (2_500, 200)),
    # Not in the papers: the schedules are those of CIFAR, which is of its size.
    "food101": Dataset(
        "tfds:food101", 101, "train[:98%]", "train", "train[98%:]",
        "validation", 75_750, (10_000, 500, 0.003), (10_000, 500)),
}
# Those that there are recipes to fine-tune on, by the schedule.
TABLE_4 = {name: dataset.table_4 for name, dataset in DATASETS.items()
           if dataset.table_4}
AUGREG = {name: dataset.augreg for name, dataset in DATASETS.items()
          if dataset.augreg}
_CLASSES = {dataset.source: dataset.classes for dataset in DATASETS.values()}
_CLASSES |= {f"tfds:imagenette/{size}-v2": 10 for size in ("160px", "320px")}
# Short forms, as the paper writes them and as people type them.
DATASET_ALIASES = {
    "imagenet": "imagenet2012", "i1k": "imagenet2012", "i21k": "imagenet21k",
    "jft": "jft300m", "pets": "oxford_iiit_pet", "pet": "oxford_iiit_pet",
    "flowers": "oxford_flowers102", "flowers102": "oxford_flowers102",
}

# The released file of each model, under imagenet21k/, and the dropout that
# google-research/vision_transformer fine-tunes it with.
RELEASED = {
    "B/8": "ViT-B_8", "B/16": "ViT-B_16", "B/32": "ViT-B_32",
    "L/16": "ViT-L_16", "L/32": "ViT-L_32", "H/14": "ViT-H_14",
    "R50+B/16": "R50+ViT-B_16", "R26+B/32": "R26+ViT-B_32",
    "R50+L/32": "R50+ViT-L_32",
}
DROPOUT = {"L/16": 0.1, "H/14": 0.1, "R50+B/16": 0.1, "R50+L/32": 0.1}


def published_classes(source: str) -> int | None:
  """Returns the number of classes of a recipe's data without opening them.

  Args:
    source: value of config.data.source.

  Returns:
    None for data that no recipe names.
  """
  task = vtab.TASKS.get(source.removeprefix("vtab:"))
  if task and source.startswith("vtab:"):
    return task.classes
  return _CLASSES.get(source)


def split_arg(file: str, arg: str, defaults: Sequence[str],
              more: Iterable[str] = ()) -> list[str]:
  """Splits a config's argument at its commas; missing parts are defaults.

  Args:
    file: of the config, for messages.
    arg: the text after the colon, "" for none.
    defaults: one per position.
    more: words that may follow the positions, in any order.

  Returns:
    One text per position, then the words that followed.

  Raises:
    UsageError: a part beyond the positions that is not among `more`.
  """
  parts = [part.strip() for part in arg.split(",")] if arg.strip() else []
  fixed, rest = parts[:len(defaults)], parts[len(defaults):]
  for word in rest:
    choose(file, "option", word, more)
  filled = [*fixed, *[""] * (len(defaults) - len(fixed))]
  return [part or default
          for part, default in zip(filled, defaults, strict=True)] + rest


def choose(file: str, what: str, value: str, known: Iterable[str]) -> str:
  """Returns `value`; UsageError, with the known values, for others."""
  known = list(known)
  if value in known:
    return value
  listing = f"known: {', '.join(known)}" if known else "there is none"
  raise UsageError(
      f"configs/{file}: {what} {value!r} is unknown{suggest(value, known)}; "
      f"{listing}")


def choose_dataset(file: str, name: str, known: Iterable[str]) -> str:
  """Returns the full name of a data set, which may be short, such as "pets"."""
  return choose(file, "data set", DATASET_ALIASES.get(name, name), known)


def choose_variant(file: str, name: str, known: Iterable[str]) -> str:
  """Returns the model of `known` that `name` means, in any spelling.

  "B/16", "b16" and "ViT-B_16" are one model; see `vit_jax.models.names`.
  """
  known = list(known)
  try:
    sizes = names.parse(name).sizes
  except UsageError:
    return choose(file, "model", name, known)
  for variant in known:
    if names.parse(variant).sizes == sizes:
      return variant
  return choose(file, "model", name, known)


def use_released(config: ConfigDict, variant: str) -> None:
  """Fills in what all fine-tuning of released models shares (Table 4).

  SGD with momentum 0.9, batch 512, cosine decay, no weight decay, clipping at
  norm 1, 384x384 (H/14: 378x378, the 27x27 patches that fit into 384).

  Args:
    config: changed in place.
    variant: one of RELEASED.
  """
  config.model.update(variant=variant, dropout=DROPOUT.get(variant, 0.0))
  config.init.path = f"imagenet21k/{RELEASED[variant]}"
  config.data.update(
      image_size=378 if variant == "H/14" else 384, batch_size=512)
  config.optim.update(
      name="sgd", schedule="cosine", momentum=0.9, clip_norm=1.0)


def use_dataset(config: ConfigDict, name: str, *, full: bool,
                train: str, evaluation: str) -> None:
  """Fills in data and evals: trains on `name`, evaluates on dev and test.

  model.num_classes is left open, so that the classes are those of the data,
  also of data that --config.data.source puts in the place of these.

  Args:
    config: changed in place.
    name: key of DATASETS.
    full: train on every training example, as for a reported score; otherwise
      the dev split is held out and evaluated.
    train: preprocessing for training.
    evaluation: preprocessing for evaluation.
  """
  dataset = DATASETS[name]
  config.data.update(
      source=dataset.source, split=dataset.full if full else dataset.train,
      preprocess=train)
  splits: Mapping[str, str] = {"test": dataset.test}
  if not full and dataset.dev != dataset.test:
    splits = {"dev": dataset.dev, **splits}
  for key, split in splits.items():
    config.evals[key] = eval_config(split=split, preprocess=evaluation)


def use_jft(config: ConfigDict, variant: str, *, learning_rate: float) -> None:
  """Fills in pre-training on JFT-300M for 7 epochs, as most of Table 3.

  Evaluated by the linear 5-shot probe on ImageNet, as in the paper's
  appendix D. --config.data.source replaces JFT by any data set.

  Args:
    config: changed in place.
    variant: of the model.
    learning_rate: base rate; 8e-4 for B/16 and B/32.
  """
  dataset = DATASETS["jft300m"]
  config.model.update(
      variant=variant, head_bias_init=-10.0,
      pre_logits="pre_logits" in network_type(variant).options)
  config.data.update(
      source=dataset.source, split=dataset.train, image_size=224,
      batch_size=4096, preprocess="inception_crop({size})|flip_lr")
  config.objective.loss = "sigmoid"
  config.optim.update(
      name="adam", learning_rate=learning_rate, schedule="linear",
      warmup_steps=10_000, weight_decay=0.1)
  config.evals.fewshot = eval_config(
      type="fewshot", source="tfds:imagenet2012", split="validation",
      train_split="train[:65000]", shots=(5,),
      preprocess="resize(256)|central_crop({size})")  # As big_vision's probe.
  config.train.update(
      steps=round(7 * dataset.examples / 4096), eval_every=50_000,
      log_every=100)


# Small data that studies can run on, on two cores: the digits that come with
# scikit-learn, and Debian's dataset-fashion-mnist.
SMALL = ("digits", "fashion_mnist")
# Updates of all studies on Fashion-MNIST: about two minutes of one core.
FASHION_STEPS = 1200


def use_small(
    config: ConfigDict, ground: str, *, steps: int, resnet: str = ""
) -> None:
  """Fills in a study's small form: a small network on small data.

  On the digits, 1,258 pictures, it takes minutes and shows that a study runs.
  Fashion-MNIST has 54,000 and 6,000 held out; a score of 85 % on its 10,000
  test pictures has a standard error of 0.36 points.

  Args:
    config: changed in place.
    ground: one of SMALL.
    steps: updates on the digits; on Fashion-MNIST FASHION_STEPS.
    resnet: a baseline such as "R14x1" instead of a small ViT.
  """
  digits = ground == "digits"
  steps = steps if digits else FASHION_STEPS
  config.model.update(
      variant="Ti/16", patch_size=4, width=64, depth=4 if digits else 2,
      mlp_dim=128, num_heads=4)
  config.data.batch_size = 64
  if digits:
    config.data.update(
        source="digits", image_size=16,
        preprocess="resize({size})|random_crop({size}, 1)")
    config.evals.val = eval_config(split="val")
  else:
    config.data.update(
        source="idx:/usr/share/datasets/fashion-mnist", image_size=28,
        split="train[:90%]", preprocess="random_crop({size}, 2)|flip_lr")
    config.evals.val = eval_config(split="train[90%:]")
  config.evals.test = eval_config(split="test")
  if resnet:
    config.model = default_config().model
    config.model.variant = resnet
  config.optim.update(
      name="adam", learning_rate=2e-3, warmup_steps=50, weight_decay=0.1,
      clip_norm=1.0)
  config.train.update(
      steps=steps, eval_every=max(1, steps // 4), log_every=50, report=False)
  config.checkpoint.save_every = steps
