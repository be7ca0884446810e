"""Writes a model as one StableHLO file that runs with jax alone.

  python -m vit_jax export runs/quickstart digits.stablehlo
  python -m vit_jax export imagenet21k+imagenet2012/ViT-B_16 b16.stablehlo

The file holds network and weights, for any number of images at a time and for
CPU, GPU and TPU. Neither vit_jax nor flax is needed to use it:

  from jax import export  # needs the package flatbuffers, too
  model = export.deserialize(bytearray(open("b16.stablehlo", "rb").read()))
  logits = model.call(images)  # jax.jit(model.call) to call it often

images are uint8 (b, height, width, 3), RGB values 0..255 (scaled inside), or
with --input=float32 floats in [-1, 1]. logits are float32 (b, classes); for a
checkpoint without head they are its features. OUT.json beside it holds how to
prepare the images, and the names of the classes.

For ONNX, go through timm: `vit_jax convert model.npz model.safetensors`, then
timm's own ONNX export. The one maintained converter from jax (jax2onnx) cannot
be installed beside the Orbax that vit_jax needs."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from vit_jax.cli import arguments, logs, output
from vit_jax.errors import UserError, suggest
from vit_jax.paths import to_write

if TYPE_CHECKING:
  import jax

  from vit_jax.weights.loaded import Loaded

PLATFORMS = ("cpu", "cuda", "tpu", "rocm")
LARGEST = 2**31 - 2**20  # bytes of weights that the file format can hold


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("checkpoint", metavar="CHECKPOINT",
      help="anything that --checkpoint of other verbs takes")
  add("out", metavar="OUT", type=to_write,
      help="file to write, such as model.stablehlo")
  add("--batch", type=_batch, default=None, metavar="N",
      help="images at a time: any (default) or a number")
  add("--platforms", type=arguments.list_of(_platform), default=PLATFORMS[:3],
      metavar="P,P,...",
      help=f"among {', '.join(PLATFORMS)} (default: cpu,cuda,tpu)")
  add("--input", choices=("uint8", "float32"), default="uint8",
      help="uint8 in 0..255 (default) or float32 in [-1, 1]")
  add("--dtype", choices=("float32", "bfloat16"), default="float32",
      help="dtype of weights and computation (default: float32)")
  arguments.add_image_size(parser)
  arguments.add_fitting(parser)
  arguments.add_json(parser)


def _batch(text: str) -> int | None:
  return None if text == "any" else arguments.positive(text)


def _platform(name: str) -> str:
  if name not in PLATFORMS:
    raise argparse.ArgumentTypeError(
        f"{name!r} is not a platform{suggest(name, PLATFORMS)}; known: "
        f"{', '.join(PLATFORMS)}")
  return name


def run(args: argparse.Namespace) -> None:
  """Writes the file and its description, and prints what they are."""
  logs.starting(f"opening {args.checkpoint}")
  from vit_jax.cli import opening
  from vit_jax.weights.formats.atomic import atomic_write

  with output.stdout_is_stderr():
    loaded = opening.open_model(
        args.checkpoint, args, dtype=args.dtype,
        attention="einsum")  # Fused kernels run on one platform only.
    logs.starting(f"tracing for {', '.join(args.platforms)}")
    exported, difference = export_model(
        loaded, batch=args.batch, platforms=args.platforms,
        input_dtype=args.input)
    content = exported.serialize()
  description = describe_export(loaded, exported, args.input)
  description_file = args.out.with_suffix(".json")
  with atomic_write(args.out) as file:
    file.write(content)
  with atomic_write(description_file) as file:
    file.write((json.dumps(description, indent=2) + "\n").encode())
  if args.json:
    output.print_json({
        "file": str(args.out), "description": str(description_file),
        "bytes": len(content), "difference": difference} | description)
    return
  shape = f"{description['input']['dtype']} " + _shape(
      description["input"]["shape"])
  low, high = description["input"]["range"]
  rows = [["file", f"{args.out}, {output.megabytes(len(content))}"],
          ["input", f"{shape}, from {low} to {high}"],
          ["output", f"float32 {_shape(description['output']['shape'])}"],
          ["platforms", ", ".join(description["platforms"])],
          ["preprocessing", description["preprocess"]]]
  if difference is not None:
    rows.append(["checked", f"differs from the model by {difference:.2g}"])
  output.print_table(rows)


def export_model(
    loaded: "Loaded", *, batch: int | None, platforms: tuple[str, ...],
    input_dtype: str,
) -> "tuple[jax.export.Exported, float | None]":
  """Returns the exported network, and how far its logits are from the model's.

  Args:
    loaded: see `vit_jax.load`.
    batch: images at a time, None for any number.
    platforms: to run on. The difference is None if this machine's is not among
      them.
    input_dtype: "uint8" or "float32".

  Raises:
    UserError: the weights are too large for such a file, or the exported
      network does not agree with the model.
  """
  import jax
  import jax.numpy as jnp
  import numpy as np

  model, dtype = loaded.model, loaded.model.dtype
  params = jax.tree.map(lambda x: x.astype(dtype), loaded.params)
  size = sum(x.nbytes for x in jax.tree.leaves(params))
  if size > LARGEST:
    raise UserError(
        f"{loaded.config['source']}: {output.megabytes(size)} of weights, but "
        f"such a file holds at most {output.megabytes(LARGEST)}; "
        "--dtype=bfloat16 halves them")

  def forward(images: "jax.Array") -> "jax.Array":
    return model.apply({"params": params}, images)[0]

  height, width = loaded.config["image_size"]
  (count,) = jax.export.symbolic_shape("b" if batch is None else str(batch))
  exported = jax.export.export(jax.jit(forward), platforms=platforms)(
      jax.ShapeDtypeStruct((count, height, width, 3), jnp.dtype(input_dtype)))
  backend = jax.default_backend()
  if {"gpu": "cuda"}.get(backend, backend) not in platforms:
    return exported, None
  pixels = np.random.default_rng(0).integers(
      0, 256, (batch or 2, height, width, 3), dtype=np.uint8)
  images = pixels if input_dtype == "uint8" else (
      (pixels.astype(np.float32) - 127.5) / 127.5)
  logits = np.asarray(exported.call(images))
  expected = np.asarray(jax.jit(lambda p, x: model.apply({"params": p}, x)[0])(
      loaded.params, images))
  difference = float(np.max(np.abs(logits - expected)))
  allowed = (1e-4 if dtype == jnp.float32 else 5e-2) * (
      1 + float(np.max(np.abs(expected))))
  if not difference <= allowed:
    raise UserError(
        f"{loaded.config['source']}: the exported network differs from the "
        f"model by {difference:.3g}, more than {allowed:.3g}; nothing was "
        "written")
  return exported, difference


def describe_export(
    loaded: "Loaded", exported: "jax.export.Exported", input_dtype: str
) -> dict[str, Any]:
  """Returns the content of OUT.json."""
  return {
      "variant": loaded.model.variant_name,
      "input": {"dtype": input_dtype,
                "shape": _sides(exported.in_avals[0]),
                "range": [0, 255] if input_dtype == "uint8" else [-1, 1]},
      "output": {"dtype": "float32", "shape": _sides(exported.out_avals[0])},
      "image_size": list(loaded.config["image_size"]),
      "preprocess": loaded.config["preprocess"],
      "class_names": loaded.class_names,
      "platforms": list(exported.platforms),
      "calling_convention_version": exported.calling_convention_version}


def _sides(array: Any) -> list[int | str]:
  """Returns an array's shape for JSON; "b" stands for any number."""
  return [n if isinstance(n, int) else str(n) for n in array.shape]


def _shape(sides: list[int | str]) -> str:
  return f"({', '.join(map(str, sides))})"
