"""Shows what a checkpoint is: network, parameters, cost, preprocessing, scores.

  python -m vit_jax inspect runs/digits
  python -m vit_jax inspect imagenet21k/ViT-B_16 --stats
  python -m vit_jax inspect model.safetensors --json

Nothing runs: architecture and dialect are read off the arrays, the rest off
the .json beside them. Blocks that are alike are shown once; --stats shows
them all, with the mean and standard deviation of every array."""

import argparse
from collections.abc import Iterator, Mapping
import re
from typing import Any

from vit_jax.cli import common

_BLOCK = re.compile(r"(Transformer/encoderblock_)(\d+)/(.*)")
# From the picture to the head.
_ORDER = (r"(conv|gn)_root|root_block", r"block\d", "group_norm", "embedding",
          "cls",
          r"Transformer/posemb", r"Transformer/encoderblock_",
          r"Transformer/", "MAPHead", "pre_logits", "head")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("file", metavar="FILE", nargs="?",
      help=".npz or .safetensors file, released name, URL, --workdir of a run, "
      "or one of its checkpoints/STEP")
  add("--checkpoint", metavar="FILE", help="the same, as other verbs call it")
  add("--stats", action="store_true",
      help="show mean and standard deviation of every array")
  add("--num_heads", type=common.positive,
      help="of a timm file of unusual width that does not say it")
  common.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Prints the facts."""
  from vit_jax.cli import opening

  common.refuse((args.file is None) == (args.checkpoint is None),
                "name one FILE to inspect; see vit_jax inspect --help")
  with common.stdout_is_stderr():
    file = opening.open_file(args.file or args.checkpoint, args.num_heads)
  facts = describe(file)
  parameters = list_parameters(file.flat, args.stats)
  if args.json:
    common.print_json(facts | {"parameters": parameters})
    return
  common.print_table(_rows(facts, file))
  print()
  _print_parameters(parameters, args.stats)
  print(f"\n{facts['parameter_count']:,} parameters in {len(parameters):,} "
        f"arrays, {common.megabytes(4 * facts['parameter_count'])} in float32")


def describe(file: Any) -> dict[str, Any]:
  """Returns what is known of a weights file."""
  said, model = file.metadata, file.model()
  size = file.image_size
  head = file.flat.get("head/kernel")
  return {
      "file": file.source, "dialect": file.dialect,
      "variant": model.variant_name, "architecture": file.architecture,
      "image_size": size, "grid": file.grid(),
      "parameter_count": sum(array.size for array in file.flat.values()),
      "macs": model.macs(size) if size else None,
      "head_is_zero": head is not None and not head.any(),
      "preprocess": said.get("preprocess"),
      "value_range": said.get("value_range"),
      "class_names": said.get("class_names"), "scores": said.get("scores"),
      "init": said.get("init"), "step": said.get("step")}


def list_parameters(
    flat: Mapping[str, Any], stats: bool
) -> list[dict[str, Any]]:
  """Returns name, shape, dtype and count of every array, as data flow."""

  def place(name: str) -> tuple[int, int, str]:
    stage = next((i for i, start in enumerate(_ORDER)
                  if re.match(start, name)), len(_ORDER))
    block = _BLOCK.fullmatch(name)
    return stage, int(block[2]) if block else 0, name

  rows = []
  for name in sorted(flat, key=place):
    array = flat[name]
    row = {"name": name, "shape": list(array.shape),
           "dtype": array.dtype.name, "count": array.size}
    if stats:
      # In float64: a sum of 10^8 float32 would lose its last digits.
      row |= {"mean": float(array.mean(dtype="float64")),
              "std": float(array.std(dtype="float64"))}
    rows.append(row)
  return rows


def _rows(facts: Mapping[str, Any], file: Any) -> list[list[str]]:
  """Returns the table of everything but the parameters."""
  size, model = facts["image_size"], file.model()
  rows = [["file", facts["file"]], ["dialect", facts["dialect"]],
          *map(list, model.summary())]
  if size:
    grid = "x".join(map(str, facts["grid"]))
    rows.append(["pictures", f"{size[0]}x{size[1]}, {model.grid_unit} in a "
                 f"grid of {grid}"])
  rows += [
      ["preprocessing", facts["preprocess"] or "not stored; default resize"],
      ["classes", _classes(facts)]]
  if facts["macs"]:
    rows.append(["compute", f"{facts['macs'] / 1e9:,.3g} GMACs a picture, "
                 "forward"])
  if facts["step"] is not None:
    start = (facts["init"] or {}).get("path")
    rows.append(["trained", f"{facts['step']:,} steps"
                 + (f", from {start}" if start else ", from scratch")])
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
  for heading, name, row in _grouped(rows, merge=not stats):
    if heading:
      lines.append([heading])
    shape = "x".join(map(str, row["shape"])) or "scalar"
    cells = [name, shape, row["dtype"], f"{row['count']:,}"]
    if stats:
      cells += [f"{row['mean']:.4g}", f"{row['std']:.4g}"]
    lines.append(cells)
  common.print_table(lines, header, right=range(3, len(header)))


def _grouped(
    rows: list[dict[str, Any]], merge: bool
) -> Iterator[tuple[str, str, dict[str, Any]]]:
  """Yields (heading or "", name, row); merges blocks that are alike."""
  blocks: dict[int, list[dict[str, Any]]] = {}
  for row in rows:
    if match := _BLOCK.fullmatch(row["name"]):
      blocks.setdefault(int(match[2]), []).append(row)

  def shapes(block: list[dict[str, Any]]) -> Any:
    return sorted((_BLOCK.fullmatch(r["name"])[3], r["shape"]) for r in block)

  first = min(blocks, default=0)
  merge = merge and len({str(shapes(b)) for b in blocks.values()}) == 1
  current = None
  for row in rows:
    match = _BLOCK.fullmatch(row["name"])
    if not match:
      current = None
      yield "", row["name"], row
      continue
    number, heading = int(match[2]), ""
    if merge and number != first:
      continue
    if number != current:
      current = number
      count = sum(r["count"] for r in blocks[number])
      last = max(blocks)
      which = f"{{{first}..{last}}}" if merge and last > first else number
      heading = f"{match[1]}{which}: {count:,}" + (
          f" each, {len(blocks)} blocks" if merge and last > first else "")
    yield heading, "  " + match[3], row
