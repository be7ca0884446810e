"""What a benchmark finds, and the JSON file that keeps it."""

import dataclasses
import json
import pathlib
from typing import Any

from vit_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Point:
  """A batch size that fits.

  Attributes:
    batch_per_device: pictures, over the ways in which the mesh splits them.
    images_per_second_per_device: the median of the windows, or an estimate.
    slowest, fastest: of the windows, in the same unit; the estimate again.
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
class Curve:
  """A model at an input size.

  Attributes:
    model: its name.
    image_size: height and width of the pictures.
    flops_per_image: by formula, of what is timed.
    points: by growing batch; empty if not even the first one fits.
    exceeded: the batch per device that did not fit, None if all did.
  """

  model: str
  image_size: int
  flops_per_image: int
  points: tuple[Point, ...]
  exceeded: int | None

  @property
  def peak(self) -> Point | None:
    """The batch size of the highest pace."""
    return max(self.points, default=None,
               key=lambda p: p.images_per_second_per_device)

  @property
  def largest_batch(self) -> int:
    """The largest batch per device that fits, 0 if none does."""
    return max((p.batch_per_device for p in self.points), default=0)


@dataclasses.dataclass
class Record:
  """What was measured, on what and how; a JSON file holds one.

  Attributes:
    what: "forward" or "train".
    date: of the measurement.
    device: as jax calls it, "v3 (estimates of the compiler)" where nothing was
      timed; devices: their number.
    memory_bytes: that jax may use on a device; None where it does not say.
    versions: of jax and other packages.
    dtype: compute dtype; attention: implementation that was asked for.
    changes: keys of the config that differ from its defaults.
    steps, seconds: at least so many for every batch size; 0 where nothing was
      timed, but estimated.
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
  curves: list[Curve] = dataclasses.field(default_factory=list)

  @property
  def where(self) -> str:
    """What it is about, in words."""
    if not self.steps:
      return self.device  # A slice, whose name counts its devices.
    return f"{self.devices} x {self.device}" if self.devices > 1 else (
        self.device)


def read_record(path: str) -> Record:
  """Returns the record of a file.

  Raises:
    UsageError: the file holds something else.
  """
  try:
    said = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    curves = []
    for one in said.pop("curves"):
      fields = {f.name: one[f.name] for f in dataclasses.fields(Curve)}
      fields["points"] = tuple(Point(**p) for p in fields["points"])
      curves.append(Curve(**fields))
    return Record(**said, curves=curves)
  except (AttributeError, KeyError, TypeError, ValueError):
    raise UsageError(f"{path} holds no record of `benchmark --out`") from None


def write_record(record: Record, path: str) -> None:
  """Writes the record as JSON."""
  text = json.dumps(to_json(record), indent=2) + "\n"
  pathlib.Path(path).write_text(text, encoding="utf-8")


def to_json(record: Record) -> dict[str, Any]:
  """Returns the record, with the peak and largest batch of each curve."""
  said = dataclasses.asdict(record)
  for one, curve in zip(said["curves"], record.curves, strict=True):
    one["peak"] = curve.peak and dataclasses.asdict(curve.peak)
    one["largest_batch"] = curve.largest_batch
  return said
