"""The AugReg bucket: its index.csv, and the settings in its file names.

"How to train your ViT?" (Steiner et al. 2021) released 759 pre-trained and
51,509 fine-tuned files; index.csv has one row for each fine-tuned one, with
the scores of both. Pre-trained files are chosen by upstream `final_val` and
never by `adapt_final_val`: that is measured on images of ImageNet's training
set, which ImageNet-21k contains.
"""

import csv
import pathlib
import re
from typing import Any

from vit_jax.errors import CheckpointError, UsageError, one_line, suggest
from vit_jax.models.names import canonical

COLUMNS = (
    "name", "ds", "epochs", "lr", "aug", "wd", "do", "sd", "best_val",
    "final_val", "final_test", "adapt_ds", "adapt_lr", "adapt_steps",
    "adapt_resolution", "adapt_final_val", "adapt_final_test", "params",
    "infer_samples_per_sec", "filename", "adapt_filename")
MODELS = ("Ti_16", "S_32", "S_16", "B_32", "B_16", "B_8", "L_16", "R_Ti_16",
          "R26_S_32", "R50_L_32")
# Classes of the heads; None where no source states them.
CLASSES = {
    "i1k": 1000, "i21k": 21843, "imagenet2012": 1000, "cifar100": 100,
    "oxford_iiit_pet": 37, "resisc45": 45, "kitti": None}
# Evaluation pipelines by resolution (big_vision).
PREPROCESS = {224: "resize_small(256)|central_crop(224)",
              384: "resize_small(448)|central_crop(384)"}
_NUMBERS = frozenset(COLUMNS) - {
    "name", "ds", "aug", "adapt_ds", "filename", "adapt_filename"}
_FILE = re.compile(
    r"(?P<model>[A-Z]\w*?_\d+)-(?P<ds>i1k|i21k)-(?P<epochs>\d+)ep"
    r"-lr_(?P<lr>[\d.e-]+)-aug_(?P<aug>\w+)-wd_(?P<wd>[\d.]+)"
    r"-do_(?P<do>[\d.]+)-sd_(?P<sd>[\d.]+)"
    r"(?:--(?P<adapt_ds>\w+)-steps_(?P<adapt_steps>\d+)k"
    r"-lr_(?P<adapt_lr>[\d.e-]+)-res_(?P<adapt_resolution>\d+))?(?:\.npz)?$")

Row = dict[str, str]


def parse_filename(name: str) -> Row | None:
  """Returns the settings in a file's name, None if it is not an AugReg name.

  The keys are "model" ("R_Ti_16") and those of index.csv. `adapt_steps` is in
  thousands, rounded down (500 steps are "0"). All adapt_* are None for a
  pre-trained file.
  """
  match = _FILE.match(name.removeprefix("augreg/"))
  return match.groupdict() if match else None


def released_row(name: str) -> dict[str, Any]:
  """Returns the row of `released_table` for any AugReg file name.

  Raises:
    UsageError: it is not an AugReg file name, or that of an unknown model.
  """
  fields = parse_filename(name)
  if fields is None:
    raise UsageError(f"{name!r} is not the name of an AugReg file")
  if fields["model"] not in MODELS:
    raise UsageError(
        f"{name!r}: AugReg has no model {fields['model']!r}"
        f"{suggest(fields['model'], MODELS)}; it has {', '.join(MODELS)}")
  stem = name.removeprefix("augreg/").removesuffix(".npz")
  resolution = int(fields["adapt_resolution"] or 224)
  return dict(
      name=f"augreg/{stem}", file=f"augreg/{stem}.npz",
      variant=canonical(fields["model"]),
      classes=CLASSES.get(fields["adapt_ds"] or fields["ds"]),
      resolution=resolution, size=None, bytes=None, bytes_tolerance=None,
      # Models of ImageNet-1k may or may not have it; the file name does not
      # show it.
      pre_logits=False if fields["ds"] == "i21k" else None,
      head_zeros=False, pooling="cls", preprocess=PREPROCESS.get(resolution),
      score=None, score_on=None, score_source=None, score_note=None)


