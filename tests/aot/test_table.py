"""The table of models x slices: what is compiled, and what its cells mean."""

import dataclasses
import os
import subprocess
import sys

import pytest

from vit_jax.aot import table
from vit_jax.aot.estimate import Estimate
from vit_jax.config.find import load_config
from vit_jax.config.schema import default_config

GIB = 2**30
REQUIRED = {field.name: 0 for field in dataclasses.fields(Estimate)
            if field.default is dataclasses.MISSING}
FITS = Estimate(**REQUIRED | dict(
    topology="v5e-256", devices=256, mesh={"data": 32, "fsdp": 8, "tensor": 1},
    fits=True, hbm_bytes=int(15.75 * GIB), peak_bytes=int(7.26 * GIB),
    images_per_second_per_device=1234.5, mfu=0.456,
    estimated_step_seconds=0.0123, roofline_seconds=0.0101, days=3.14,
    core_days=1607.7))
TOO_LARGE = Estimate(**REQUIRED | dict(
    topology="v3-8", devices=8, mesh={"data": 8, "fsdp": 1, "tensor": 1},
    fits=False, hbm_bytes=int(15.48 * GIB), peak_bytes=20 * GIB,
    exceeded_bytes=int(4.52 * GIB)))


def cells(line):
  return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_that_fits():
  row = table.row("L/16", FITS)
  assert dict(zip(table.HEADER, row, strict=True)) == {
      "model": "L/16", "slice": "v5e-256", "devices": "256",
      "mesh": "data 32 fsdp 8", "GiB of": "7.3 of 15.8",
      "img/s/device": "1,234", "MFU": "46%", "ms/step": "12",
      "roofline ms": "10", "days": "3.1", "core-days": "1,608"}


def test_a_row_that_does_not_fit_has_no_pace():
  row = dict(zip(table.HEADER, table.row("H/14", TOO_LARGE), strict=True))
  assert row["GiB of"] == "20.0 of 15.5"
  assert row["img/s/device"] == "does not fit"
  assert {row[name] for name in table.HEADER[6:]} == {""}


def test_markdown_has_as_many_cells_in_every_line():
  text = table.markdown([table.row("L/16", FITS), table.row("H/14", TOO_LARGE)])
  lines = text.splitlines()
  assert text.endswith("|\n") and len(lines) == 4
  assert cells(lines[0]) == list(table.HEADER)
  assert {len(cells(line)) for line in lines} == {len(table.HEADER)}
  assert cells(lines[2])[:2] == ["L/16", "v5e-256"]


def test_every_model_is_compiled_for_every_slice(monkeypatch):
  compiled = []

  def estimate(config, topology, *, num_classes, total, schedule):
    compiled.append((config, topology.name, num_classes, total))
    return TOO_LARGE if topology.name == "v3-8" else FITS

  monkeypatch.setattr(table, "estimate", estimate)
  configs = {"B/16": default_config(), "G/14": default_config()}
  for config in configs.values():
    config.data.batch_size = 4096
    config.train.epochs = 90.0
  configs["G/14"].model.remat = "full"
  notes = []
  found = list(table.estimates(
      configs, ["v3-8", "v5e-256"], examples=40_960, num_classes=21_843,
      note=notes.append))
  assert found == [("B/16", TOO_LARGE), ("B/16", FITS), ("G/14", TOO_LARGE),
                   ("G/14", FITS)]
  assert [name for _, name, _, _ in compiled] == ["v3-8", "v5e-256"] * 2
  assert {(n, total) for _, _, n, total in compiled} == {(21_843, 900)}
  # Blocks are one loop that is recomputed; who recomputes all still does.
  assert all(config.model.scan for config, *_ in compiled)
  assert [config.model.remat for config, *_ in compiled] == [
      "dots", "dots", "full", "full"]
  # The configs themselves are left alone.
  assert not configs["B/16"].model.scan
  assert [note.rpartition(",")[0] for note in notes] == [
      "B/16 on v3-8: does not fit", "B/16 on v5e-256: fits",
      "G/14 on v3-8: does not fit", "G/14 on v5e-256: fits"]


@pytest.mark.parametrize("model", table.MODELS)
def test_every_model_of_the_table_has_a_recipe(model):
  config = load_config([f"--config={table.CONFIG.format(model=model)}"])
  assert config.model.variant == model and config.data.batch_size == 4096


@pytest.mark.tpu_compiler
@pytest.mark.thorough
def test_the_verb_prints_and_writes_the_table(libtpu, tmp_path):
  out = tmp_path / "table.md"
  done = subprocess.run(
      [sys.executable, "-m", "vit_jax", "compile", "--table", "--models=S/16",
       "--topologies=v5e-4,v6e-1", f"--out={out}", "--config.model.depth=1",
       "--config.model.width=64", "--config.model.mlp_dim=64",
       "--config.model.num_heads=2", "--config.data.image_size=64",
       "--config.data.batch_size=64"],
      env=os.environ | {"XLA_FLAGS": ""}, text=True, capture_output=True,
      timeout=500, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  assert "S/16 on v6e-1: fits" in done.stderr
  first, second = out.read_text().splitlines()[2:]
  for line, name, devices in ((first, "v5e-4", 4), (second, "v6e-1", 1)):
    row = dict(zip(table.HEADER, cells(line), strict=True))
    assert (row["model"], row["slice"]) == ("S/16", name)
    assert row["devices"] == str(devices)
    assert float(row["img/s/device"].replace(",", "")) > 0
    assert float(row["ms/step"]) >= float(row["roofline ms"])
    # The same cells are printed for people.
    assert name in done.stdout and row["img/s/device"] in done.stdout
