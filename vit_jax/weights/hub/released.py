"""The released checkpoints: from a name, path or URL to a local file.

Names: "imagenet21k/ViT-B_16", "imagenet21k+imagenet2012/ViT-L_16-224",
"sam/ViT-B_16", "gsam/ViT-S_16"; "augreg/R_Ti_16" for the recommended
pre-trained file of a model and "augreg/R_Ti_16-384" for that file fine-tuned
(in full: "augreg/MODEL-DATASET-RESOLUTION", where DATASET defaults to
imagenet2012 and RESOLUTION to 384); and the full name of any AugReg file.

Where they come from: the argument `base`, else the environment variable
VIT_JAX_CHECKPOINTS, else Google's public bucket. A base is the address of a
mirror (https://...), a bucket (gs://...) or a plain folder with the same files
in the same sub-folders. Downloads are kept in `cache_dir`, else VIT_JAX_CACHE,
else ~/.cache/vit_jax; a file that is there is used without any network access.
"""

import csv
import difflib
import functools
import hashlib
import os
import pathlib
import re
from typing import Any
import urllib.parse

from absl import logging

from vit_jax.errors import UsageError, UserError
from vit_jax.paths import local_path, to_write
from vit_jax.weights.hub import augreg_index, model_hub
from vit_jax.weights.hub.arrived import ExpectedSize, check_weights
from vit_jax.weights.hub.recorded import recorded

BASE = "https://storage.googleapis.com/vit_models"
INDEX = "augreg/index.csv"
_UNITS = {"MiB": 1 << 20, "GiB": 1 << 30}
_SHORT = re.compile(
    rf"augreg/(?P<model>{'|'.join(augreg_index.MODELS)})"
    r"(?:-(?P<ds>[a-z]\w*))?(?:-(?P<resolution>\d+))?$")

Row = dict[str, Any]


@functools.cache
def released_table() -> tuple[Row, ...]:
  """Returns the rows of released.csv, None where a value is not known.

  name: what users type. file: under the base address. variant: as in
  `make_model`. classes, resolution: of head and position embeddings. size: as
  published, rounded; bytes, bytes_tolerance: the same as numbers. pre_logits,
  head_zeros: whether the file has that layer, whether its head is all zeros.
  pooling: "cls" or "gap". preprocess: the pipeline it was evaluated with.
  score: percent, on score_on, as published by score_source; score_note: how
  the score was obtained, if not by running the file unmodified.
  """
  path = pathlib.Path(__file__).with_name("released.csv")
  with path.open(newline="", encoding="utf-8") as f:
    return tuple(_typed(row) for row in csv.DictReader(f))