def read_augreg_index(path: pathlib.Path) -> list[Row]:
  """Reads index.csv: one dict of strings per row, keys as in the file.

  Raises:
    CheckpointError: the file is not that index.
  """
  try:
    with path.open(newline="", encoding="utf-8") as f:
      lines = csv.reader(f)
      header = next(lines, [])
      missing = [c for c in COLUMNS if c not in header]
      if missing:
        raise CheckpointError(
            f"{path} is not AugReg's index.csv: it has no column "
            f"{missing[0]!r}; remove it and it is fetched again")
      rows = [dict(zip(header, line, strict=True)) for line in lines if line]
      for row in rows:
        for column in _NUMBERS:
          float(row[column] or 0)
      if not rows:
        raise ValueError("no row in it")
      return rows
  except (ValueError, csv.Error) as error:
    raise CheckpointError(
        f"{path} is damaged ({one_line(error)}); remove it and it is fetched "
        "again") from error


def select_rows(rows: list[Row], **wanted: str | float) -> list[Row]:
  """Returns the rows whose columns have these values.

  Numbers match as numbers ("0.10" is 0.1), names of models in any spelling,
  file names with or without .npz.

  Raises:
    UsageError: no such column, or a value that no row has; lists those that
      occur.
  """
  for column, value in wanted.items():
    if column not in COLUMNS:
      raise UsageError(
          f"index.csv has no column {column!r}{suggest(column, COLUMNS)}")
    key = _key(column, value)
    values = {row[column] for row in rows}
    keep = {text for text in values if _key(column, text) == key}
    if rows and not keep:
      some = sorted(values)[:12]
      hint = suggest(str(value), sorted(values))
      raise UsageError(
          f"{column}={value!s}: no checkpoint has it{hint}; {column} is "
          f"{', '.join(some)}{', ...' if len(values) > 12 else ''}")
    rows = [r for r in rows if r[column] in keep]
  return rows


def sort_rows(
    rows: list[Row], column: str, *, ascending: bool = False
) -> list[Row]:
  """Sorts by a column, best (highest number, or A) first; blanks last.

  Raises:
    UsageError: no such column.
  """
  if column not in COLUMNS:
    raise UsageError(
        f"index.csv has no column {column!r}{suggest(column, COLUMNS)}")
  full = [r for r in rows if r[column] not in ("", "nan")]
  blank = [r for r in rows if r[column] in ("", "nan")]
  descending = (column in _NUMBERS) != ascending
  return sorted(full, key=lambda r: _key(column, r[column]),
                reverse=descending) + blank


def recommended(rows: list[Row], model: str) -> Row:
  """Returns a row of the best pre-trained file of a model.

  The best has the highest upstream `final_val` among ds "i21k" (300 epochs).
  Each pre-trained file has one row for each of its fine-tunings; this is the
  first.

  Raises:
    UsageError: the index has no file of that model.
  """
  return sort_rows(select_rows(rows, name=model, ds="i21k"), "final_val")[0]


def recommended_adapted(
    rows: list[Row],
    model: str,
    adapt_ds: str,
    resolution: int,
    published: str = "",
) -> Row:
  """Returns the fine-tuned file of the recommended pre-trained one.

  That is `published` if it is one of them. Otherwise learning rate and length
  are chosen by `adapt_final_val`: the runs then compared share their
  pre-training, and with it the images that it has seen.

  Raises:
    UsageError: the index has no such fine-tuning.
  """
  best = recommended(rows, model)["filename"]
  runs = select_rows(rows, filename=best, adapt_ds=adapt_ds,
                adapt_resolution=resolution)
  column, file = "adapt_filename", _key("adapt_filename", published)
  named = [r for r in runs if _key(column, r[column]) == file]
  return (named or sort_rows(runs, "adapt_final_val"))[0]


def typed_row(row: Row) -> dict[str, str | int | float | None]:
  """Returns the row with numbers for its numeric columns, None for blanks."""
  values = {}
  for column, text in row.items():
    value = _key(column, text) if column in _NUMBERS else text
    if isinstance(value, float) and value.is_integer():
      value = int(value)
    values[column] = None if value in ("", "nan") or value != value else value
  return values


def _key(column: str, value: str | float) -> str | float:
  """Returns a value's canonical form, equal for all of its spellings."""
  text = str(value)
  if column == "name":
    return canonical(text)
  if column in ("filename", "adapt_filename"):
    return text.removeprefix("augreg/").removesuffix(".npz")
  if column in _NUMBERS:
    try:
      return float(text)
    except ValueError:
      return text
  return text
