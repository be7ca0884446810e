"""Writes weights in another layout: .npz dialects, timm, transformers.

  python -m vit_jax convert runs/digits model.safetensors
  python -m vit_jax convert timm_vit.safetensors model.npz
  python -m vit_jax convert model.npz big_vision.npz --dialect=big_vision
  python -m vit_jax convert model.npz FOLDER/model.safetensors \\
      --dialect=hugging_face

SRC is anything that --checkpoint takes elsewhere. The suffix of DST says what
is written: .npz with the names of the released files (dialect released), of
Linen (linen) or of big_vision (big_vision); .safetensors with the names of timm
(timm) or of transformers (hugging_face), and their config.json beside it, so
that timm.create_model("local-dir:FOLDER", pretrained=True) and transformers'
ViTForImageClassification.from_pretrained("FOLDER") open a folder that holds
model.safetensors. A .json beside DST carries on what the arrays cannot show."""

import argparse
import os

from vit_jax.cli import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("src", metavar="SRC", help="file, released name, --workdir of a run")
  add("dst", metavar="DST", help="file to write, .npz or .safetensors")
  add("--dialect", help="released, linen or big_vision for .npz, timm or "
      "hugging_face for .safetensors (default: that of SRC where DST can have "
      "it, else the first)")
  add("--num_heads", type=common.positive,
      help="of a timm file of unusual width that does not say it")
  common.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Converts and says what was written."""
  from vit_jax.cli import opening
  from vit_jax.weights import convert, load

  found = opening.locate(args.src)
  src = (opening.read_step(found) if isinstance(found, opening.Step)
         else load.find(found)[0])
  dialect = convert.convert(
      src, args.dst, args.dialect, num_heads=args.num_heads)
  size = os.path.getsize(args.dst)
  if args.json:
    common.print_json({
        "src": args.src, "dst": args.dst, "dialect": dialect, "bytes": size})
  else:
    print(f"wrote {args.dst} ({dialect}, {common.megabytes(size)})")
