"""What would make a config fit, and which of many variants is the fastest.

Every variant is compiled as a whole; nothing is inferred from sizes alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import itertools
from typing import Any

from ml_collections import ConfigDict

from vit_jax.aot.estimate import Estimate, estimate
from vit_jax.aot.topologies import Topology
from vit_jax.config import schema
from vit_jax.errors import UsageError
from vit_jax.models.variants import network_type

Changes = Mapping[str, Any]
Note = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Trial:
  """One variant of a config that was compiled.

  Attributes:
    changes: to the config, such as {"model.remat": "dots"}; {} for none.
    estimate: of the changed config.
  """

  changes: Changes
  estimate: Estimate

  @property
  def overrides(self) -> str:
    """The changes as arguments of a command line."""
    return overrides(self.changes)


def overrides(changes: Changes) -> str:
  """Returns changes as --config.KEY=VALUE arguments."""
  return " ".join(f"--config.{key}={value}" for key, value in changes.items())


def with_changes(config: ConfigDict, changes: Changes) -> ConfigDict:
  """Returns a copy of a config with some keys set."""
  config = config.copy_and_resolve_references()
  for key, value in changes.items():
    section, _, name = key.partition(".")
    config[section][name] = value
  return config


def remedies(config: ConfigDict, topology: Topology) -> Iterator[Changes]:
  """Yields what may make a config fit, the cheapest first.

  Rematerialisation costs a few per cent of arithmetic, accumulation makes
  matrix products smaller, fsdp costs traffic and tensor even more; then
  combinations.
  """
  for policy in ("dots", "full"):
    if config.model.remat not in (policy, "full"):
      yield {"model.remat": policy}
  full = {"model.remat": "full"}
  counts = _accumulations(config, topology)
  for count in counts:
    yield {"train.accumulate": count}
  splits = _splits(config, topology, "fsdp")
  for ways in splits:
    yield {"mesh.fsdp": ways}
  if network_type(config.model.variant).has_attention:
    for ways in _splits(config, topology, "tensor"):
      yield {"mesh.tensor": ways}
  for ways in splits:
    yield {**full, "mesh.fsdp": ways}
  if splits:
    for count in counts:
      yield {**full, "mesh.fsdp": splits[-1], "train.accumulate": count}


def make_fit(
    config: ConfigDict, topology: Topology, *, num_classes: int, total: int,
    schedule: str | None = None, note: Note = lambda text: None,
) -> Trial | None:
  """Returns the first remedy with which a config fits, None if none does.

  Args:
    config: that does not fit as it is.
    topology, num_classes, total, schedule: see `estimate`.
    note: called with a line about each trial.
  """
  for changes in remedies(schema.resolve(config), topology):
    note(f"trying {overrides(changes)}")
    result = estimate(with_changes(config, changes), topology,
                      num_classes=num_classes, total=total, schedule=schedule)
    if result.fits:
      return Trial(changes, result)
  return None


def candidates(
    config: ConfigDict, topology: Topology, per_device: Sequence[int] = (), *,
    kernels: bool = False,
) -> list[Changes]:
  """Returns what `search` compiles: batch per device x remat x mesh.

  Args:
    config: resolved; its batch size is kept unless `per_device` is given.
    topology: where it would run.
    per_device: images that a device processes at a time. Sizes that divide
      the config's share are reached by accumulation; others change the batch.
    kernels: without remat, also with attention=fused. Only final schedules
      show what a kernel costs besides its products.
  """
  whole = config.data.batch_size
  share = whole // topology.device_count
  sizes = list(per_device) or [
      share // 2**i for i in range(3) if share % 2**i == 0 and share >= 2**i]
  meshes: list[Changes] = [{}] + [
      {"mesh.data": -1, "mesh.fsdp": ways}
      for ways in _splits(config, topology, "fsdp")[:2]]
  several: list[Changes] = []
  for size, remat, mesh in itertools.product(
      sizes, ("none", "dots", "full"), meshes):
    changes: dict[str, Any] = {}
    count = size * topology.device_count
    if whole % count == 0:
      if whole // count != config.train.accumulate:
        changes["train.accumulate"] = whole // count
    else:
      changes |= {"data.batch_size": count, "train.accumulate": 1}
    if remat != config.model.remat:
      changes["model.remat"] = remat
    several.append({**changes, **mesh})
    if kernels and remat == "none" and config.model.attention == "auto" and (
        network_type(config.model.variant).has_attention):
      several.append({**several[-1], "model.attention": "fused"})
  return several


def search(
    config: ConfigDict, topology: Topology, *, num_classes: int, total: int,
    per_device: Sequence[int] = (), schedule: str | None = None,
    note: Note = lambda text: None,
) -> list[Trial]:
  """Compiles every candidate; returns those that fit, the fastest first.

  Raises:
    UsageError: no candidate fits.
  """
  resolved = schema.resolve(config)
  several = candidates(
      resolved, topology, per_device, kernels=schedule is not None)
  trials = []
  for index, changes in enumerate(several, 1):
    shown = overrides(changes) or "the config as it is"
    result = estimate(with_changes(config, changes), topology,
                      num_classes=num_classes, total=total, schedule=schedule)
    pace = "does not fit" if not result.fits else (
        f"{result.images_per_second_per_device:,.0f} img/s per device")
    note(f"{index} of {len(several)}: {shown}: {pace}")
    if result.fits:
      trials.append(Trial(changes, result))
  if not trials:
    raise UsageError(
        f"nothing that --auto tried fits {topology.name}; try smaller "
        "--per_device numbers, or a larger slice")
  return sorted(trials, key=lambda trial: -(
      trial.estimate.images_per_second_per_device or 0))


def _accumulations(config: ConfigDict, topology: Topology) -> list[int]:
  """Returns numbers of micro-batches that leave each device an image."""
  share = config.data.batch_size // topology.device_count
  return [config.train.accumulate * 2**i for i in range(1, 6)
          if share % (config.train.accumulate * 2**i) == 0]


def _splits(config: ConfigDict, topology: Topology, axis: str) -> list[int]:
  """Returns larger sizes that an axis of the mesh could have.

  They divide the devices of a slice; none if config.mesh.data is fixed.
  """
  if config.mesh.data != -1:
    return []
  devices = topology.device_count // topology.slices
  usual = {"fsdp": (4, 16, 64), "tensor": (2, 4)}[axis]
  return [ways for ways in usual
          if ways > config.mesh[axis] and devices % ways == 0]
