"""Which images a verb looks at: files and folders, or a data set."""

import argparse
from collections.abc import Iterator
from typing import Any

from vit_jax.cli import arguments, logs
from vit_jax.errors import UsageError


def add_images(parser: arguments.Parser, *, most: int, why: str) -> None:
  """Adds --images, --source and what belongs to them.

  Args:
    parser: of the verb.
    most: default of --max_images.
    why: it is that many.
  """
  add = parser.add_argument
  add("--images", nargs="+", default=(), metavar="IMAGE",
      help="image files, and folders to search for them")
  add("--source", help="instead: digits, tfds:NAME or a folder with splits")
  add("--split", default="test", help="of the source (default: test)")
  add("--data_dir", default="", metavar="DIR",
      help="folder of image folders or prepared data sets")
  add("--max_images", type=arguments.positive, default=most, metavar="N",
      help=f"images to average over, evenly spread (default: {most}, {why})")


def check_arguments(args: argparse.Namespace) -> None:
  """Raises UsageError unless either --images or --source is given."""
  if bool(args.images) == bool(args.source):
    raise UsageError(
        "which images? pass either --images=FILE or --source=digits")


def open_images(
    args: argparse.Namespace, labels: dict[str, str]
) -> tuple[int, Iterator[tuple[str, Any]]]:
  """Returns the number of images and (name, content) of each.

  The true class of an image is added to `labels` when the image is read.

  Raises:
    DataError: a folder without images, or a data set that does not exist.
  """
  import numpy as np

  from vit_jax.data.pictures import find_images
  from vit_jax.data.sources import make_source

  if args.source:
    source = make_source(args.source, split=args.split, data_dir=args.data_dir)
    total = len(source)

    def read(i: int) -> tuple[str, Any]:
      example = source[i]
      if 0 <= example["label"] < source.num_classes:
        names, label = source.class_names, example["label"]
        labels[example["id"]] = names[label] if names else f"class {label}"
      # In a list, as an array alone could be a batch.
      return example["id"], [example["image"]]
  else:
    files = find_images(args.images)
    total = len(files)

    def read(i: int) -> tuple[str, Any]:
      return files[i], files[i]

  count = min(total, args.max_images)
  if count < total:
    logs.note(f"using {count} of the {total:,} images, evenly spread "
              "(--max_images)")
  return count, map(
      read, np.linspace(0, total - 1, count).round().astype(int).tolist())
