"""What a run costs: chips x hours x the price that the user gives."""

import dataclasses

import pytest

from vit_jax.aot.estimate import Estimate
from vit_jax.cli import estimate_table


def estimate(**changes):
  fields = {f.name: 1 for f in dataclasses.fields(Estimate)}
  return Estimate(**fields | dict(
      topology="v5e-8", libtpu_topology="v5e:2x4", mesh=dict(
          data=8, fsdp=1, tensor=1), batch_size=8, fits=True, chips=8,
      collectives={}, mfu=0.5, days=0.5, steps=100, core_days=4.0,
      paper_core_days=None, groups={}) | changes)


def test_cost_is_chips_times_hours_times_price():
  assert estimate_table.cost(estimate(), 1.5) == pytest.approx(8 * 12 * 1.5)


def test_cost_is_printed_where_a_price_is_given(capsys):
  estimate_table.print_estimate(estimate(), 1.5)
  line, = [x for x in capsys.readouterr().out.splitlines()
           if x.startswith("cost")]
  assert line.split(maxsplit=1)[1] == (
      "144.00: 8 chips for 12.00 hours at 1.5 an hour")
  estimate_table.print_estimate(estimate())
  estimate_table.print_estimate(estimate(days=None, steps=None), 1.5)
  assert "cost" not in capsys.readouterr().out
