"""Batches of images as a pure function of seed, step and row.

Training: all examples in an order shuffled anew each epoch, without end;
example number step * batch_size + row of that stream is row `row` of batch
`step`, whoever loads it. So any number of processes sees the same global
batches, and a run that resumes at a step continues as if uninterrupted.
Evaluation: every example exactly once, padded to whole batches.
"""

from collections.abc import Iterable, Iterator
import functools
import sys

from absl import flags, logging
import chex
import cv2
import grain
from jaxtyping import Float, Int, UInt8
import numpy as np

from vit_jax.config.sections import DataConfig
from vit_jax.data import decode, geometry, image_ops, workers
from vit_jax.data.prefetch import prefetch as prefetch
from vit_jax.data.sources import Source
from vit_jax.data.sources.classes import LabelError
from vit_jax.data.transforms import Transforms, make_transforms
from vit_jax.errors import DataError, UsageError

TrainBatch = dict[str, UInt8[np.ndarray, "b h w 3"] | Int[np.ndarray, " b"]]
EvalBatch = dict[str, UInt8[np.ndarray, "b h w 3"] | Float[
    np.ndarray, " b"] | Int[np.ndarray, " b"]]

# A broken image is replaced by another; after so many in a row, give up.
_TRIES = 8
# Examples (not batches) kept ready; Grain's default of 500 is meant for text.
_BUFFER = 64


def train_batches(
    source: Source, *, preprocess: str, image_size: geometry.Size,
    batch_size: int, seed: int, start_step: int = 0,
    rows: Iterable[int] | None = None,
    num_threads: int = DataConfig.num_threads,
    num_workers: int = DataConfig.num_workers,
    max_broken: int = DataConfig.max_broken) -> Iterator[TrainBatch]:
  """Yields {"image": uint8 (b h w 3), "label": int32 (b,)} without end.

  Each epoch visits every example exactly once; epochs follow each other
  without a break, so that a batch may hold the end of one and the start of
  the next. Close the iterator to stop its threads and processes.

  Args:
    source: the examples.
    preprocess: see transforms.make_transforms; must end at image_size.
    image_size: side, or (height, width).
    batch_size: examples in a global batch, over all processes.
    seed: of the order and of all random transforms.
    start_step: number of the first batch that is yielded. Costs nothing.
    rows: numbers, ascending, of the rows of the global batch that this
      process loads; b of them. All rows where None.
    num_threads: threads that read and decode; 0 works in the caller's, -1
      follows the machine's processors (`vit_jax.data.workers.choose`).
    num_workers: processes that share the threads, for machines where one
      cannot keep up; -1 likewise. They import the main module again: guard its
      code by `if __name__ == "__main__"`.
    max_broken: how many broken files this process may meet. Each is named
      and replaced by an example that depends on seed, step and row only.

  Raises:
    UsageError: wrong arguments, or a pipeline that ends at another size.
    DataError: (from the iterator) more than max_broken broken files.
  """
  num_threads, num_workers = workers.choose(num_threads, num_workers)
  _check_counts(seed=seed, start_step=start_step, num_threads=num_threads,
                num_workers=num_workers, max_broken=max_broken)
  transforms = make_transforms(preprocess, image_size)
  order_seed, transform_seed = np.random.SeedSequence(seed).generate_state(2)
  examples = (
      grain.MapDataset.range(len(source))
      .shuffle(seed=int(order_seed))
      .repeat()
      .random_map(
          functools.partial(
              _train_example, source, transforms, geometry.pair(image_size)),
          seed=int(transform_seed)))
  local = _Rows(examples, batch_size, rows, start_step)
  return _count_broken(_batches(local, num_threads, num_workers), source,
                       transforms, max_broken)


