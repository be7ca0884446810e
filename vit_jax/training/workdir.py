"""The files of a working directory, and the checks that keep runs apart.

lock              while a run works here (vit_jax.training.lock)
config.json       the resolved config, the environment, the command
metrics.jsonl     the record (vit_jax.metrics)
tensorboard/      the same numbers for TensorBoard
wandb_id.txt, wandb/   and for Weights & Biases, where it is asked for
checkpoints/      Orbax (vit_jax.training.checkpoint)
eval/NAME.json    the newest scores of an evaluation in detail
model.npz, model.json   the result in the released layout
samples.npz, curves.png, report.html   for people (vit_jax.report.write)
"""

from collections.abc import Mapping
import importlib.metadata
import json
import os
import platform
from typing import Any

from absl import logging
from etils import epath
import jax
from ml_collections import ConfigDict
import numpy as np

from vit_jax.config.sections import ObjectiveConfig
from vit_jax.errors import UsageError, UserError
from vit_jax.evaluators.outcomes import Outcomes
from vit_jax.models.network import Network
from vit_jax.paths import absolute
from vit_jax.training.complete import from_record
from vit_jax.training.provenance import provenance
from vit_jax.weights.convert import write_weights
from vit_jax.weights.formats.atomic import write_whole
from vit_jax.weights.formats.json_object import parse_object

# What may change between two starts of a run: it does not alter its numbers.
_FREE = ("mesh", "evals", "checkpoint")
_FREE_KEYS = {
    "data": ("data_dir", "num_threads", "num_workers", "max_broken"),
    "train": ("log_every", "eval_every", "profile_steps", "profile_hosts",
              "hang_minutes", "report", "xla",
              "result", "wandb"),
    "init": ("path",),
}
# Mistakes of an evaluation that are kept: their files are read for their names.
_MOST_MISTAKES = 100
# Orbax looks for the parts of a checkpoint by a glob pattern of the whole path,
# and tensorstore takes a backslash for a slash.
_MISREAD = "[]\\"
_PACKAGES = ("vit_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint",
             "grain", "numpy")


def create_workdir(workdir: str | os.PathLike) -> str:
  """Creates a working directory and returns its absolute path.

  Raises:
    UsageError: it is a file or cannot be created, or checkpoints under such a
      path could not be restored.
  """
  if not workdir or not isinstance(workdir, str | os.PathLike):
    raise UsageError(
        "--workdir=DIR is missing: the directory that the run is kept in"
        + (f"; found {workdir!r}" if workdir else ""))
  path = absolute(os.fspath(workdir))
  if misread := sorted(set(path) & set(_MISREAD)):
    raise UsageError(
        f"--workdir={workdir}: the path has {' and '.join(misread)} in it, "
        "which the storage of checkpoints reads as something else: they could "
        "not be restored; choose another path")
  try:
    epath.Path(path).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UsageError(f"--workdir={workdir} cannot be made a directory: "
                     f"{error.strerror or error}") from None
  return path


def check_same_run(
    workdir: str, config: ConfigDict, *, data_are_checked: bool = False
) -> ConfigDict:
  """Returns the config, with the open keys as a run in the directory has them.

  Args:
    workdir: of the run, or for one that has not begun.
    config: resolved.
    data_are_checked: whether the caller compares the data themselves, which
      may have been moved to another place since.

  Raises:
    UsageError: the directory belongs to a run of another config.
  """
  path = epath.Path(workdir) / "config.json"
  if not path.exists():
    return config
  before = _read_config(path)
  try:
    config = from_record(config, before)
  except (KeyError, TypeError, ValueError) as error:
    raise UserError(f"{path}: damaged ({error!r}); bring it back, or give the "
                    "whole config again and remove it") from None
  now = json.loads(config.to_json_best_effort())
  changed = []
  for section, values in now.items():
    if section in _FREE or section not in before:
      continue
    for key, value in values.items():
      old = before[section].get(key, value)
      if data_are_checked and (section, key) == ("data", "source"):
        continue
      if key not in _FREE_KEYS.get(section, ()) and old != value:
        changed.append(f"{section}.{key} was {old!r}, now {value!r}")
  if changed:
    raise UsageError(
        f"--workdir={workdir} belongs to another run: {'; '.join(changed)}. "
        "Repeat that run's command to resume it, or use a fresh --workdir")
  return config


