"""Whether a run has all its files, and what its processes must agree on."""

import json
import os

from absl import logging
from etils import epath
from ml_collections import ConfigDict

from vit_jax.devices.distributed import any_process
from vit_jax.errors import CheckpointError
from vit_jax.training.workdir import environment
from vit_jax.weights.formats.npz import npz_digest, read_npz
from vit_jax.weights.model_json import read_model_json

_OF_A_MACHINE = ("data_dir", "num_threads", "num_workers", "path")


def what_is_missing(workdir: str, *, report: bool) -> str | None:
  """Tells what a run that has done its steps still lacks, None for nothing.

  Args:
    workdir: of the run.
    report: whether it is to have a report.
  """
  folder = epath.Path(workdir)
  for name in ("model.npz", "model.json"):
    if not (folder / name).exists():
      return f"{name} is missing"
  if "://" not in workdir:
    path = os.path.join(workdir, "model.npz")
    try:
      written = read_model_json(path).get("digest")
      read_npz(path)  # Every checksum in it.
      if written not in (None, npz_digest(path)):
        return "model.npz is not the one that model.json was written with"
    except CheckpointError as error:
      return str(error)
  if report and not (folder / "report.html").exists():
    return "report.html is missing"
  return None


def is_complete(workdir: str, *, report: bool) -> bool:
  """Tells every process of a job whether nothing is missing, and says what is.

  Args:
    workdir, report: see `what_is_missing`.
  """
  missing = what_is_missing(workdir, report=report)
  if not any_process(missing is not None):
    return True
  logging.warning("%s: all steps are done, but %s; it is made again from the "
                  "checkpoint", workdir, missing)
  return False


def is_finished(workdir: str) -> bool:
  """Tells whether the run has written its result, and it is whole."""
  return what_is_missing(workdir, report=False) is None


def shared_facts(config: ConfigDict) -> dict[str, str]:
  """Returns what every process of a job must have alike, by name.

  Places of files and numbers of threads may be a machine's own.
  """
  facts = {}
  for section, values in json.loads(config.to_json_best_effort()).items():
    for key, value in values.items():
      entry = value.items() if section == "evals" else [("", value)]
      for inner, part in entry:
        if key in _OF_A_MACHINE or inner in _OF_A_MACHINE:
          continue
        name = ".".join(filter(None, ("config", section, key, inner)))
        facts[name] = json.dumps(part)
  here = environment()
  return facts | {f"the version of {name}": version for name, version in {
      "python": here["python"], **here["versions"]}.items()}
