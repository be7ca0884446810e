"""One pass over a split: batches on the mesh, sums over every example once."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import contextvars
import dataclasses
from typing import Any

import chex
import jax
from jax.sharding import Mesh
import numpy as np

from vit_jax.data.loader import EvalBatch, eval_batches, prefetch
from vit_jax.data.progress_bar import progress_bar
from vit_jax.data.sources import Source
from vit_jax.devices.distributed import is_primary
from vit_jax.devices.sharding import process_rows, put_batch
from vit_jax.errors import DataError

Batch = dict[str, jax.Array]

_told: contextvars.ContextVar[Callable[[], bool]] = contextvars.ContextVar(
    "told", default=lambda: False)


class Abandoned(Exception):
  """A pass was told to stop before its end."""


@contextlib.contextmanager
def abandoned_when(told: Callable[[], bool]) -> Iterator[None]:
  """Makes passes within raise Abandoned at the first batch after told()."""
  token = _told.set(told)
  try:
    yield
  finally:
    _told.reset(token)


@dataclasses.dataclass(frozen=True)
class Pass:
  """A split and how it is read.

  Attributes:
    source: the examples.
    mesh: over which a batch is split.
    batch_size: global; any number that the mesh divides.
    loading: further arguments of `vit_jax.data.loader.eval_batches`.
    extend: what is done to a host batch before it is placed on the mesh.
  """

  source: Source
  mesh: Mesh
  batch_size: int
  loading: Mapping[str, Any]
  extend: Callable[[EvalBatch], EvalBatch] = lambda batch: batch

  def batches(self) -> prefetch[Batch]:
    """Returns the placed batches, padded and masked; to be closed."""
    rows = process_rows(self.mesh, self.batch_size)
    return prefetch(
        eval_batches(self.source, batch_size=self.batch_size,
                     rows=rows.tolist(), **self.loading),
        lambda batch: put_batch(
            self.extend(batch), self.mesh, self.batch_size))

  def bar(self) -> Any:
    """Returns a bar of the examples; to be closed."""
    return progress_bar(
        total=len(self.source), unit="image", what=self.source.name,
        leave=False, show=None if is_primary() else False)


  def __iter__(self) -> Iterator[Batch]:
    """Yields the placed batches.

    Raises:
      Abandoned: see `abandoned_when`.
    """
    with self.batches() as batches:
      for batch in batches:
        if _told.get()():
          raise Abandoned
        yield batch

  def add_up(
      self, step: Callable[[Batch], Mapping[str, jax.Array]]
  ) -> dict[str, float]:
    """Returns the totals of step(batch), whose values are sums, by key."""
    return self.add_up_and_list(lambda batch: (step(batch), {}))[0]

  def add_up_and_list(
      self, step: Callable[[Batch], tuple[Mapping[str, jax.Array], Batch]]
  ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Returns totals and the rows of all batches, by key.

    Args:
      step: batch -> (sums, rows). Both are the same on every process: rows (b,)
        of several have to be replicated.
    """
    parts: list[Any] = []
    with self.bar() as bar:
      for batch in self:
        sums, rows = step(batch)
        # A sum that kept an axis would be added up over it as well.
        chex.assert_rank(list(sums.values()), 0)
        parts.append((sums, rows))
        # One batch ahead of the device, which keeps busy; with more, the bar
        # would count what is only queued.
        jax.block_until_ready(parts[-2:-1])
        bar.update(min(self.batch_size, bar.total - bar.n))
    parts = jax.device_get(parts)
    totals = {
        key: float(np.sum([np.asarray(sums[key], np.float64)
                           for sums, _ in parts])) for key in parts[0][0]}
    return totals, {
        key: np.concatenate([rows[key] for _, rows in parts])
        for key in parts[0][1]}


def means(
    totals: Mapping[str, float], source: Source, left_out: int = 0
) -> dict[str, float]:
  """Returns totals divided by their "examples", and the counts.

  Args:
    totals: sums over the examples; "examples" is their number.
    source: what was read.
    left_out: examples that were not to be scored.

  Raises:
    DataError: no example was scored.
  """
  totals = dict(totals)
  count = totals.pop("examples")
  if count == 0:
    raise DataError(
        f"{source.name}: no image could be read, so there is no score")
  scores = {key: value / count for key, value in totals.items()}
  scores["examples"] = int(count)
  skipped = len(source) - int(count) - left_out
  if skipped:
    scores["skipped"] = skipped
  return scores