def _read_config(path: epath.Path) -> dict[str, Any]:
  """Returns the config of a config.json."""
  try:
    config = parse_object(path.read_bytes()).get("config")
    if isinstance(config, dict) and all(
        isinstance(section, dict) for section in config.values()):
      return config
    reason = "no config in it"
  except (OSError, ValueError) as error:
    reason = str(error)
  raise UserError(
      f"{path}: damaged ({reason}); bring it back, or remove it: then the run "
      "is resumed without a check that its config is the same")


def write_config(
    workdir: str, config: ConfigDict, facts: Mapping[str, Any]
) -> None:
  """Writes config.json: the resolved config, where it ran, and facts.

  A run that is resumed keeps the date of its first start.
  """
  path, origin = epath.Path(workdir) / "config.json", provenance()
  if path.exists():
    before = parse_object(path.read_bytes()).get("origin") or {}
    origin["started"] = before.get("started", "")
  content = {"config": json.loads(config.to_json_best_effort()),
             "environment": environment(), "origin": origin, **facts}
  write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def environment() -> dict[str, Any]:
  """Returns the versions and devices that a run uses."""
  versions = {}
  for name in _PACKAGES:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      versions[name] = "not installed"
  devices = jax.devices()
  return {"python": platform.python_version(), "versions": versions,
          "platform": devices[0].platform, "device": devices[0].device_kind,
          "devices": len(devices), "processes": jax.process_count(),
          "cpus": os.cpu_count()}


def write_outcomes(
    workdir: str, name: str, step: int, scores: Mapping[str, float],
    outcomes: Outcomes,
) -> None:
  """Writes eval/NAME.json, in place of that of an earlier step.

  Args:
    workdir: local or a bucket.
    name: of the evaluation.
    step: updates completed.
    scores: of the evaluation.
    outcomes: what was said of each example.
  """
  folder = epath.Path(workdir) / "eval"
  folder.mkdir(parents=True, exist_ok=True)
  text = json.dumps({
      "step": step, "data": outcomes.source.name, **scores,
      **outcomes.scores(), **outcomes.to_json(_MOST_MISTAKES),
  }, ensure_ascii=False) + "\n"
  write_whole(folder / f"{name}.json", text.encode())


def read_mistakes(workdir: str, name: str, step: int | None) -> list[int]:
  """Returns the numbers in the split of an evaluation's listed mistakes.

  Empty if the newest evaluation was not at `step`: other weights' mistakes.
  """
  path = epath.Path(workdir) / "eval" / f"{name}.json"
  if not path.exists():
    return []
  try:
    details = parse_object(path.read_bytes())
    return ([int(x["index"]) for x in details["mistakes"]]
            if details["step"] == step else [])
  except (KeyError, TypeError, ValueError):
    logging.warning("%s: damaged; the report goes without it", path)
    return []


def model_description(
    model: Network, *, image_size: tuple[int, int], preprocess: str,
    class_names: Any, scores: Mapping[str, float],
    init: Mapping[str, Any] | None, step: int,
    averaged: bool = False, loss: str = ObjectiveConfig.loss,
) -> dict[str, Any]:
  """Returns the content of model.json, which `vit_jax.load` relies on.

  Args:
    model: the network.
    image_size: (height, width) in pixels that the parameters fit.
    preprocess: evaluation transforms.
    class_names: one for each class, None where the data set has none.
    scores: newest "eval/NAME/..." values.
    init: the weights that the run started from, None for random ones.
    step: updates completed.
    averaged: whether the parameters are the average over the updates.
    loss: that the head was trained with.
  """
  return {
      "variant": model.variant_name,
      "architecture": model.architecture(),
      "image_size": list(image_size), "preprocess": preprocess,
      "value_range": [-1, 1],
      # A model without a head, as in masked patch prediction, has no classes.
      "class_names": (
          list(class_names) if class_names and model.num_classes else None),
      "loss": loss if model.num_classes else None,
      "scores": dict(scores), "init": dict(init) if init else None,
      "step": step, "averaged": averaged}


def write_model(
    workdir: str, params: Any, description: Mapping[str, Any]
) -> None:
  """Writes model.npz (released layout, float32) and model.json.

  Args:
    workdir: local or a bucket.
    params: whole host arrays.
    description: see `model_description`.
  """
  params = jax.tree.map(lambda x: np.asarray(x, np.float32), params)
  if "://" not in workdir:
    write_weights(os.path.join(workdir, "model.npz"), params, description)
  else:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
      write_weights(os.path.join(folder, "model.npz"), params, description)
      for name in ("model.npz", "model.json"):
        epath.Path(folder, name).copy(
            epath.Path(workdir) / name, overwrite=True)
  logging.info("wrote %s/model.npz", workdir)
