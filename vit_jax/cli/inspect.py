"""Shows what a checkpoint or a model is: network, parameters, cost, scores.

  python -m vit_jax inspect runs/quickstart
  python -m vit_jax inspect imagenet21k/ViT-B_16 --stats
  python -m vit_jax inspect model.safetensors --json
  python -m vit_jax inspect B/16 --num_classes=10 --config.model.qkv_bias=False
  python -m vit_jax inspect --config=configs/quickstart.py --diagram=vit.svg

The model does not run: architecture and dialect are inferred from the arrays,
the rest is read from the .json beside them. Blocks of the same shapes are shown
once; --stats shows them all, with the mean and standard deviation of every
array. Of a file that is no network of this package the arrays are listed, and
the error says what they look like.

Of a model's name or a config, nothing is loaded or trained: shown are the
network, its parameters by module, its cost, and the memory that training takes.
"""

import argparse
from collections.abc import Iterator, Mapping
import itertools
import re
from typing import TYPE_CHECKING, Any

from vit_jax.cli import arguments, inspect_network, logs, output
from vit_jax.errors import CheckpointError, UsageError

if TYPE_CHECKING:
  from vit_jax.models.network import Network
  from vit_jax.weights.read import WeightsFile

_BLOCKS = "Transformer/encoderblock_"
# From the image to the head.
_DATA_FLOW = (
    r"(conv|gn)_root|root_block", r"block\d", "group_norm", "embedding", "cls",
    "registers", "Transformer/posemb", "Transformer/pre_norm", _BLOCKS,
    "Transformer/", "MAPHead", "pooled_norm", "pre_logits", "head")


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("file", metavar="FILE", nargs="?",
      help=".npz or .safetensors file, released name, hf:OWNER/MODEL, "
      "timm:NAME, URL, --workdir of a run, or one of its checkpoints/STEP; "
      "or a model's name such as B/16 or R50+B/16")
  add("--checkpoint", metavar="FILE", help="the same, under the name that "
      "other verbs use")
  add("--stats", action="store_true",
      help="show mean and standard deviation of every array")
  arguments.add_config(parser)
  add("--num_classes", type=arguments.positive, metavar="N",
      help="of a name (default: 1000) or a config whose data are not here")
  add("--batch_size", type=arguments.positive, metavar="N",
      help="whose activations are counted (default: the config's)")
  add("--diagram", metavar="FILE.svg", type=_svg_path,
      help="of a name or a config: also draw the network")
  arguments.add_reading(parser)
  arguments.add_json(parser)


def _svg_path(text: str) -> str:
  if not text.endswith(".svg"):
    raise argparse.ArgumentTypeError(f"{text!r}: the drawing is an .svg file")
  return arguments.output_path(text)


def run(args: argparse.Namespace) -> None:
  """Prints the facts."""
  has_config = inspect_network.has_config(args.config_words)
  if (args.file, args.checkpoint).count(None) + (not has_config) != 2:
    raise UsageError("name one FILE, model or --config to inspect; see vit_jax "
                     "inspect --help")
  if has_config or inspect_network.is_network(args.file):
    _run_network(args)
    return
  for word in (*args.config_words, *(f"--{name}" for name in (
      "num_classes", "batch_size", "diagram") if getattr(args, name))):
    raise UsageError(f"{word} is for a model's name or a config; a checkpoint "
                     "is what it is")
  checkpoint = args.file or args.checkpoint
  logs.starting(f"opening {checkpoint}")
  from vit_jax.cli import opening

  try:
    with output.stdout_is_stderr():
      file = opening.open_file(checkpoint, args)
  except CheckpointError:
    _print_arrays(checkpoint, args)
    raise
  facts = checkpoint_facts(file)
  parameters = list_parameters(file.flat, args.stats)
  if args.json:
    output.print_json(facts | {"parameters": parameters})
    return
  output.print_table(_fact_rows(facts, file.model()))
  print()
  _print_parameters(parameters, args.stats)
  print(f"\n{facts['parameter_count']:,} parameters in {len(parameters):,} "
        f"arrays, {output.megabytes(4 * facts['parameter_count'])} in float32")


def _run_network(args: argparse.Namespace) -> None:
  """Prints the facts about a network without weights."""
  with output.stdout_is_stderr():
    config, found = inspect_network.outlined(args)
  parameters = list_parameters(found.parameters, False)
  facts = inspect_network.facts(config, found) | {
      "modules": inspect_network.modules(
          {row["name"]: row["count"] for row in parameters})}
  if args.diagram:
    inspect_network.write_diagram(args.diagram, config, found)
  if args.json:
    output.print_json(facts | {"parameters": parameters})
    return
  output.print_table(inspect_network.rows(config, found))
  print()
  _print_parameters(parameters, False)
  print()
  inspect_network.print_modules(facts["modules"])
  print(f"\n{facts['parameter_count']:,} parameters in {len(parameters):,} "
        "arrays, not initialised")
  if args.diagram:
    print(f"wrote {args.diagram}")


def _print_arrays(checkpoint: str, args: argparse.Namespace) -> None:
  """Prints the arrays of a file that is no network, if it has any."""
  from vit_jax.cli import opening

  arrays = opening.open_arrays(checkpoint)
  if not arrays:
    return
  rows = [{"name": name, "shape": list(a.shape), "dtype": a.dtype.name,
           "count": a.size} for name, a in arrays.items()]
  if args.json:
    output.print_json({"file": checkpoint, "parameters": rows})
    return
  output.print_table(
      [[row["name"], output.by(row["shape"]) or "scalar", row["dtype"],
        f"{row['count']:,}"] for row in rows],
      ["array", "shape", "dtype", "count"], right=(3,))


