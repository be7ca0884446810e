"""Compares two networks layer by layer, over the same images.

  python -m vit_jax layers runs/vit runs/resnet --source=digits --out=layers
  python -m vit_jax layers imagenet21k/ViT-B_16 imagenet21k/R50+ViT-B_16 \\
      --images=holiday/ --out=layers

Writes into --out:

  layers.png   how alike the layers of either network and of both are (linear
               CKA: 1 for features that are the same up to a rotation and a
               scale, 0 for unrelated ones), and how often the place of a patch
               can be read off its feature by a linear classifier
  layers.json  the numbers

Layers are a ViT's embedded patches and the outputs of its blocks, without class
token, or the outputs of a ResNet's stages. Some hundred images are enough."""

import argparse
import json
import pathlib
from typing import TYPE_CHECKING

from vit_jax.cli import arguments, images_of, logs, output
from vit_jax.paths import to_write

if TYPE_CHECKING:
  from vit_jax.analysis.layers import Layers


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  parser.add_argument(
      "checkpoints", nargs=2, metavar="CHECKPOINT",
      help="two of what --checkpoint of other verbs takes")
  images_of.add_images(parser, most=256, why="enough for two digits")
  parser.add_argument("--out", required=True, type=to_write, metavar="DIR",
                      help="folder to write into")
  parser.add_argument("--batch_size", type=arguments.positive, default=8,
                      metavar="N", help="images at a time (default: 8)")
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Writes the files and prints the layers."""
  images_of.check_arguments(args)
  logs.starting(f"opening {' and '.join(args.checkpoints)}")
  from vit_jax.analysis import layer_plots, plots
  from vit_jax.analysis import layers as layers_of
  from vit_jax.cli import opening
  from vit_jax.devices.compilation import enable_cache
  from vit_jax.weights.formats.atomic import write_whole

  _, contents = images_of.open_images(args, {})
  images = [content for _, content in contents]
  enable_cache()
  with output.stdout_is_stderr():
    read: list[Layers] = []
    for checkpoint in args.checkpoints:
      loaded = opening.open_model(checkpoint)
      logs.starting(f"reading the layers of {checkpoint}")
      read.append(layers_of.read_layers(loaded, images, args.batch_size))
  pairs = ((0, 0), (1, 1), (0, 1))
  alike = [layers_of.similarity(read[i], read[j]) for i, j in pairs]
  places = [layers_of.place_accuracies(layers) for layers in read]
  answer = {
      "images": len(images), "checkpoints": args.checkpoints,
      "layers": [list(layers.names) for layers in read],
      "similarity": [values.tolist() for values in alike],
      "place_accuracy": [accuracies for accuracies, _ in places],
      "guessing": max(chance for _, chance in places)}
  figure = layer_plots.layers_figure(
      [_name(checkpoint) for checkpoint in args.checkpoints],
      [layers.names for layers in read], alike, answer["place_accuracy"],
      answer["guessing"])
  args.out.mkdir(parents=True, exist_ok=True)
  plots.save_png(figure, args.out / "layers.png")
  write_whole(args.out / "layers.json",
              (json.dumps(answer, indent=1) + "\n").encode())
  files = [str(args.out / name) for name in ("layers.png", "layers.json")]
  if args.json:
    output.print_json(answer | {"files": files})
    return
  _print(answer)
  print("\n".join(["", *files]))


def _name(checkpoint: str) -> str:
  """Returns what a figure calls a checkpoint."""
  return pathlib.PurePath(checkpoint.rstrip("/")).name


def _print(answer: dict) -> None:
  """Prints each layer, its like in the other network, and its places."""
  rows = []
  for number, checkpoint in enumerate(answer["checkpoints"]):
    across = answer["similarity"][2]
    if number:
      across = [list(column) for column in zip(*across, strict=True)]
    for layer, values, accuracy in zip(
        answer["layers"][number], across, answer["place_accuracy"][number],
        strict=True):
      best = max(range(len(values)), key=values.__getitem__)
      rows.append([_name(checkpoint), layer,
                   answer["layers"][1 - number][best], f"{values[best]:.2f}",
                   f"{accuracy:.0%}"])
  output.print_table(
      rows, ("network", "layer", "most like", "CKA", "place read off"),
      right=(3, 4))
  print(f"over {answer['images']} images; guessing a place: "
        f"{answer['guessing']:.1%}")
