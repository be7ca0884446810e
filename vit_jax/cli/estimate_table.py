"""The TPU compiler's estimates as a table for people."""

from typing import TYPE_CHECKING

from vit_jax.cli import output

if TYPE_CHECKING:
  from vit_jax.aot.estimate import Estimate


def print_estimate(estimate: "Estimate", price: float | None = None) -> None:
  """Prints an estimate for people.

  Args:
    estimate: of a step and the run.
    price: of one chip for an hour; what the run costs is left out where None.
  """
  mesh = " x ".join(f"{axis} {size}" for axis, size in estimate.mesh.items())
  rows = [
      ("slice", f"{estimate.topology} ({estimate.libtpu_topology}): "
       f"{estimate.chips} chips, {estimate.devices} devices; {mesh}"),
      ("batch", f"{estimate.batch_size:,}: {_share(estimate)} per device"),
      ("fits", "yes" if estimate.fits else
       f"NO: {gibibytes(estimate.exceeded_bytes)} too much"),
      ("memory of a device", f"{gibibytes(estimate.peak_bytes)} of "
       f"{gibibytes(estimate.hbm_bytes)}"),
      ("  parameters", gibibytes(estimate.parameter_bytes)),
      ("  optimiser, average", gibibytes(estimate.optimizer_bytes))]
  if estimate.fits:
    rows += [("  activations and others", gibibytes(estimate.temporary_bytes)),
             *_work_rows(estimate), *_time_rows(estimate)]
    if price is not None and estimate.days is not None:
      rows.append((
          "cost", f"{cost(estimate, price):,.2f}: {estimate.chips:,} chips for "
          f"{24 * estimate.days:,.2f} hours at {price:g} an hour"))
  output.print_table(rows)
  if estimate.fits:
    print("\nEstimates of the compiler, nothing was timed.")


def _work_rows(estimate: "Estimate") -> list[tuple[str, str]]:
  """Returns the rows about arithmetic, memory traffic and network."""
  by_compiler = estimate.compiler_flops_per_image
  moved = estimate.hbm_bytes_moved
  assert by_compiler is not None and moved is not None  # It fits.
  traffic = ", ".join(
      f"{total['count']:,.0f} {kind} ({total['wire_bytes'] / 1e6:,.0f} MB)"
      for kind, total in estimate.collectives.items()) or "none"
  return [
      ("FLOPs per image",
       f"{estimate.flops_per_image / 1e9:,.1f} G by formula, "
       f"{by_compiler / 1e9:,.1f} G in the program"),
      ("memory traffic", f"{moved / 1e9:,.1f} GB per step"),
      ("collectives", traffic)]


def _time_rows(estimate: "Estimate") -> list[tuple[str, str]]:
  """Returns the rows about the time of a step and of the whole run."""
  step = f"{_ms(estimate.estimated_step_seconds)} ms"
  if estimate.method == "schedule":
    step += " by the final schedule, memory and network"
    if estimate.unscheduled:
      step += f"; {estimate.unscheduled:,} products are not in the schedule"
  else:
    step += " or more, by products, memory and network of each operation"
  groups = ", ".join(
      f"{name} {_ms(total['seconds'])}"
      for name, total in estimate.groups.items()
      if total["seconds"] >= 0.001 * (estimate.estimated_step_seconds or 0))
  rows = [
      ("roofline", f"{_ms(estimate.roofline_seconds)} ms: arithmetic "
       f"{_ms(estimate.compute_seconds)}, memory "
       f"{_ms(estimate.memory_seconds)}, network "
       f"{_ms(estimate.network_seconds)}"),
      ("step", step),
      ("  ms by group", groups),
      ("pace", f"{estimate.images_per_second:,.0f} img/s, "
       f"{estimate.images_per_second_per_device:,.0f} per device, MFU "
       f"{estimate.mfu:.1%}")]
  if estimate.steps is not None:
    paper = ("" if estimate.paper_core_days is None else
             f"; the paper took {estimate.paper_core_days:,.0f} on TPUv3")
    rows.append((
        "whole run", f"{estimate.steps:,} steps in {estimate.days:,.2f} days, "
        f"{estimate.core_days:,.1f} core-days{paper}"))
  return [*rows, ("compiled in", f"{estimate.compile_seconds:.0f} s")]


def _share(estimate: "Estimate") -> str:
  """Returns how many images a device takes, and how many times per step."""
  ways = estimate.mesh["data"] * estimate.mesh["fsdp"] * estimate.accumulate
  times = f", {estimate.accumulate} times" if estimate.accumulate > 1 else ""
  return f"{estimate.batch_size // ways}{times}"


def cost(estimate: "Estimate", price: float) -> float:
  """Returns the price of the whole run, without evaluating and restarts.

  Args:
    estimate: of a run whose length is known.
    price: of one chip for an hour, in any currency.
  """
  assert estimate.days is not None
  return estimate.chips * 24 * estimate.days * price


def gibibytes(count: int) -> str:
  """Returns a number of bytes in GiB."""
  return f"{count / 2**30:.2f} GiB"


def _ms(seconds: float | None) -> str:
  """Returns milliseconds; every time is known where the program fits."""
  assert seconds is not None
  return f"{seconds * 1e3:,.1f}"
