"""The AugReg bucket: its index.csv and the facts that its file names hold.

"How to train your ViT?" (Steiner et al. 2021) released 759 pre-trained and
51,509 fine-tuned files; index.csv has one row for each fine-tuned one, with
the scores of both. Pre-trained files are chosen by upstream `final_val` and
never by `adapt_final_val`: ImageNet-21k contains ImageNet's training images,
so what that score is measured on has been seen in pre-training.
"""

import csv
import pathlib
import re
from typing import Any

from vit_jax.errors import CheckpointError, UsageError, suggest
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
# Evaluation pictures by resolution (big_vision).
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
  """Reads the settings off a file's name, None if it is no AugReg name.

  The keys are "model" ("R_Ti_16") and index.csv's; `adapt_steps` is in
  thousands, cut off (500 reads "0"), and None, as all of adapt_*, for a
  pre-trained file.
  """
  match = _FILE.match(name.removeprefix("augreg/"))
  return match.groupdict() if match else None


def describe(name: str) -> dict[str, Any]:
  """Returns the row of `released.table` for any AugReg file name.

  Raises:
    UsageError: it is no AugReg file name, or that of an unknown model.
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
      # Models on ImageNet-1k were trained with and without; the name is mum.
      pre_logits=False if fields["ds"] == "i21k" else None,
      head_zeros=False, pooling="cls", preprocess=PREPROCESS.get(resolution),
      score=None, score_on=None, score_source=None, score_note=None)


def read_index(path: pathlib.Path) -> list[Row]:
  """Reads index.csv: one dict of texts a row, keys named as in the file.

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
      return [dict(zip(header, line, strict=True)) for line in lines if line]
  except (ValueError, csv.Error) as error:
    raise CheckpointError(
        f"{path} is damaged ({error}); remove it and it is fetched again"
    ) from error


def select(rows: list[Row], **wanted: str | float) -> list[Row]:
  """Returns the rows whose columns have these values.

  Numbers match as numbers ("0.10" is 0.1), names of models in any spelling,
  file names with or without .npz.

  Raises:
    UsageError: no such column; or a value that no row has, with those that
      there are.
  """
  for column, value in wanted.items():
    if column not in COLUMNS:
      raise UsageError(
          f"index.csv has no column {column!r}{suggest(column, COLUMNS)}")
    key = _key(column, value)
    found = {text: _key(column, text) for text in {r[column] for r in rows}}
    keep = {text for text, k in found.items() if k == key}
    if rows and not keep:
      some = sorted(found)[:12]
      hint = suggest(str(value), found)
      raise UsageError(
          f"{column}={value!s}: no checkpoint has it{hint}; {column} is "
          f"{', '.join(some)}{', ...' * (len(found) > 12)}")
    rows = [r for r in rows if r[column] in keep]
  return rows


def order(
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
  falling = (column in _NUMBERS) != ascending
  return sorted(full, key=lambda r: _key(column, r[column]),
                reverse=falling) + blank


def recommended(rows: list[Row], model: str) -> Row:
  """Returns a row of the best pre-trained file of a model.

  The best is the highest upstream `final_val` among ds "i21k" (300 epochs).
  Each pre-trained file has one row for each of its fine-tunings; this is the
  first.

  Raises:
    UsageError: the index has none of that model.
  """
  return order(select(rows, name=model, ds="i21k"), "final_val")[0]


def recommended_adapted(
    rows: list[Row],
    model: str,
    adapt_ds: str,
    resolution: int,
    published: str = "",
) -> Row:
  """Returns the fine-tuned file of the recommended pre-trained one.

  That is `published` if the index has it among them. Otherwise its learning
  rate and length are chosen by `adapt_final_val`: the runs then compared
  share their pre-training, and so what that has seen.

  Raises:
    UsageError: the index has no such fine-tuning.
  """
  best = recommended(rows, model)["filename"]
  runs = select(rows, filename=best, adapt_ds=adapt_ds,
                adapt_resolution=resolution)
  column, file = "adapt_filename", _key("adapt_filename", published)
  named = [r for r in runs if _key(column, r[column]) == file]
  return (named or order(runs, "adapt_final_val"))[0]


def typed(row: Row) -> dict[str, str | int | float | None]:
  """Returns the row with numbers for its numeric columns, None for blanks."""
  values = {}
  for column, text in row.items():
    value = _key(column, text) if column in _NUMBERS else text
    if isinstance(value, float) and value.is_integer():
      value = int(value)
    values[column] = None if value in ("", "nan") or value != value else value
  return values


def _key(column: str, value: str | float) -> str | float:
  """Returns what two spellings of a value have in common."""
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
