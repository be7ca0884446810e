"""Writes a model as one StableHLO file that runs with jax alone.

  python -m vit_jax export runs/digits digits.stablehlo
  python -m vit_jax export imagenet21k+imagenet2012/ViT-B_16 b16.stablehlo

The file holds network and weights, for any number of pictures at a time and
for CPU, GPU and TPU. To use it, neither vit_jax nor flax is needed:

  from jax import export  # and the package flatbuffers, which it reads with
  model = export.deserialize(bytearray(open("b16.stablehlo", "rb").read()))
  logits = model.call(pictures)  # jax.jit(model.call) to call it often

pictures are uint8 (b, height, width, 3), RGB values 0..255 (scaled inside), or
with --input=float32 floats in [-1, 1]. logits are float32 (b, classes); of a
checkpoint without head they are its features. OUT.json beside it says how the
pictures are prepared and what the classes are called.

Not ONNX: the one converter from jax that is kept up (jax2onnx) cannot be
installed beside the Orbax that vit_jax needs. By way of timm it can be had:
`vit_jax convert model.npz model.safetensors`, then timm's own ONNX export."""

import argparse
import json
import pathlib
from typing import Any

from vit_jax.cli import common
from vit_jax.errors import UserError, suggest

PLATFORMS = ("cpu", "cuda", "tpu", "rocm")
# What the file format can hold.
LARGEST = 2**31 - 2**20


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("checkpoint", metavar="CHECKPOINT",
      help="anything that --checkpoint takes elsewhere")
  add("out", metavar="OUT", type=pathlib.Path,
      help="file to write, such as model.stablehlo")
  add("--batch", type=_batch, default=None, metavar="N",
      help="pictures at a time: any (default) or a number")
  add("--platforms", type=_platforms, default=PLATFORMS[:3], metavar="P,P,...",
      help=f"of {', '.join(PLATFORMS)} (default: cpu,cuda,tpu)")
  add("--input", choices=("uint8", "float32"), default="uint8",
      help="uint8 in 0..255 (default) or float32 in [-1, 1]")
  add("--dtype", choices=("float32", "bfloat16"), default="float32",
      help="of weights and computation (default: float32)")
  common.add_image_size(parser)
  common.add_json(parser)


def _batch(text: str) -> int | None:
  return None if text == "any" else common.positive(text)


def _platforms(text: str) -> tuple[str, ...]:
  names = tuple(word.strip() for word in text.split(","))
  for name in names:
    if name not in PLATFORMS:
      raise argparse.ArgumentTypeError(
          f"{name!r} is no platform{suggest(name, PLATFORMS)}; known: "
          f"{', '.join(PLATFORMS)}")
  return names


def run(args: argparse.Namespace) -> None:
  """Writes the file and its description, and says what they are."""
  from vit_jax.cli import opening

  with common.stdout_is_stderr():
    loaded = opening.open_model(
        args.checkpoint, image_size=args.image_size, dtype=args.dtype,
        attention="einsum")  # Fused kernels are of one platform.
    exported, difference = export_model(
        loaded, batch=args.batch, platforms=args.platforms,
        input_dtype=args.input)
    content = exported.serialize()
  description = describe(loaded, exported, args.input)
  beside = args.out.with_suffix(".json")
  _write(args.out, bytes(content))
  _write(beside, (json.dumps(description, indent=2) + "\n").encode())
  said = {"file": str(args.out), "description": str(beside),
          "bytes": len(content), "difference": difference} | description
  if args.json:
    common.print_json(said)
    return
  shape = f"{description['input']['dtype']} " + _shape(
      description["input"]["shape"])
  rows = [["file", f"{args.out}, {common.megabytes(len(content))}"],
          ["input", f"{shape}, {description['input']['range']}"],
          ["output", f"float32 {_shape(description['output']['shape'])}"],
          ["platforms", ", ".join(description["platforms"])],
          ["prepare pictures by", description["preprocess"]]]
  if difference is not None:
    rows.append(["checked", f"differs from the model by {difference:.2g}"])
  common.print_table(rows)


def export_model(
    loaded: Any, *, batch: int | None, platforms: tuple[str, ...],
    input_dtype: str,
) -> tuple[Any, float | None]:
  """Returns the jax.export.Exported, and how far its answers are off.

  Args:
    loaded: see `vit_jax.load`.
    batch: pictures at a time, None for any number.
    platforms: that the file is for; it is tried out if this one is among them.
    input_dtype: "uint8" or "float32".

  Raises:
    UserError: the weights are too large for such a file, or what it answers
      is not what the model answers.
  """
  import jax
  import jax.numpy as jnp
  import numpy as np

  model, dtype = loaded.model, loaded.model.dtype
  params = jax.tree.map(lambda x: x.astype(dtype), loaded.params)
  size = sum(x.nbytes for x in jax.tree.leaves(params))
  if size > LARGEST:
    raise UserError(
        f"{loaded.config['source']}: {common.megabytes(size)} of weights, but "
        f"a file of this kind holds {common.megabytes(LARGEST)}; "
        "--dtype=bfloat16 halves them")

  def forward(images: jax.Array) -> jax.Array:
    return model.apply({"params": params}, images)[0]

  height, width = loaded.config["image_size"]
  (count,) = jax.export.symbolic_shape("b" if batch is None else str(batch))
  exported = jax.export.export(jax.jit(forward), platforms=platforms)(
      jax.ShapeDtypeStruct((count, height, width, 3), jnp.dtype(input_dtype)))
  here = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
  if here not in platforms:
    return exported, None
  images = np.random.default_rng(0).integers(
      0, 256, (batch or 2, height, width, 3), dtype=np.uint8)
  if input_dtype == "float32":
    images = ((images.astype(np.float32) - 127.5) / 127.5)
  theirs = np.asarray(exported.call(images))
  ours = np.asarray(jax.jit(lambda p, x: model.apply({"params": p}, x)[0])(
      loaded.params, images))
  difference = float(np.max(np.abs(theirs - ours)))
  allowed = (1e-4 if dtype == jnp.float32 else 5e-2) * (
      1 + float(np.max(np.abs(ours))))
  if not difference <= allowed:
    raise UserError(
        f"{loaded.config['source']}: the exported network differs from the "
        f"model by {difference:.3g}, more than {allowed:.3g}; nothing was "
        "written")
  return exported, difference


def describe(loaded: Any, exported: Any, input_dtype: str) -> dict[str, Any]:
  """Returns what OUT.json says."""
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
  """Returns an array's shape; "b" stands for any number."""
  return [n if isinstance(n, int) else str(n) for n in array.shape]


def _shape(sides: list[int | str]) -> str:
  return f"({', '.join(map(str, sides))})"


def _write(path: pathlib.Path, content: bytes) -> None:
  """Writes a file whole or not at all."""
  temporary = path.with_name(path.name + ".part")
  temporary.write_bytes(content)
  temporary.replace(path)
