"""Says what is on pictures: the most probable classes of each.

  python -m vit_jax predict --checkpoint=runs/digits digit.png
  python -m vit_jax predict --checkpoint=augreg/R_Ti_16-224 holiday/ cat.jpg
  python -m vit_jax predict --checkpoint=model.npz --json pictures/ > out.json

Files of any picture format, and folders with all that is below them. A file
that cannot be read is named on standard error, the others are predicted, and
the exit code is 1. With --json the object has "predictions" (file, classes:
label, name, probability) and "errors" (file, error)."""

import argparse
from collections.abc import Iterator, Sequence
import os
import sys
from typing import Any

from vit_jax.cli import common
from vit_jax.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("pictures", nargs="+", metavar="PICTURE",
      help="picture files, and folders that are searched for them")
  common.add_checkpoint(parser)
  add("--top_k", type=common.positive, default=5,
      help="classes to show (default: 5)")
  add("--preprocess", help="such as 'resize_small(448)|central_crop({size})' "
      "(default: what is stored with the checkpoint)")
  common.add_image_size(parser)
  add("--batch_size", type=common.positive, default=8,
      help="pictures at a time (default: 8)")
  common.add_json(parser)


def run(args: argparse.Namespace) -> int:
  """Prints the predictions; returns 1 if a picture could not be read."""
  from vit_jax.cli import opening
  from vit_jax.devices.compilation import enable_cache

  files = find_pictures(args.pictures)
  enable_cache()
  with common.stdout_is_stderr():
    loaded = opening.open_model(
        args.checkpoint, image_size=args.image_size,
        preprocess=args.preprocess)
  common.refuse(not loaded.model.num_classes, f"{args.checkpoint} has no head: "
                "fine-tune it first (--config.init.path)")
  predictions, errors = [], []
  for file, result in predict(loaded, files, args.batch_size, args.top_k):
    if isinstance(result, DataError):
      errors.append({"file": file, "error": str(result)})
      print(f"vit_jax: error: {result}", file=sys.stderr)
      continue
    predictions.append({"file": file, "classes": result})
    if not args.json:
      print(file)
      for guess in result:
        print(f"  {guess['probability']:7.2%}  {guess['name']}")
  zero = loaded.config["report"].head_is_zero
  if args.json:
    common.print_json({
        "checkpoint": args.checkpoint, "predictions": predictions,
        "errors": errors, "head_is_zero": zero})
  if zero:
    common.note(
        "WARNING: the head of this checkpoint is all zeros, as in files made "
        "for fine-tuning: every class has the same probability, and the "
        "predictions above mean NOTHING")
  if errors:
    common.note(f"{len(errors)} of {len(files)} pictures could not be read")
  return 1 if errors else 0


def find_pictures(paths: Sequence[str]) -> list[str]:
  """Returns the files named, and the pictures in the folders named.

  Raises:
    DataError: a folder without pictures.
  """
  from vit_jax.data.sources.folder import SUFFIXES

  files = []
  for path in paths:
    if not os.path.isdir(path):
      files.append(path)
      continue
    inside = [
        os.path.join(where, name)
        for where, folders, names in os.walk(path)
        # Sorting in place makes the walk itself go in order.
        if folders.sort() is None for name in sorted(names)
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    if not inside:
      raise DataError(f"{path}: no picture in this folder; expected files "
                      f"ending in {' '.join(SUFFIXES)}")
    files += inside
  return files


def predict(
    loaded: Any, files: Sequence[str], batch_size: int, top_k: int
) -> Iterator[tuple[str, list[dict[str, Any]] | DataError]]:
  """Yields (file, classes) in order, or the error of a broken file.

  Args:
    loaded: see `vit_jax.load`.
    files: paths of pictures.
    batch_size: the last batch is filled up, so that one compile is enough.
    top_k: classes to return, most probable first.
  """
  from concurrent import futures

  import jax
  import numpy as np

  model, count = loaded.model, min(top_k, loaded.model.num_classes)
  batch_size = min(batch_size, len(files))

  @jax.jit
  def top(params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    logits, _ = model.apply({"params": params}, images)
    return jax.lax.top_k(jax.nn.softmax(logits), count)

  def read(file: str) -> np.ndarray | DataError:
    try:
      return loaded.preprocess(file)[0]
    except DataError as error:
      return error

  with futures.ThreadPoolExecutor() as pool:
    for start in range(0, len(files), batch_size):
      names = files[start:start + batch_size]
      pictures = list(pool.map(read, names))
      images = np.zeros(
          (batch_size, *loaded.config["image_size"], 3), np.float32)
      good = [i for i, x in enumerate(pictures) if isinstance(x, np.ndarray)]
      for i in good:
        images[i] = pictures[i]
      if good:
        probabilities, labels = map(
            np.asarray, top(loaded.params, images))
      for i, file in enumerate(names):
        if i not in good:
          yield file, pictures[i]
          continue
        yield file, [
            {"label": int(label),
             "name": common.class_name(loaded.class_names, int(label)),
             "probability": float(p)}
            for p, label in zip(probabilities[i], labels[i], strict=True)]