def checkpoint_facts(file: "WeightsFile") -> dict[str, Any]:
  """Returns what is known about a weights file, as --json prints it."""
  metadata, model = file.metadata, file.model()
  size = file.image_size
  head = file.flat.get("head/kernel")
  return {
      "file": file.source, "dialect": file.dialect,
      "variant": model.variant_name, "architecture": file.architecture,
      "image_size": size, "grid": file.grid(),
      "parameter_count": sum(array.size for array in file.flat.values()),
      "macs": model.macs(size) if size else None,
      "head_is_zero": head is not None and not head.any(),
      "preprocess": metadata.get("preprocess"),
      "value_range": metadata.get("value_range"),
      "class_names": metadata.get("class_names"),
      "scores": metadata.get("scores"),
      "init": metadata.get("init"), "step": metadata.get("step"),
      "averaged": metadata.get("averaged")}


def list_parameters(
    flat: Mapping[str, Any], stats: bool
) -> list[dict[str, Any]]:
  """Returns name, shape, dtype and count of each array, in data-flow order."""

  def data_flow(name: str) -> tuple[int, int, str]:
    stage = next((i for i, start in enumerate(_DATA_FLOW)
                  if re.match(start, name)), len(_DATA_FLOW))
    return stage, _block_number(name) or 0, name

  rows = []
  for name in sorted(flat, key=data_flow):
    array = flat[name]
    row = {"name": name, "shape": list(array.shape),
           "dtype": array.dtype.name, "count": array.size}
    if stats:
      # In float64: a float32 sum of 10^8 numbers loses its last digits.
      row |= {"mean": float(array.mean(dtype="float64")),
              "std": float(array.std(dtype="float64"))}
    rows.append(row)
  return rows


def _fact_rows(
    facts: Mapping[str, Any], model: "Network"
) -> list[list[str]]:
  """Returns the table of everything but the parameters."""
  size = facts["image_size"]
  rows = [["file", facts["file"]], ["dialect", facts["dialect"]],
          *map(list, model.summary())]
  if size:
    rows.append(["images", f"{output.by(size)}, {model.grid_unit} in a grid of "
                 f"{output.by(facts['grid'])}"])
  rows += [
      ["preprocessing", facts["preprocess"] or "not stored; default resize"],
      ["classes", _classes(facts)]]
  if facts["macs"]:
    rows.append(["compute", f"{facts['macs'] / 1e9:,.3g} GMACs per image, "
                 "forward"])
  if facts["step"] is not None:
    start = (facts["init"] or {}).get("path")
    rows.append(["trained", f"{facts['step']:,} steps"
                 + (f", from {start}" if start else ", from scratch")
                 + ("; averaged weights" if facts["averaged"] else "")])
  for name, value in (facts["scores"] or {}).items():
    rows.append([name, f"{value:,}" if isinstance(value, int)
                 else f"{value:.4f}"])
  return rows


def _classes(facts: Mapping[str, Any]) -> str:
  count, names = facts["architecture"]["num_classes"], facts["class_names"]
  if not count:
    return "none: no head, the model returns features"
  text = f"{count:,}"
  if names:
    text += ": " + ", ".join(names[:6]) + (", ..." if count > 6 else "")
  if facts["head_is_zero"]:
    text += " (head all zeros: fine-tune before use)"
  return text


def _print_parameters(rows: list[dict[str, Any]], stats: bool) -> None:
  """Prints the table of arrays, with a heading over those of a block."""
  header = ["parameter", "shape", "dtype", "count"]
  header += ["mean", "std"] if stats else []
  lines = []
  for heading, name, row in _with_headings(rows, merge=not stats):
    if heading:
      lines.append([heading])
    shape = output.by(row["shape"]) or "scalar"
    cells = [name, shape, row["dtype"], f"{row['count']:,}"]
    if stats:
      cells += [f"{row['mean']:.4g}", f"{row['std']:.4g}"]
    lines.append(cells)
  output.print_table(lines, header, right=range(3, len(header)))


def _with_headings(
    rows: list[dict[str, Any]], merge: bool
) -> Iterator[tuple[str, str, dict[str, Any]]]:
  """Yields (heading or "", name, row) of each array.

  Args:
    rows: see `list_parameters`.
    merge: show the first block alone if all have the same shapes.
  """
  groups = [(number, list(group)) for number, group in itertools.groupby(
      rows, key=lambda row: _block_number(row["name"]))]
  blocks = [(number, group) for number, group in groups if number is not None]
  shapes = [[(_in_block(row["name"]), row["shape"]) for row in group]
            for _, group in blocks]
  merge = merge and len(blocks) > 1 and shapes.count(shapes[0]) == len(shapes)
  for number, group in groups:
    if number is None:
      yield from (("", row["name"], row) for row in group)
      continue
    if merge and number != blocks[0][0]:
      continue
    count = sum(row["count"] for row in group)
    heading = f"{_BLOCKS}{number}: {count:,}"
    if merge:
      heading = (f"{_BLOCKS}{{{number}..{blocks[-1][0]}}}: {count:,} each, "
                 f"{len(blocks)} blocks")
    for row in group:
      yield heading, f"  {_in_block(row['name'])}", row
      heading = ""


def _block_number(name: str) -> int | None:
  """Returns the number of an array's encoder block, None outside of them."""
  number, slash, _ = name.removeprefix(_BLOCKS).partition("/")
  return int(number) if slash and number.isdecimal() else None


def _in_block(name: str) -> str:
  """Returns an array's name without that of its encoder block."""
  return name.removeprefix(_BLOCKS).partition("/")[2]
