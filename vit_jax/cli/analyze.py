"""Shows what a network has learned: filters, positions, where it looks.

  python -m vit_jax analyze --checkpoint=runs/digits --source=digits \\
      --out=runs/digits/analysis
  python -m vit_jax analyze --checkpoint=augreg/B_16-224 \\
      --images=holiday/ --out=looks

Writes into --out:

  attention.html  pick a picture, a layer, a head and a patch, and see where it
                  looks; one file, opens in any browser without a server
  learned.png     the paper's figure 7: principal components of the embedding
                  filters, similarity of position embeddings, attention
                  distance; each alone, too: filters.png (of a hybrid's first
                  convolution), position_similarity.png (also figure 10),
                  attention_distance.png (also figure 11)
  rollout.png     attention rollout over the pictures (figures 6 and 14)
  analysis.npz    the numbers behind them: attention_distance (layers, heads)
                  in pixels, attention_distance_by_picture, rollout (pictures,
                  rows, columns), filter_components, filter_variance,
                  position_similarity (rows, columns, rows, columns), ...

A picture that cannot be read is named on standard error, the others are
analysed, and the exit code is 1."""

import argparse
from collections.abc import Iterator
import pathlib
import sys
from typing import Any

from vit_jax.cli import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  common.add_checkpoint(parser)
  add("--images", nargs="+", default=(), metavar="PICTURE",
      help="picture files, and folders that are searched for them")
  add("--source", help="instead: digits, tfds:NAME or a folder with splits")
  add("--split", default="test", help="of the source (default: test)")
  add("--data_dir", default="", help="where folders or prepared data sets lie")
  add("--out", required=True, type=pathlib.Path, metavar="DIR",
      help="folder to write into")
  add("--max_images", type=common.positive, default=128, metavar="N",
      help="pictures to average over, evenly spread (default: 128, as in the "
      "paper)")
  add("--page_megabytes", type=common.positive, default=32, metavar="N",
      help="how large the page may become: fewer pictures, then fewer layers "
      "are on it (default: 32)")
  add("--preprocess", help="such as 'resize_small(448)|central_crop({size})' "
      "(default: what is stored with the checkpoint)")
  common.add_image_size(parser)
  add("--batch_size", type=common.positive, default=8,
      help="pictures at a time (default: 8)")
  common.add_json(parser)


def run(args: argparse.Namespace) -> int:
  """Writes everything; returns 1 if a picture could not be read."""
  from vit_jax.analysis import analyze
  from vit_jax.cli import opening
  from vit_jax.devices.compilation import enable_cache
  from vit_jax.models.vit import VisionTransformer

  count, pictures = find(args)
  enable_cache()
  with common.stdout_is_stderr():
    loaded = opening.open_model(
        args.checkpoint, image_size=args.image_size,
        preprocess=args.preprocess)
    common.refuse(
        not isinstance(loaded.model, VisionTransformer),
        f"{args.checkpoint} is a ResNet: it has no attention and no positions "
        "to show; give a ViT or a hybrid")
    seen = analyze.look(loaded, pictures, min(args.batch_size, count))
    wrote = analyze.write(
        loaded, seen, args.out, name=_name(args.checkpoint),
        megabytes=args.page_megabytes)
  for sentence in wrote["left_out"]:
    common.note(sentence)
  for _, error in seen.errors:
    print(f"vit_jax: error: {error}", file=sys.stderr)
  if seen.errors:
    common.note(f"{len(seen.errors)} of {count} pictures could not be read")
  far = seen.distance.mean(axis=0)
  if args.json:
    common.print_json({
        "checkpoint": args.checkpoint, "images": len(seen.names),
        "attention_distance": far.tolist(),
        "errors": [{"file": f, "error": e} for f, e in seen.errors]} | wrote)
  else:
    _print(args, len(seen.names), far, wrote["files"])
  return 1 if seen.errors else 0


def find(args: argparse.Namespace) -> tuple[int, Iterator[tuple[str, Any]]]:
  """Returns the number of pictures and (name, content) of each.

  Raises:
    DataError: a folder without pictures, or a data set that is not there.
    UsageError: neither or both of --images and --source.
  """
  import numpy as np

  from vit_jax.cli.predict import find_pictures
  from vit_jax.data.sources import make_source

  common.refuse(
      bool(args.images) == bool(args.source), "say which pictures: either "
      "--images=FILE or --source=digits")
  source = files = None
  if args.source:
    source = make_source(args.source, split=args.split, data_dir=args.data_dir)
  else:
    files = find_pictures(args.images)
  there = len(files or source)
  count = min(there, args.max_images)
  if count < there:
    common.note(f"{count} of the {there:,} pictures are taken, evenly spread "
                "(--max_images)")
  chosen = [int(i) for i in np.linspace(0, there - 1, count).round()]

  def read() -> Iterator[tuple[str, Any]]:
    for i in chosen:
      if source is None:
        yield files[i], files[i]
      else:
        example = source[i]
        # A list, as an array alone could be meant as a batch.
        yield example["id"], [example["image"]]

  return count, read()


def _name(checkpoint: str) -> str:
  """Returns what to call a checkpoint: its file, or its run's folder."""
  path = pathlib.PurePath(checkpoint.rstrip("/"))
  if path.name == "model.npz" and path.parent.name:
    return path.parent.name
  return path.name.removesuffix(".npz").removesuffix(".safetensors")


def _print(
    args: argparse.Namespace, count: int, far: Any, files: list[str]
) -> None:
  """Prints what the first and the last layer do, and what was written."""
  layers = len(far)
  common.print_table(
      [[f"{i}", f"{far[i].min():.1f}", f"{far[i].mean():.1f}",
        f"{far[i].max():.1f}"] for i in range(layers)],
      ["layer", "nearest head", "mean", "farthest head"], right=(0, 1, 2, 3))
  print(f"mean attention distance in pixels, over {count} pictures\n")
  for file in files:
    print(file)