def resolve_checkpoint(
    name: str | os.PathLike,
    *,
    base: str | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> tuple[pathlib.Path, Row | None]:
  """Returns the local file of a path, URL or name, and its row.

  The row is None for a file that is not a released one. An existing path is
  returned unchanged. Names are released ones, and those of `model_hub`.

  Raises:
    UsageError: it is none of these; suggests the nearest names.
    UserError, CheckpointError: the file cannot be obtained; see `download`.
  """
  text = local_path(os.fspath(name))
  if os.path.exists(path := os.path.expanduser(text)):
    return pathlib.Path(path), None
  if model_hub.is_hub_name(text):
    return model_hub.fetch(text), None
  cache = cache_folder(cache_dir)
  address = base_address(base)
  if os.fspath(name).startswith("file://"):
    raise UsageError(f"{name}: no such file")
  if "://" in text:
    return _from_url(text, address, cache)
  row = _find(text, address, cache)
  return fetch_released(row["file"], address, cache, row), row


def base_address(base: str | None = None) -> str:
  """Returns where the released files come from (see the module)."""
  base = base or os.environ.get("VIT_JAX_CHECKPOINTS") or BASE
  return base.removeprefix("file://").rstrip("/")


def cache_folder(cache_dir: str | os.PathLike | None = None) -> pathlib.Path:
  """Returns where downloads are kept (see the module)."""
  folder = cache_dir or os.environ.get("VIT_JAX_CACHE") or "~/.cache/vit_jax"
  path = to_write(os.path.expanduser(folder))
  if path.parts[:1] == ("~",):
    raise UserError(
        f"{folder}: the home directory is not known; name a folder for "
        "downloads with VIT_JAX_CACHE=FOLDER")
  return path.absolute()


def fetch_released(
    file: str,
    base: str,
    cache: pathlib.Path,
    row: Row | None = None,
    **settings: Any,
) -> pathlib.Path:
  """Returns the local path of a file under the base address.

  A base that is a folder provides its own files, then those in the cache.
  `settings` replace the arguments of `download`.
  """
  cached = cache / file
  if "://" in base:
    expected = None
    if row and row["bytes"]:
      expected = ExpectedSize(row["bytes"], row["bytes_tolerance"])
    url = f"{base}/{urllib.parse.quote(file, safe='/+')}"
    return recorded(
        url, cached,
        **{"expected": expected, "check": check_weights} | settings)
  local = pathlib.Path(os.path.expanduser(base)) / file
  for path in (local, cached):
    if path.is_file():
      return path
  raise UserError(
      f"{local}: no such file; the folder {base} is the base address "
      "(VIT_JAX_CHECKPOINTS): put the file there, or give another base")


def augreg_rows(
    base: str | None = None, cache_dir: str | os.PathLike | None = None
) -> list[augreg_index.Row]:
  """Returns the rows of AugReg's index.csv, downloaded if necessary.

  Raises:
    UserError: it cannot be obtained.
  """
  path = fetch_released(
      INDEX, base_address(base), cache_folder(cache_dir), retries=1,
      check=lambda part, _: augreg_index.read_augreg_index(part))
  return augreg_index.read_augreg_index(path)


def _typed(row: dict[str, str]) -> Row:
  """Returns a row with values instead of strings."""
  values: Row = {key: text or None for key, text in row.items()}
  for key in ("classes", "resolution"):
    values[key] = int(row[key])
  for key in ("pre_logits", "head_zeros"):
    values[key] = {"yes": True, "no": False, "": None}[row[key]]
  values["score"] = float(row["score"]) if row["score"] else None
  number, _, unit = row["size"].partition(" ")
  values["bytes"] = values["bytes_tolerance"] = None
  if unit:
    # Twice the last digit printed: some sources round, others truncate.
    digit = 10.0 ** -len(number.partition(".")[2])
    values["bytes"] = round(float(number) * _UNITS[unit])
    values["bytes_tolerance"] = round(2 * digit * _UNITS[unit])
  return values


def _from_url(
    url: str, base: str, cache: pathlib.Path
) -> tuple[pathlib.Path, Row | None]:
  """Downloads a URL; that of a released file goes to that file's place."""
  try:
    inner = urllib.parse.unquote(urllib.parse.urlsplit(url).path)
  except ValueError as error:
    raise UsageError(f"{url[:200]!r} is not a URL ({error})") from None
  if not (url.isprintable() and inner.isprintable()):
    raise UsageError(f"{url[:200]!r} is not a URL: it has characters in it "
                     "that are no text")
  for start in (base, BASE, "gs://vit_models"):
    file = urllib.parse.unquote(url.removeprefix(start + "/"))
    row = _exact(file) if url.startswith(start + "/") else None
    if row and row["file"] == file:
      return fetch_released(file, start, cache, row), row
  parts = urllib.parse.urlsplit(url)
  name = pathlib.PurePosixPath(urllib.parse.unquote(parts.path)).name
  if not name:
    raise UsageError(f"{url}: names no file; give the URL of a weights file")
  # One folder per URL: servers use the same names for different files.
  place = hashlib.sha256(url.encode()).hexdigest()[:16]
  # File systems end at 255 bytes, and the kind of file is at the end.
  short = name.encode()[-120:].decode(errors="ignore")
  path = cache / "urls" / place / short
  return recorded(url, path, check=check_weights), None


def _exact(name: str) -> Row | None:
  """Returns the row of a name that stands for one file, else None."""
  stem = name.removesuffix(".npz")
  for row in released_table():
    if stem in (row["name"], row["file"].removesuffix(".npz")):
      return row
  if augreg_index.parse_filename(stem):
    full = f"augreg/{stem.removeprefix('augreg/')}.npz"
    rows = [row for row in released_table() if row["file"] == full]
    return rows[0] if rows else augreg_index.released_row(stem)
  return None


def _find(name: str, base: str, cache: pathlib.Path) -> Row:
  """Returns the row that a released name stands for, or raises UsageError."""
  short = _SHORT.match(name.removesuffix(".npz"))
  row = _recommended(short, base, cache) if short else _exact(name)
  if row:
    return row
  names = [r["name"] for r in released_table()]
  stem = name.removesuffix(".npz")
  near = [n for n in names if n.rpartition("/")[2] == stem.rpartition("/")[2]]
  near += difflib.get_close_matches(stem, names, n=3, cutoff=0.5)
  near = list(dict.fromkeys(near))[:4]
  hint = f" (did you mean {', '.join(map(repr, near))}?)" if near else ""
  advice = "`vit_jax checkpoints` lists the names"
  if meant := model_hub.likely_name(name):
    advice = (f"a model of the Hugging Face hub is called {meant}, a file of "
              f"it .../model.safetensors; {advice} of Google's")
  raise UsageError(
      f"{name!r} is neither a file nor the name of a released checkpoint"
      f"{hint}; {advice}")


def _recommended(short: re.Match, base: str, cache: pathlib.Path) -> Row:
  """Returns the row of a recommended file, from index.csv or the table."""
  name, wanted = short[0], short["ds"] or short["resolution"]
  dataset, pixels = short["ds"] or "imagenet2012", short["resolution"] or "384"
  alias = f"augreg/{short['model']}"
  if wanted:
    alias += f"-{pixels}" if dataset == "imagenet2012" else f"-{dataset}"
  built_in = next(
      (row for row in released_table() if row["name"] == alias), None)
  has_index = (cache / INDEX).is_file()
  if built_in and not has_index and (cache / built_in["file"]).is_file():
    return built_in
  try:
    rows = augreg_rows(base, cache)
  except UserError as error:
    if not built_in:
      raise UserError(
          f"{name}: only index.csv lists that file: {error}") from error
    logging.warning(
        "%s: using %s, recommended by the table in vit_jax, because the index "
        "cannot be obtained: %s", name, built_in["file"], error)
    return built_in
  if wanted:
    published = built_in["file"] if built_in else ""
    best = augreg_index.recommended_adapted(
        rows, short["model"], dataset, int(pixels), published)
    score, on = best["adapt_final_test"], dataset
  else:
    best = augreg_index.recommended(rows, short["model"])
    score, on = best["final_val"], "i21k validation"
  file = best["adapt_filename" if wanted else "filename"]
  logging.info("%s: using %s, recommended by index.csv", name, file)
  row = dict(_exact(file) or augreg_index.released_row(file))
  if row["score"] is None and score:
    row |= dict(score=round(100 * float(score), 2), score_on=on,
                score_source="AugReg index.csv")
  return row
