"""Writes weights in another dialect: for .npz, timm, transformers and others.

  python -m vit_jax convert runs/quickstart model.safetensors
  python -m vit_jax convert timm_vit.safetensors model.npz
  python -m vit_jax convert model.npz big_vision.npz --dialect=big_vision
  python -m vit_jax convert model.npz FOLDER/model.safetensors \\
      --dialect=hugging_face

SRC is anything that --checkpoint of other verbs takes. The suffix of DST is its
format: .npz with the names of the released files (dialect released), of Linen
(linen) or of big_vision (big_vision); .safetensors with the names of timm
(timm) or of transformers (hugging_face), and their config.json beside it, so
that timm.create_model("local-dir:FOLDER", pretrained=True) and transformers'
ViTForImageClassification.from_pretrained("FOLDER") open a folder that holds
model.safetensors. A .json beside DST keeps what the arrays cannot show, and
README.md is a model card for the Hugging Face hub: data, recipe, scores,
licence. `hf upload OWNER/MODEL FOLDER` publishes the folder."""

import argparse
import os

from vit_jax.cli import arguments, logs, output


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("src", metavar="SRC", help="file, released name, hf:OWNER/MODEL, "
      "timm:NAME, --workdir of a run")
  add("dst", metavar="DST", type=arguments.output_path,
      help="file to write, .npz or .safetensors")
  add("--dialect", help="names of the arrays: released, linen, big_vision, "
      "timm, hugging_face, ... (default: those of SRC where DST can have them)")
  add("--head", choices=("keep", "drop"), default="keep",
      help="drop leaves the head out: features for transfer (default: keep)")
  add("--licence", metavar="ID", help="what the model card states, such as "
      "apache-2.0, mit or cc-by-nc-4.0")
  arguments.add_reading(parser)
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Converts and prints what was written."""
  logs.starting(f"opening {args.src}")
  from vit_jax.cli import opening
  from vit_jax.weights import convert, load, model_card, model_json

  place = opening.locate(args.src)
  src = (opening.read_step(place) if isinstance(place, opening.Step)
         else load.find_weights(place)[0])
  logs.starting(f"writing {args.dst}")
  dialect = convert.convert(
      src, args.dst, args.dialect, head=args.head, num_heads=args.num_heads,
      old_grid=args.old_grid, posemb=args.posemb)
  if dialect in model_card.LIBRARIES:
    model_card.write_card(
        args.dst, model_json.read_model_json(args.dst), dialect,
        config=opening.run_config(args.src), licence=args.licence)
  size = os.path.getsize(args.dst)
  if args.json:
    output.print_json({
        "src": args.src, "dst": args.dst, "dialect": dialect, "bytes": size})
  else:
    print(f"wrote {args.dst} ({dialect}, {output.megabytes(size)})")
