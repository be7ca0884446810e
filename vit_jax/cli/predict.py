"""Classifies images: the most probable classes of each.

  python -m vit_jax predict --checkpoint=runs/quickstart digit.png
  python -m vit_jax predict --checkpoint=augreg/R_Ti_16-224 holiday/ cat.jpg
  python -m vit_jax predict --checkpoint=model.npz --json images/ > out.json

Takes files of any image format, and folders with everything below them. A file
that cannot be read is named on standard error, the others are classified, and
the exit code is 1. A checkpoint for several labels of an image gives each class
a probability of its own, which do not sum to one. With --json the object has
"predictions" (file, classes: label, name, probability) and "errors" (file,
error). In Python the same is vit_jax.load(CHECKPOINT).predict(IMAGES)."""

import argparse
from collections.abc import Iterator, Sequence
import sys
from typing import TYPE_CHECKING, Any

from vit_jax.cli import arguments, logs, output
from vit_jax.errors import DataError, UsageError, visible

if TYPE_CHECKING:
  from vit_jax.weights.loaded import Loaded

Prediction = dict[str, Any]  # label, name, probability


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("images", nargs="+", metavar="IMAGE",
      help="image files, and folders to search for them")
  arguments.add_checkpoint(parser)
  add("--top_k", type=arguments.positive, default=5, metavar="N",
      help="classes to show (default: 5)")
  arguments.add_preprocess(parser)
  arguments.add_flip(parser)
  arguments.add_batch_size(parser)
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
  """Prints the predictions; returns 1 if an image could not be read."""
  logs.starting(f"opening {args.checkpoint}")
  from vit_jax.cli import opening
  from vit_jax.data.pictures import find_images
  from vit_jax.devices.compilation import enable_cache

  files = find_images(args.images)
  enable_cache()
  with output.stdout_is_stderr():
    loaded = opening.open_model(args.checkpoint, args)
  if not loaded.model.num_classes:
    raise UsageError(
        f"{args.checkpoint} has no head: fine-tune it first "
        "(--config.init.path), or use its features (python -m vit_jax "
        "features)")
  loaded.check_has_choice()
  predictions, errors = [], []
  with logs.bar(len(files), "predicting") as bar:
    for file, result in predict(
        loaded, files, args.batch_size, args.top_k, flip=args.flip):
      bar.update()
      if isinstance(result, DataError):
        errors.append({"file": file, "error": str(result)})
        with logs.above_bars():
          print(f"vit_jax: error: {result}", file=sys.stderr)
        continue
      predictions.append({"file": file, "classes": result})
      if not args.json:
        with logs.above_bars():
          _print_classes(file, result)
  head_is_zero = loaded.config["report"].head_is_zero
  if args.json:
    output.print_json({
        "checkpoint": args.checkpoint, "predictions": predictions,
        "errors": errors, "head_is_zero": head_is_zero})
  if head_is_zero:
    logs.note(
        "WARNING: the head of this checkpoint is all zeros, as in files made "
        "for fine-tuning: every class has the same probability, and the "
        "predictions above mean NOTHING")
  if errors:
    logs.note(f"{len(errors)} of {len(files)} images could not be read")
  return 1 if errors else 0


def _print_classes(file: str, classes: Sequence[Prediction]) -> None:
  print(visible(file))
  for prediction in classes:
    print(f"  {prediction['probability']:7.2%}  {visible(prediction['name'])}",
          flush=True)


def predict(
    loaded: "Loaded", files: Sequence[str], batch_size: int, top_k: int, *,
    flip: bool = False,
) -> Iterator[tuple[str, list[Prediction] | DataError]]:
  """Yields (file, classes) in order, or the error of a broken file.

  Args:
    loaded: see `vit_jax.load`.
    files: paths of images.
    batch_size: images at a time.
    top_k: classes to return, most probable first.
    flip: see `vit_jax.models.predict.logits_of`.
  """
  from vit_jax.data.pictures import Picture
  from vit_jax.weights.loaded import top_classes

  rows = loaded.rows([Picture(file, file) for file in files], "probabilities",
                     batch_size=batch_size, progress=False, flip=flip)
  for picture, row in rows:
    yield picture.name, row if isinstance(row, DataError) else [
        {"label": label, "name": loaded.class_name(label),
         "probability": float(row[label])}
        for label in top_classes(row, top_k)]
