"""Lists the released checkpoints, and searches AugReg's 52,268.

  python -m vit_jax checkpoints
  python -m vit_jax checkpoints imagenet21k+imagenet2012 --model=B/16
  python -m vit_jax checkpoints augreg --model=B/16 --dataset=i21k
  python -m vit_jax checkpoints --model=S/32 --dataset=cifar100 \\
      --adapt_resolution=384

Without arguments, lists the files of the table that comes with vit_jax: a name
for `vit_jax.load` or --config.init.path, and what the file holds. With `augreg`
or a filter on one of index.csv's columns, lists rows of AugReg's index.csv
(downloaded once), best upstream score first. Pre-trained files are shown once
each; fine-tuned ones if a filter or the order is about them."""

import argparse
from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from vit_jax.cli import arguments, output
from vit_jax.errors import UsageError, UserError, suggest
from vit_jax.models.names import canonical
from vit_jax.weights.hub import augreg_index, released

COLLECTIONS = (
    "imagenet21k", "imagenet21k+imagenet2012", "augreg", "sam", "gsam")
FILTERS = ("ds", "epochs", "aug", "wd", "do", "sd", "adapt_ds", "adapt_lr",
           "adapt_steps", "adapt_resolution")
TABLE_COLUMNS = ("name", "size", "resolution", "classes", "head_zeros",
                 "score", "score_on")
LABELS = {"size": "MiB", "resolution": "pixels", "head_zeros": "zero head",
          "score_on": "scored on"}
NUMBERS = ("size", "bytes", "resolution", "classes", "score")
PRETRAINED_COLUMNS = ("filename", "final_val", "final_test", "params")
ADAPTED_COLUMNS = ("final_val", "adapt_final_test", "adapt_filename")
LIMIT = 20


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("collection", nargs="?", choices=COLLECTIONS, metavar="COLLECTION",
      help=f"one of {', '.join(COLLECTIONS)}")
  add("--model", help="such as B/16, R50+L/32 or R_Ti_16")
  add("--dataset", help="AugReg: upstream (i1k, i21k, i21k_30) or transfer "
      "data set (imagenet2012, cifar100, ...)")
  for column in FILTERS:
    add(f"--{column}", help=f"AugReg: value of index.csv's column {column!r}")
  add("--sort", metavar="COLUMN", help="best first, such as final_val")
  add("--ascending", action="store_true", help="sort the other way round")
  add("--limit", type=int, metavar="N", help="rows to show, 0 for all "
      f"(default: {LIMIT} of index.csv, otherwise and with --json all)")
  add("--columns", type=arguments.list_of(str), default=(), metavar="C,C,...",
      help="columns to show, named as in the file")
  add("--index", type=pathlib.Path, metavar="FILE",
      help="an index.csv on this disk, instead of the released one")
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Prints the checkpoints asked for.

  Raises:
    UsageError: an unknown column, model or value.
    UserError: index.csv is needed and cannot be read.
  """
  if args.limit is not None and args.limit < 0:
    raise UsageError(f"--limit={args.limit}: a number of rows, or 0 for all")
  rows = _index_rows(args) if _needs_index(args) else None
  if rows is None:
    _print_rows(args, "table", _table_rows(args), TABLE_COLUMNS)
    return
  wanted = _filters(args) | _dataset_filter(args, rows)
  sort = args.sort or "final_val"
  adapted = any(
      column.startswith("adapt_") for column in (*wanted, sort, *args.columns))
  if args.model:
    wanted["name"] = args.model
  rows = augreg_index.select_rows(rows, **wanted)
  if not adapted:
    rows = list({row["filename"]: row for row in reversed(rows)}.values())
    rows.reverse()
  rows = augreg_index.sort_rows(rows, sort, ascending=args.ascending)
  columns = ADAPTED_COLUMNS if adapted else PRETRAINED_COLUMNS
  if sort not in columns:
    columns = (sort, *columns)
  _print_rows(args, "index.csv", rows, columns)


def _index_rows(args: argparse.Namespace) -> list[augreg_index.Row] | None:
  """Returns index.csv's rows; None where the table answers as well."""
  try:
    return (augreg_index.read_augreg_index(args.index) if args.index
            else released.augreg_rows())
  except UserError as error:
    if any((args.index, _filters(args), args.dataset, args.sort,
            args.columns)):
      raise
    from absl import logging

    logging.warning("AugReg's index cannot be read; showing the table that "
                    "comes with vit_jax: %s", error)
    return None


def _filters(args: argparse.Namespace) -> dict[str, Any]:
  values = {column: getattr(args, column) for column in FILTERS}
  return {column: v for column, v in values.items() if v is not None}


