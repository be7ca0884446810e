"""The results of a benchmark, and the JSON file that stores them."""

import dataclasses
import json
import pathlib
from typing import Any

from vit_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class BatchPoint:
  """A batch size that fits into the memory.

  Attributes:
    batch_per_device: images, of each part into which the mesh splits a batch.
    images_per_second_per_device: the median of the windows, or an estimate.
    slowest, fastest: of the windows, in the same unit; or the estimate again.
    steps: timed in all windows; 0 for an estimate.
    mfu: share of the device's 16-bit peak at the median; None if unknown.
  """

  batch_per_device: int
  images_per_second_per_device: float
  slowest: float
  fastest: float
  steps: int
  mfu: float | None


@dataclasses.dataclass(frozen=True)
class ModelCurve:
  """A model at one input size, over batch sizes.

  Attributes:
    model: its name.
    image_size: height and width of the images, in pixels.
    flops_per_image: by formula, of what is timed.
    points: by increasing batch; empty if not even the smallest one fits.
    exceeded: the batch per device that did not fit, None if all did.
  """

  model: str
  image_size: int
  flops_per_image: int
  points: tuple[BatchPoint, ...]
  exceeded: int | None

  @property
  def peak(self) -> BatchPoint | None:
    """The batch size with the highest pace, None if none fits."""
    return max(self.points, default=None,
               key=lambda p: p.images_per_second_per_device)

  @property
  def largest_batch(self) -> int:
    """The largest batch per device that fits, 0 if none does."""
    return max((p.batch_per_device for p in self.points), default=0)


@dataclasses.dataclass
class BenchmarkRecord:
  """What was measured, on which device and how; a JSON file holds one.

  Attributes:
    what: "forward" or "train".
    date: of the measurement.
    device: JAX's name of it, or "v3-8 (estimates of the compiler)" where
      nothing was timed; devices: their number.
    memory_bytes: that JAX may use on a device; None where it is unknown.
    versions: of jax and other packages.
    dtype: compute dtype; attention: the requested implementation.
    changes: keys of the config that differ from its defaults.
    steps, seconds: the least that is timed for every batch size; 0 for
      estimates.
    curves: by model, then input size.
  """

  what: str
  date: str
  device: str
  devices: int
  memory_bytes: int | None
  versions: dict[str, str]
  dtype: str
  attention: str
  changes: dict[str, Any]
  steps: int
  seconds: float
  curves: list[ModelCurve] = dataclasses.field(default_factory=list)

  @property
  def where(self) -> str:
    """The devices in words, such as "8 x TPU v3"."""
    # The name of a slice, for which nothing was timed, counts its devices.
    several = self.steps and self.devices > 1
    return f"{self.devices} x {self.device}" if several else self.device


def read_benchmark(path: str) -> BenchmarkRecord:
  """Reads the record that `write_benchmark` wrote.

  Raises:
    UsageError: the file holds something else.
  """
  try:
    record = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    return BenchmarkRecord(
        **record | {"curves": [_read_curve(c) for c in record["curves"]]})
  except (AttributeError, KeyError, TypeError, ValueError):
    raise UsageError(f"{path} holds no record of `benchmark --out`") from None


def _read_curve(curve: dict[str, Any]) -> ModelCurve:
  """Reads one curve; its peak and largest batch follow from its points."""
  fields = {f.name: curve[f.name] for f in dataclasses.fields(ModelCurve)}
  points = tuple(BatchPoint(**point) for point in curve["points"])
  return ModelCurve(**fields | {"points": points})


def write_benchmark(record: BenchmarkRecord, path: str) -> None:
  """Writes the record as JSON."""
  text = json.dumps(to_json(record), indent=2) + "\n"
  pathlib.Path(path).write_text(text, encoding="utf-8")


def to_json(record: BenchmarkRecord) -> dict[str, Any]:
  """Returns the record, with the peak and largest batch of each curve."""
  fields = dataclasses.asdict(record)
  for entry, curve in zip(fields["curves"], record.curves, strict=True):
    entry["peak"] = curve.peak and dataclasses.asdict(curve.peak)
    entry["largest_batch"] = curve.largest_batch
  return fields