def eval_batches(
    source: Source, *, preprocess: str, image_size: geometry.Size,
    batch_size: int, rows: Iterable[int] | None = None,
    num_threads: int = DataConfig.num_threads,
    max_broken: int = DataConfig.max_broken) -> Iterator[EvalBatch]:
  """Yields every example exactly once over all processes, in order.

  Batches hold "image" uint8 (b h w 3), rounded as in training so that a quarter
  of the bytes travel, "label" int32 (b,), "index" int32 (b,), the example's
  number in the source, and "mask" float32 (b,). The mask is 0, and the image
  black, for a broken file and for the padding of
  the last batch, whose index is -1. All processes get the same number of
  batches. Arguments and errors are those of train_batches.
  """
  num_threads, _ = workers.choose(num_threads, 0)
  _check_counts(num_threads=num_threads, max_broken=max_broken)
  transforms = make_transforms(preprocess, image_size)
  if transforms.random:
    raise UsageError(f"preprocess {preprocess!r} draws at random, which an "
                     "evaluation must not; use resize, resize_small and "
                     "central_crop")
  padded = -(-len(source) // max(1, batch_size)) * batch_size
  examples = grain.MapDataset.range(padded).map(functools.partial(
      _eval_example, source, transforms, geometry.pair(image_size)))
  local = _Rows(examples, batch_size, rows)
  return _count_broken(
      _batches(local, num_threads), source, transforms, max_broken)


class _Rows(grain.MapDataset):
  """The rows of this process out of each batch, from batch start_step.

  Applied after everything that depends on an example's number: random_map
  is seeded by the number in the global stream, not by that in the process.
  """

  def __init__(
      self, examples: grain.MapDataset, batch_size: int,
      rows: Iterable[int] | None, start_step: int = 0) -> None:
    super().__init__(examples)
    local = list(range(batch_size)) if rows is None else [int(r) for r in rows]
    if not local or local != sorted({*local}) or not (
        0 <= local[0] <= local[-1] < batch_size):
      raise UsageError(
          f"rows {local[:8]} of a batch of {batch_size}: expected increasing "
          f"numbers from 0 to {batch_size - 1}")
    self.rows = len(local)
    self._local = local
    self._examples = examples
    self._batch_size = batch_size
    self._first = start_step * batch_size

  def __len__(self) -> int:
    last = self._first + self._batch_size
    length = min(len(self._examples), sys.maxsize - last)
    return length // self._batch_size * self.rows

  def __getitem__(self, index: int | slice) -> dict[str, np.ndarray]:
    if isinstance(index, slice):
      return self.slice(index)
    batch, row = divmod(index, self.rows)
    first = self._first + batch * self._batch_size
    return self._examples[first + self._local[row]]


def _check_counts(**counts: int) -> None:
  for name, count in counts.items():
    if count < 0:
      raise UsageError(f"{name}={count}: expected a number >= 0")


def _batches(
    local: _Rows, num_threads: int, num_workers: int = 0,
) -> grain.DatasetIterator:
  """Loads and stacks this process's rows, in threads or worker processes."""
  _single_threaded_opencv()
  if not num_workers:
    buffer = max(_BUFFER, 2 * num_threads) if num_threads else 0
    options = grain.ReadOptions(num_threads, buffer)
    return iter(local.to_iter_dataset(options).batch(local.rows))
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # Grain passes them on to its workers.
  # A worker makes whole batches: passing single examples is slow.
  threads = max(1, num_threads // num_workers)
  dataset = local.batch(local.rows).to_iter_dataset(
      grain.ReadOptions(threads, threads)).mp_prefetch(
          grain.MultiprocessingOptions(num_workers),
          worker_init_fn=_single_threaded_opencv)
  return iter(dataset.map(_copy))


def _single_threaded_opencv(*_: int) -> None:
  """Keeps OpenCV from starting its own threads in each loader thread."""
  cv2.setNumThreads(0)


def _copy(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Copies arrays out of the memory shared with a worker, to release it."""
  return {key: np.array(value) for key, value in batch.items()}


def _load(
    source: Source, transforms: Transforms, index: int,
    rng: np.random.Generator) -> tuple[geometry.Image, int]:
  """Returns an image, transformed, and its label; DataError names it."""
  example = source[index]
  try:
    return transforms(decode.decode(example["image"]), rng), example["label"]
  except DataError as error:
    raise DataError(f"{example['id']}: {error}") from error


def _train_example(
    source: Source, transforms: Transforms, size: tuple[int, int],
    index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
  """Returns one example, and the numbers of the broken ones it replaces."""
  broken = np.full(_TRIES, -1, np.int64)
  image, label = np.zeros((*size, 3), np.uint8), 0
  for attempt in range(_TRIES):
    try:
      image, label = _load(source, transforms, index, rng)
      _check_shape(image, size, transforms)
      break
    except LabelError:
      raise
    except DataError:
      broken[attempt] = index
      index = int(rng.integers(len(source)))
  return {"image": image_ops.to_uint8(image),
          "label": np.asarray(label, np.int32), "broken": broken}


def _eval_example(
    source: Source, transforms: Transforms, size: tuple[int, int],
    index: int) -> dict[str, np.ndarray]:
  """Returns one example; padding where the index is beyond the source."""
  image, label, real, broken = np.zeros((*size, 3)), 0, False, -1
  if index < len(source):
    try:
      image, label = _load(source, transforms, index, np.random.default_rng(0))
      _check_shape(image, size, transforms)
      real = True
    except LabelError:
      raise
    except DataError:
      broken = index
  else:
    index = -1
  return {"image": image_ops.to_uint8(image),
          "label": np.asarray(label, np.int32),
          "mask": np.asarray(real, np.float32),
          "index": np.asarray(index, np.int32), "broken": np.array([broken])}


def _check_shape(
    image: geometry.Image, size: tuple[int, int],
    transforms: Transforms) -> None:
  if image.shape[:2] != size:
    raise UsageError(
        f"preprocess {transforms.text!r} gives images of "
        f"{image.shape[0]}x{image.shape[1]}, image_size is {size[0]}x{size[1]}"
        "; write {size} in the pipeline for the image size")


def _count_broken(
    batches: grain.DatasetIterator, source: Source, transforms: Transforms,
    max_broken: int) -> Iterator[dict[str, np.ndarray]]:
  """Yields the batches; names broken files, and raises beyond max_broken."""
  seen: set[int] = set()
  try:
    for batch in batches:
      broken = batch.pop("broken")
      for index in broken[broken >= 0].tolist():
        if index not in seen:
          seen.add(index)
          _report(_reason(source, transforms, index), len(seen), max_broken)
      if broken.shape[1] > 1 and (broken >= 0).all(axis=1).any():
        raise DataError(f"{source.name}: {_TRIES} broken files in a row")
      _check_batch(batch)
      yield batch
  finally:
    batches.close()


def _check_batch(batch: dict[str, np.ndarray]) -> None:
  """Asserts the ranks and dtypes that the compiled steps rely on."""
  labels = [value for key, value in batch.items() if key != "image"]
  chex.assert_rank([batch["image"], *labels], [4] + [1] * len(labels))
  chex.assert_equal_shape_prefix([batch["image"], *labels], 1)
  chex.assert_type(batch["image"], np.uint8)
  chex.assert_type(batch["label"], np.int32)


def _report(reason: str, count: int, max_broken: int) -> None:
  if count > max_broken:
    raise DataError(
        f"{reason} (broken file number {count}; max_broken allows "
        f"{max_broken})")
  logging.warning("Skipped a broken file (%d of at most %d): %s", count,
                  max_broken, reason)


def _reason(source: Source, transforms: Transforms, index: int) -> str:
  """Reads a broken example again for its name and what is wrong with it."""
  try:
    _load(source, transforms, index, np.random.default_rng(0))
  except DataError as error:
    return str(error)
  return f"{source[index]['id']}: failed to load the first time, then loaded"
