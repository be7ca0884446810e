"""Writes weights in another dialect: for .npz, timm, transformers and others.

  python -m vit_jax convert runs/digits model.safetensors
  python -m vit_jax convert timm_vit.safetensors model.npz
  python -m vit_jax convert model.npz big_vision.npz --dialect=big_vision
  python -m vit_jax convert model.npz FOLDER/model.safetensors \\
      --dialect=hugging_face

SRC is anything that --checkpoint takes elsewhere. The suffix of DST decides the
kind of file, --dialect the names in it: by default those of SRC, else those of
the released files for .npz and those of timm for .safetensors. An unknown
dialect is answered with the list. Beside weights for timm and transformers
their config.json is written, so that
timm.create_model("local-dir:FOLDER", pretrained=True) and transformers'
ViTForImageClassification.from_pretrained("FOLDER") open a folder that contains
model.safetensors. A .json beside DST describes what the arrays cannot show."""

import argparse
import os

from vit_jax.cli import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("src", metavar="SRC", help="file, released name, --workdir of a run")
  add("dst", metavar="DST", help="file to write, .npz or .safetensors")
  add("--dialect", help="names of the arrays: released, linen, big_vision, "
      "timm, hugging_face, ... (default: those of SRC where DST can have them)")
  add("--num_heads", type=common.positive,
      help="attention heads, for a file of unusual width without description")
  common.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Converts and reports what was written."""
  from vit_jax.cli import opening
  from vit_jax.weights import convert, load

  located = opening.locate(args.src)
  src = (opening.read_step(located) if isinstance(located, opening.Step)
         else load.find_weights(located)[0])
  dialect = convert.convert(
      src, args.dst, args.dialect, num_heads=args.num_heads)
  size = os.path.getsize(args.dst)
  if args.json:
    common.print_json({
        "src": args.src, "dst": args.dst, "dialect": dialect, "bytes": size})
  else:
    print(f"wrote {args.dst} ({dialect}, {common.megabytes(size)})")
