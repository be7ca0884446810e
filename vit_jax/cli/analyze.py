"""Shows what a network has learned: filters, positions, attention.

  python -m vit_jax analyze --checkpoint=runs/quickstart --source=digits \\
      --out=runs/quickstart/analysis
  python -m vit_jax analyze --checkpoint=augreg/B_16-224 \\
      --images=holiday/ --out=looks

Writes into --out:

  attention.html  pick an image, a layer, a head and a patch, and see what it
                  attends to; one file, opens in any browser without a server
  learned.png     the paper's figure 7: principal components of the embedding
                  filters, similarity of position embeddings, attention
                  distance; each also alone: filters.png (a hybrid's first
                  convolution), position_similarity.png (also figure 10),
                  attention_distance.png (also figure 11)
  rollout.png     attention rollout over the images (figures 6 and 14)
  analysis.npz    the numbers behind them: attention_distance (layers, heads)
                  in pixels, attention_distance_by_picture, rollout (images,
                  rows, columns), filter_components, filter_variance,
                  position_similarity (rows, columns, rows, columns), ...

An image that cannot be read is named on standard error, the others are
analysed, and the exit code is 1."""

import argparse
from collections.abc import Iterable, Iterator
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from vit_jax.cli import arguments, images_of, logs, output
from vit_jax.paths import to_write

if TYPE_CHECKING:
  import numpy as np
  import tqdm


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  arguments.add_checkpoint(parser)
  images_of.add_images(parser, most=128, why="as in the paper")
  add("--out", required=True, type=to_write, metavar="DIR",
      help="folder to write into")
  add("--page_megabytes", type=arguments.positive, default=32, metavar="N",
      help="size of the page: to stay below it, fewer images, then fewer "
      "layers are shown (default: 32)")
  arguments.add_preprocess(parser)
  add("--batch_size", type=arguments.positive, default=8, metavar="N",
      help="images at a time (default: 8)")
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
  """Writes the files; returns 1 if an image could not be read."""
  images_of.check_arguments(args)
  logs.starting(f"opening {args.checkpoint}")
  from vit_jax.analysis import analyze
  from vit_jax.cli import opening
  from vit_jax.devices.compilation import enable_cache

  labels: dict[str, str] = {}
  count, contents = images_of.open_images(args, labels)
  enable_cache()
  with output.stdout_is_stderr():
    loaded = opening.open_model(args.checkpoint, args)
    with logs.bar(count, "reading attention") as bar:
      analysis = analyze.analyze_images(
          loaded, _counted(contents, bar), min(args.batch_size, count))
    logs.starting("drawing the figures and the page")
    written = analyze.write_analysis(
        analysis, args.out, name=_name(args.checkpoint),
        megabytes=args.page_megabytes, labels=labels)
  for sentence in written["left_out"]:
    logs.note(sentence)
  for _, error in analysis.errors:
    print(f"vit_jax: error: {error}", file=sys.stderr)
  if analysis.errors:
    logs.note(f"{len(analysis.errors)} of {count} images could not be read")
  distance = analysis.distance.mean(axis=0)
  if args.json:
    output.print_json({
        "checkpoint": args.checkpoint, "images": len(analysis.names),
        "attention_distance": distance.tolist(),
        "errors": [{"file": f, "error": e} for f, e in analysis.errors]
    } | written)
  else:
    _print_distances(distance, len(analysis.names))
    print("\n".join(["", *written["files"]]))
  return 1 if analysis.errors else 0


def _counted(
    contents: Iterable[tuple[str, Any]], bar: "tqdm.tqdm"
) -> Iterator[tuple[str, Any]]:
  """Yields the contents; the bar counts those that have been taken."""
  for content in contents:
    yield content
    bar.update()


def _name(checkpoint: str) -> str:
  """Returns a checkpoint's short name: its file, or the folder of its run."""
  path = pathlib.PurePath(checkpoint.rstrip("/"))
  if path.name == "model.npz" and path.parent.name:
    return path.parent.name
  return path.name.removesuffix(".npz").removesuffix(".safetensors")


def _print_distances(distance: "np.ndarray", count: int) -> None:
  """Prints the attention distances (layers, heads) of each layer."""
  output.print_table(
      [[f"{i}", f"{heads.min():.1f}", f"{heads.mean():.1f}",
        f"{heads.max():.1f}"] for i, heads in enumerate(distance)],
      ["layer", "nearest head", "mean", "farthest head"], right=(0, 1, 2, 3))
  print(f"mean attention distance in pixels, over {count} images")
