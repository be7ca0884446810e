"""What would make a config fit, and which of many would be fastest.

Each try compiles the whole step; nothing is guessed from sizes alone.
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
from vit_jax.models import names

Changes = Mapping[str, Any]
Note = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Try:
  """One config that was compiled.

  Attributes:
    changes: to the config, such as {"model.remat": "dots"}; {} for none.
    estimate: what came of it.
  """

  changes: Changes
  estimate: Estimate

  @property
  def overrides(self) -> str:
    """The changes as words of a command line."""
    return overrides(self.changes)


def overrides(changes: Changes) -> str:
  """Returns changes as --config.KEY=VALUE words."""
  return " ".join(f"--config.{key}={value}" for key, value in changes.items())


def changed(config: ConfigDict, changes: Changes) -> ConfigDict:
  """Returns a copy of a config with some keys set."""
  config = config.copy_and_resolve_references()
  for key, value in changes.items():
    section, _, name = key.partition(".")
    config[section][name] = value
  return config


def remedies(config: ConfigDict, topology: Topology) -> Iterator[Changes]:
  """Yields what may make a config fit, the cheapest first.

  Rematerialisation costs a few per cent of arithmetic, accumulation smaller
  matrix products, fsdp traffic, tensor more traffic; then several of them.
  """
  remat = [{"model.remat": policy} for policy in ("dots", "full")
           if config.model.remat not in (policy, "full")]
  yield from remat
  full = {"model.remat": "full"}
  parts = _accumulations(config, topology)
  for count in parts:
    yield {"train.accumulate": count}
  splits = _splits(config, topology, "fsdp")
  for ways in splits:
    yield {"mesh.fsdp": ways}
  # ResNets have no heads.
  tensor = names.parse(config.model.variant).family != names.RESNET
  for ways in _splits(config, topology, "tensor") if tensor else ():
    yield {"mesh.tensor": ways}
  for ways in splits:
    yield {**full, "mesh.fsdp": ways}
  if splits:
    for count in parts:
      yield {**full, "mesh.fsdp": splits[-1], "train.accumulate": count}


def make_fit(
    config: ConfigDict, topology: Topology, *, num_classes: int, total: int,
    note: Note = lambda text: None,
) -> Try | None:
  """Returns the first remedy with which a config fits, None if none does.

  Args:
    config: that does not fit as it is.
    topology, num_classes, total: see `estimate`.
    note: told of each try.
  """
  for changes in remedies(schema.resolve(config), topology):
    note(f"trying {overrides(changes)}")
    found = estimate(changed(config, changes), topology,
                     num_classes=num_classes, total=total)
    if found.fits:
      return Try(changes, found)
  return None


def candidates(
    config: ConfigDict, topology: Topology, per_device: Sequence[int] = ()
) -> list[Changes]:
  """Returns what `search` compiles: batch per device x remat x mesh.

  Args:
    config: resolved; its batch size stays, unless `per_device` is given.
    topology: where it would run.
    per_device: pictures a device takes at a time. Those that divide the
      config's share are reached by accumulation, others change the batch.
  """
  whole = config.data.batch_size
  share = whole // topology.device_count
  sizes = list(per_device) or [
      share // 2**i for i in range(3) if share % 2**i == 0 and share >= 2**i]
  meshes: list[Changes] = [{}] + [
      {"mesh.data": -1, "mesh.fsdp": ways}
      for ways in _splits(config, topology, "fsdp")[:2]]
  found = []
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
    found.append({**changes, **mesh})
  return found


def search(
    config: ConfigDict, topology: Topology, *, num_classes: int, total: int,
    per_device: Sequence[int] = (), note: Note = lambda text: None,
) -> list[Try]:
  """Compiles every candidate; returns those that fit, the fastest first.

  Raises:
    UsageError: none fits.
  """
  resolved = schema.resolve(config)
  several = candidates(resolved, topology, per_device)
  tries = []
  for index, changes in enumerate(several, 1):
    words = overrides(changes) or "the config as it is"
    found = estimate(changed(config, changes), topology,
                     num_classes=num_classes, total=total)
    pace = "does not fit" if not found.fits else (
        f"{found.images_per_second_per_device:,.0f} img/s a device")
    note(f"{index} of {len(several)}: {words}: {pace}")
    if found.fits:
      tries.append(Try(changes, found))
  if not tries:
    raise UsageError(
        f"nothing that --auto tried fits {topology.name}; try smaller "
        "--per_device numbers, or a larger slice")
  return sorted(tries, key=lambda t: -(
      t.estimate.images_per_second_per_device or 0))


def _accumulations(config: ConfigDict, topology: Topology) -> list[int]:
  """Returns counts of micro-batches that still give each device a picture."""
  share = config.data.batch_size // topology.device_count
  return [config.train.accumulate * 2**i for i in range(1, 6)
          if share % (config.train.accumulate * 2**i) == 0]


def _splits(config: ConfigDict, topology: Topology, axis: str) -> list[int]:
  """Returns the ways in which an axis of the mesh could split more.

  Within one slice, and only where data takes what is left.
  """
  if config.mesh.data != -1:
    return []
  devices = topology.device_count // topology.slices
  usual = {"fsdp": (4, 16, 64), "tensor": (2, 4)}[axis]
  return [ways for ways in usual
          if ways > config.mesh[axis] and devices % ways == 0]
