"""A benchmark's record as a table for people."""

from typing import TYPE_CHECKING

from vit_jax.cli import output

if TYPE_CHECKING:
  from vit_jax.benchmark.record import BenchmarkRecord, ModelCurve

HEADER = ("model", "size", "img/s/device", "slowest..fastest", "at batch",
          "MFU", "largest batch")


def print_record(record: "BenchmarkRecord") -> None:
  """Prints a record for people."""
  memory = (f" of {record.memory_bytes / 2**30:.1f} GiB"
            if record.memory_bytes else "")
  what = {"forward": "Forward pass", "train": "Train step"}[record.what]
  print(f"{what} on {record.where}{memory}: {record.dtype}, attention "
        f"{record.attention}, jax {record.versions.get('jax', '?')}, "
        f"{record.date}")
  for key, value in record.changes.items():
    print(f"  {key}={value}")
  print()
  output.print_table([_row(curve) for curve in record.curves], HEADER,
                     right=(1, 2, 3, 4, 5))


def _row(curve: "ModelCurve") -> list[str]:
  """Returns the cells under HEADER."""
  cells, peak = [curve.model, f"{curve.image_size}"], curve.peak
  if peak is None:
    return [*cells, "", "", "", "", f"{curve.exceeded:,} does not fit"]
  largest = (f"{curve.largest_batch:,} or more" if curve.exceeded is None else
             f"{curve.largest_batch:,} ({curve.exceeded:,} does not fit)")
  return [
      *cells, _pace(peak.images_per_second_per_device),
      f"{_pace(peak.slowest)}..{_pace(peak.fastest)}" if peak.steps else "",
      f"{peak.batch_per_device:,}",
      "" if peak.mfu is None else f"{peak.mfu:.1%}", largest]


def _pace(value: float) -> str:
  return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"
