"""Makes one data set: lists, checks, writes and describes it."""

from collections.abc import Iterator
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import shutil
from typing import Any

from absl import logging
import numpy as np

from vit_jax.data.prepare import counts, metadata, records, shards
from vit_jax.data.prepare.contents import Contents
from vit_jax.data.prepare.targets import Target
from vit_jax.errors import DataError, UserError


def make(
    target: Target, data_dir: str, workers: int
) -> tuple[int, tuple[str, ...]]:
  """Makes a data set, or finishes one whose preparation was interrupted.

  Args:
    target: the data set.
    data_dir: parent folder; the files are written to NAME/VERSION.incomplete.
    workers: threads.

  Returns:
    The number of files kept from an interrupted run; notes for people.

  Raises:
    DataError: archives are missing or damaged, or the counts are wrong.
    UserError: another process is preparing the same data set.
  """
  identity = target.identity
  workshop = identity.workshop(data_dir)
  with _locked(workshop):
    scratch = os.path.join(workshop, "unpacked")
    contents = target.build(
        dataclasses.replace(target.request, scratch=scratch))
    wrong = _check_counts(target, contents)
    orders = {split: shards.order(split, rows.keys)
              for split, rows in contents.splits.items() if len(rows)}
    _check_plan(workshop, target, contents, orders)
    jobs, lengths = _jobs(target, contents, orders, workshop)
    reused = shards.write(jobs, workers, f"writing {identity.full_name}")
    metadata.write(identity, contents, workshop, lengths, _describe(target))
    _finish(workshop, identity.folder(data_dir))
  return reused, (*contents.notes, *wrong)


def _check_counts(target: Target, contents: Contents) -> list[str]:
  """Returns what is wrong with the counts; raises unless partial is set."""
  wrong = counts.problems(contents, target.expected)
  name = target.identity.full_name
  if wrong and not target.request.partial:
    raise DataError(
        f"{target.request.manual_dir}: {name} is not complete: "
        f"{'; '.join(wrong)}; get the archives again, or continue with what "
        "exists: --partial")
  if wrong:
    logging.warning("%s is not complete: %s", name, "; ".join(wrong))
  return wrong


def _jobs(
    target: Target, contents: Contents, orders: dict[str, Any], workshop: str,
) -> tuple[list[shards.Shard], dict[str, list[int]]]:
  """Returns the files to write, and their record counts by split."""
  encode = records.encoder(contents, target.short_side)
  jobs, lengths = [], {}
  for split, places in orders.items():
    parts = shards.boundaries(
        len(places), int(contents.splits[split].sizes.sum()))
    lengths[split] = [len(part) for part in parts]
    for i, part in enumerate(parts):
      path = os.path.join(workshop, shards.file_name(
          target.identity.name, split, i, len(parts)))
      jobs.append(shards.Shard(path, len(part), functools.partial(
          records.read_records, contents, split,
          places[part.start:part.stop], encode)))
  return jobs, lengths


def _describe(target: Target) -> str:
  """Returns the description that is stored with the data set."""
  text = "Prepared by vit_jax from the published archives."
  if target.short_side:
    text += (f" Images with a smaller side above {target.short_side} pixels "
             "were resized to it (area average) and stored as JPEG of quality "
             f"{records.QUALITY}.")
  return text


@contextlib.contextmanager
def _locked(workshop: str) -> Iterator[None]:
  """Keeps a second process out of a folder that is being filled."""
  os.makedirs(workshop, exist_ok=True)
  with open(os.path.join(workshop, "lock"), "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      raise UserError(f"{workshop}: another process is preparing this data "
                      "set; wait for it") from error
    try:
      yield
    finally:
      if os.path.isdir(workshop) and os.listdir(workshop) == ["lock"]:
        shutil.rmtree(workshop)  # Nothing was started.


def _check_plan(
    workshop: str, target: Target, contents: Contents,
    orders: dict[str, Any]) -> None:
  """Checks that finished shards belong to the same plan as new ones.

  Raises:
    DataError: the work was started with other archives or options.
  """
  digest = hashlib.sha256(json.dumps(
      [target.short_side, records.QUALITY, shards.SHARD_BYTES,
       contents.class_names, sorted(orders)]).encode())
  for split in sorted(orders):
    rows = contents.splits[split]
    for array in (rows.keys, rows.names, rows.labels, rows.sizes,
                  *rows.extra.values()):
      digest.update(np.ascontiguousarray(array).tobytes())
  path = os.path.join(workshop, "plan")
  if os.path.exists(path):
    with open(path, encoding="ascii") as file:
      previous = file.read()
    if previous != digest.hexdigest():
      raise DataError(
          f"{workshop}: was started with other archives or options; remove "
          "this folder to start again")
    return
  with open(path + ".tmp", "w", encoding="ascii") as file:
    file.write(digest.hexdigest())
  os.replace(path + ".tmp", path)


def _finish(workshop: str, folder: str) -> None:
  """Removes temporary files, and gives the folder its final name."""
  shutil.rmtree(os.path.join(workshop, "unpacked"), ignore_errors=True)
  for name in os.listdir(workshop):
    if name in ("plan", "lock") or name.endswith(".tmp"):
      os.remove(os.path.join(workshop, name))
  os.rename(workshop, folder)