def _needs_index(args: argparse.Namespace) -> bool:
  """Tells whether the answer is in index.csv.

  Raises:
    UsageError: its columns are asked for, for files that it does not list.
  """
  in_table = released.released_table()[0]
  columns_of_index = set(augreg_index.COLUMNS) - set(in_table)
  needed = bool(
      _filters(args) or args.dataset or args.index
      or columns_of_index.intersection((args.sort, *args.columns)))
  if needed and args.collection not in (None, "augreg"):
    raise UsageError(
        f"{args.collection} does not have the columns of AugReg's index.csv; "
        f"leave out either {args.collection} or these columns, or take augreg")
  return needed or args.collection == "augreg"


def _dataset_filter(
    args: argparse.Namespace, rows: list[augreg_index.Row]
) -> dict[str, str]:
  """Returns {column: value} of --dataset: an upstream or transfer data set."""
  if not args.dataset:
    return {}
  datasets = {column: sorted({row[column] for row in rows})
              for column in ("ds", "adapt_ds")}
  for column, names in datasets.items():
    if args.dataset in names:
      return {column: args.dataset}
  names = datasets["ds"] + datasets["adapt_ds"]
  raise UsageError(
      f"--dataset={args.dataset} is unknown{suggest(args.dataset, names)}; "
      f"it is one of {', '.join(names)}")


def _table_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
  """Returns the rows of the table that comes with vit_jax."""
  rows = list(released.released_table())
  if args.collection:
    rows = [r for r in rows if r["file"].startswith(args.collection + "/")]
  if args.model:
    names = sorted({row["variant"] for row in rows})
    variant = canonical(args.model)
    rows = [row for row in rows if row["variant"] == variant]
    if not rows:
      raise UsageError(
          f"--model={args.model}: no released checkpoint"
          f"{suggest(args.model, names)}; there are {', '.join(names)}")
  if args.sort:
    if args.sort not in released.released_table()[0]:
      raise UsageError(
          f"--sort={args.sort}: no such column"
          f"{suggest(args.sort, (*TABLE_COLUMNS, *augreg_index.COLUMNS))}")
    key = "bytes" if args.sort == "size" else args.sort
    full = [row for row in rows if row[key] is not None]
    is_text = bool(full) and isinstance(full[0][key], str)
    rows = (sorted(full, key=lambda r: r[key],
                   reverse=is_text == args.ascending)
            + [row for row in rows if row[key] is None])
  return rows


def _print_rows(
    args: argparse.Namespace,
    source: str,
    rows: Sequence[Mapping[str, Any]],
    columns: tuple[str, ...],
) -> None:
  """Prints the rows: a table for people or one JSON object."""
  total, available = len(rows), list(rows[0]) if rows else []
  limit = args.limit
  if limit is None:
    limit = LIMIT if source == "index.csv" and not args.json else 0
  rows = rows[:limit or None]
  if args.columns:
    columns = args.columns
    for column in columns:
      if available and column not in available:
        raise UsageError(
            f"--columns: {source} has no column {column!r}"
            f"{suggest(column, available)}; it has {', '.join(available)}")
  if args.json:
    if source == "index.csv":
      rows = [augreg_index.typed_row(dict(row)) for row in rows]
    if args.columns:
      rows = [{column: row[column] for column in columns} for row in rows]
    output.print_json(
        {"source": source, "total": total, "checkpoints": rows})
    return
  header = [LABELS.get(c, c) if source == "table" else c for c in columns]
  cells = [[_text(c, row[c]) for c in columns] for row in (
      map(_for_people, rows) if source == "table" else rows)]
  output.print_table(cells, header, right=[
      i for i, c in enumerate(columns) if c in NUMBERS])
  if total > len(rows):
    print(f"{len(rows)} of {total:,}; --limit=0 shows all")
  if source == "index.csv" and len({row["ds"] for row in rows}) > 1:
    print("final_val is measured on different data for i1k and i21k: compare "
          "within one, --ds=i21k")
  if source == "table" and not args.columns:
    if any("*" in cell for line in cells for cell in line):
      print("* after fine-tuning; the head of the file is all zeros")
    print("Where a score comes from: "
          "--columns=name,score,score_source,score_note")


def _for_people(row: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a row of the table with one unit, and foreign scores marked."""
  size, score = row["bytes"], row["score"]
  if score is not None:
    # A file with a head of zeros scores by chance itself.
    score = f"{score:.2f}{'*' if row['head_zeros'] else ' '}"
  return {**row, "score": score,
          "size": None if size is None else f"{size / 2**20:,.0f}"}


def _text(column: str, value: Any) -> str:
  """Returns a cell's text: blanks as "-", scores with four digits."""
  if value is None or value == "":
    return "-"
  if isinstance(value, bool):
    return "yes" if value else "no"
  if isinstance(value, float):
    return f"{value:.2f}"
  if column.endswith(("_val", "_test")):
    return f"{float(value):.4f}"
  return str(value)
