"""Writes what a network computes of images, such as the input of its head.

  python -m vit_jax features --checkpoint=imagenet21k/ViT-B_16 holiday/ \\
      --out=holiday.npz
  python -m vit_jax features --checkpoint=runs/quickstart --source=digits \\
      --split=train --out=digits.npz --at=cls

The file has the arrays "names" (of the images), "labels" (int32, -1 where there
is none), "features" (float32, a row for each image), and for --source also
"class_names". numpy.load("holiday.npz")["features"] reads one of them.

IMAGEs are files and folders, as for `predict`; --source is a data set with
labels, as for `evaluate`, such as a folder of class folders. An image that
cannot be read is named on standard error and left out, and the exit code is 1.
--at is one of

  pooled         the input of the head, (images, width)
  cls            the class token after the last block, (images, width)
  patches        the patches there, (images, rows, columns, width)
  probabilities  of the classes
  NAME           an intermediate result: embedded, block3, attention3, encoded,
                 logits, and stage2 of a ResNet

In Python the same is vit_jax.load(CHECKPOINT).features(IMAGES, at=...)."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from vit_jax.cli import arguments, logs, output
from vit_jax.errors import DataError, UsageError
from vit_jax.paths import to_write

if TYPE_CHECKING:
  import numpy as np

  from vit_jax.weights.loaded import Loaded

UNLABELLED = -1


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("images", nargs="*", metavar="IMAGE",
      help="image files, and folders to search for them")
  arguments.add_checkpoint(parser)
  add("--out", required=True, metavar="FILE.npz", type=to_write,
      help="file to write")
  add("--source", help="instead of IMAGEs: digits, tfds:NAME, idx:FOLDER, "
      "shards:PATTERN or a folder of class folders")
  add("--split", default="all", help="of --source, such as train or test "
      "(default: all, which folders and shards have)")
  add("--data_dir", default="", metavar="DIR",
      help="folder of image folders or prepared data sets")
  add("--at", default="pooled", metavar="NAME",
      help="what to write (default: pooled)")
  arguments.add_preprocess(parser)
  arguments.add_batch_size(parser)
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
  """Writes the file; returns 1 if an image could not be read."""
  if bool(args.images) == bool(args.source):
    raise UsageError("give either images or --source=..., not "
                     + ("both" if args.images else "neither"))
  if args.out.suffix != ".npz":
    raise UsageError(f"--out={args.out}: a name that ends in .npz is expected")
  logs.starting(f"opening {args.checkpoint}")
  from vit_jax.cli import opening
  from vit_jax.devices.compilation import enable_cache
  from vit_jax.weights.formats.npz import write_npz

  enable_cache()
  with output.stdout_is_stderr():
    loaded = opening.open_model(args.checkpoint, args)
    arrays, errors = extract(
        loaded, args.at, images=args.images, source=args.source,
        split=args.split, data_dir=args.data_dir, batch_size=args.batch_size)
  for error in errors:
    print(f"vit_jax: error: {error}", file=sys.stderr)
  write_npz(args.out, arrays)
  shape = arrays["features"].shape
  if args.json:
    output.print_json({
        "out": str(args.out), "at": args.at, "images": shape[0],
        "shape": shape, "errors": errors})
  else:
    print(f"wrote {args.out}: {args.at} of {shape[0]:,} images, each "
          f"{output.by(shape[1:])}")
  if errors:
    logs.note(f"{len(errors)} of {shape[0] + len(errors)} images could not be "
              "read")
  return 1 if errors else 0


def extract(
    loaded: "Loaded", at: str, *, images: list[str], source: str | None,
    split: str, data_dir: str, batch_size: int,
) -> "tuple[dict[str, np.ndarray], list[str]]":
  """Returns the arrays of the file, and a line for each broken image.

  Args:
    loaded: see `vit_jax.load`.
    at: see `vit_jax.models.features`.
    images: files and folders; or else
    source, split, data_dir: a data set, see `vit_jax.data.sources`.
    batch_size: images at a time.

  Raises:
    DataError: no image can be read.
  """
  import numpy as np

  from vit_jax.data.pictures import Picture, find_images
  from vit_jax.data.sources import make_source

  arrays: dict[str, np.ndarray] = {}
  if source:
    data = make_source(source, split=split, data_dir=data_dir)
    items: list[Any] = list(range(len(data)))
    if data.class_names:
      arrays["class_names"] = np.array(data.class_names)
  else:
    items = find_images(images)
  about: dict[Any, tuple[str, int]] = {}  # Name and label.

  def read(item: Any) -> "np.ndarray":
    picture, label = Picture(item, item), UNLABELLED
    if source:
      example = data[item]
      picture = Picture(example["id"], example["image"])
      label = example["label"]
    about[item] = picture.name, label
    return loaded.preprocess.one(picture)

  features, found, errors = [], [], []
  for item, row in loaded.rows(items, at, read, batch_size=batch_size):
    if isinstance(row, DataError):
      errors.append(str(row))
    else:
      features.append(row)
      found.append(about[item])
  if not features:
    raise DataError("no image could be read; the first: " + errors[0])
  return arrays | {
      "names": np.array([name for name, _ in found]),
      "labels": np.array([label for _, label in found], np.int32),
      "features": np.stack(features)}, errors
