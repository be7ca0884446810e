"""Lists the released checkpoints, and searches AugReg's 52,268.

Examples:
  vit_jax checkpoints
  vit_jax checkpoints imagenet21k+imagenet2012 --model=B/16
  vit_jax checkpoints augreg --model=B/16 --dataset=i21k --sort=final_val
  vit_jax checkpoints --model=S/32 --dataset=cifar100 --adapt_resolution=384

Without more, the files of the table that comes with vit_jax: a name to give to
`vit_jax.load` or --config.init.path, and what the file holds. With `augreg` or
one of index.csv's columns, rows of AugReg's index.csv (fetched once), best
upstream score first. Pre-trained files are shown once each, fine-tuned ones
where a filter or the order is about them.
"""

import argparse
import pathlib
from typing import Any

from absl import logging

from vit_jax.cli import common
from vit_jax.errors import UsageError, UserError, suggest
from vit_jax.weights.hub import augreg_index, released

COLLECTIONS = (
    "imagenet21k", "imagenet21k+imagenet2012", "augreg", "sam", "gsam")
FILTERS = ("ds", "epochs", "aug", "wd", "do", "sd", "adapt_ds", "adapt_lr",
           "adapt_steps", "adapt_resolution")
TABLE_COLUMNS = ("name", "size", "resolution", "classes", "head_zeros",
                 "score", "score_on")
LABELS = {"resolution": "pixels", "head_zeros": "zero head",
          "score_on": "scored on"}
PRETRAINED_COLUMNS = ("filename", "final_val", "final_test", "params")
ADAPTED_COLUMNS = ("final_val", "adapt_final_test", "adapt_filename")
LIMIT = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
  add("--limit", type=int, help=f"rows to show, 0 for all; of index.csv "
      f"{LIMIT} unless said or --json")
  add("--columns", help="comma-separated, named as in the file")
  add("--index", type=pathlib.Path, metavar="PATH",
      help="an index.csv on this disk, instead of the released one")
  common.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Prints the checkpoints asked for.

  Raises:
    UsageError: an unknown column, model or value.
    UserError: index.csv is needed and cannot be had.
  """
  common.log_to_stderr()
  if args.limit is not None and args.limit < 0:
    raise UsageError(f"--limit={args.limit}: a number of rows, or 0 for all")
  if not _wants_index(args):
    return _show(args, "table", _from_table(args), TABLE_COLUMNS)
  try:
    rows = (augreg_index.read_augreg_index(args.index) if args.index
            else released.augreg_rows())
  except UserError as error:
    if any((args.index, _filters(args), args.dataset, args.sort,
            args.columns)):
      raise
    logging.warning("AugReg's index cannot be had, so this is the table that "
                    "comes with vit_jax: %s", error)
    return _show(args, "table", _from_table(args), TABLE_COLUMNS)
  wanted = _filters(args) | _dataset(args, rows)
  sort = args.sort or "final_val"
  shown = (args.columns or "").split(",")
  adapted = any(c.startswith("adapt_") for c in (*wanted, sort, *shown))
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
  _show(args, "index.csv", rows, columns)


def _filters(args: argparse.Namespace) -> dict[str, Any]:
  values = {column: getattr(args, column) for column in FILTERS}
  return {column: v for column, v in values.items() if v is not None}


def _wants_index(args: argparse.Namespace) -> bool:
  """Whether the answer is in index.csv; refuses what only it can answer."""
  named = [args.sort, *(args.columns or "").split(",")]
  in_table = set(released.released_table()[0])
  only_there = set(named) & set(augreg_index.COLUMNS) - in_table
  asks = bool(_filters(args) or args.dataset or args.index or only_there)
  if asks and args.collection not in (None, "augreg"):
    raise UsageError(
        f"{args.collection} has no columns to filter by as AugReg's index.csv "
        f"has; leave out either {args.collection} or the filters, or take "
        "augreg")
  return asks or args.collection == "augreg"


def _dataset(
    args: argparse.Namespace, rows: list[augreg_index.Row]
) -> dict[str, str]:
  """Says which column --dataset is about: upstream or transfer."""
  if not args.dataset:
    return {}
  known = {column: sorted({row[column] for row in rows})
           for column in ("ds", "adapt_ds")}
  for column, values in known.items():
    if args.dataset in values:
      return {column: args.dataset}
  names = known["ds"] + known["adapt_ds"]
  raise UsageError(
      f"--dataset={args.dataset} is unknown{suggest(args.dataset, names)}; "
      f"it is one of {', '.join(names)}")


def _from_table(args: argparse.Namespace) -> list[dict[str, Any]]:
  rows = list(released.released_table())
  if args.collection:
    rows = [r for r in rows if r["file"].startswith(args.collection + "/")]
  if args.model:
    names = sorted({row["variant"] for row in rows})
    variant = augreg_index.paper_name(args.model)
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
    falling = isinstance(full[0][key] if full else "", str) == args.ascending
    rows = (sorted(full, key=lambda r: r[key], reverse=falling)
            + [row for row in rows if row[key] is None])
  return rows


def _show(
    args: argparse.Namespace,
    source: str,
    rows: list[dict[str, Any]],
    columns: tuple[str, ...],
) -> None:
  """Prints the rows: a table for people or one JSON object."""
  total, known = len(rows), rows[0] if rows else {}
  limit = args.limit
  if limit is None:
    limit = LIMIT if source == "index.csv" and not args.json else 0
  rows = rows[:limit or None]
  if args.columns:
    columns = tuple(args.columns.split(","))
    for column in columns:
      if known and column not in known:
        raise UsageError(
            f"--columns: {source} has no column {column!r}"
            f"{suggest(column, known)}; it has {', '.join(known)}")
  if args.json:
    if source == "index.csv":
      rows = [augreg_index.typed_row(row) for row in rows]
    if args.columns:
      rows = [{column: row[column] for column in columns} for row in rows]
    return common.print_json(
        {"source": source, "total": total, "checkpoints": rows})
  header = [LABELS.get(c, c) if source == "table" else c for c in columns]
  common.print_table(
      [[_text(c, row[c]) for c in columns] for row in rows], header)
  if total > len(rows):
    print(f"{len(rows)} of {total:,}; --limit=0 shows all")
  if source == "index.csv" and len({row["ds"] for row in rows}) > 1:
    print("final_val is on another data set for i1k than for i21k: compare "
          "within one, --ds=i21k")
  if source == "table" and not args.columns:
    print("How a score was got, and by whom: "
          "--columns=name,score,score_source,score_note")


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
