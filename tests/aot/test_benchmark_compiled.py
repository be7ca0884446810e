"""The benchmark for a slice that is not there."""

import contextlib
import io

import pytest

from vit_jax.__main__ import main
from vit_jax.benchmark.record import read_benchmark


@pytest.mark.tpu_compiler
@pytest.mark.thorough
def test_estimates_for_a_slice(libtpu, tmp_path):
  out = io.StringIO()
  with contextlib.redirect_stdout(out):
    code = main([
        "benchmark", "--topology=v3-8", "--models=Ti/16,R14x1", "--sizes=64",
        "--batches=1,16,1048576", f"--out={tmp_path}/v3.json",
        f"--figure={tmp_path}/v3.png"])
  assert code == 0 and "v3-8 (estimates of the compiler)" in out.getvalue()
  found = read_benchmark(f"{tmp_path}/v3.json")
  assert [c.model for c in found.curves] == ["Ti/16", "R14x1"]
  for curve in found.curves:
    assert curve.largest_batch == 16 and curve.exceeded == 2**20
    one, many = (p.images_per_second_per_device for p in curve.points)
    assert many > 2 * one  # A larger batch fills the matrix units better.
  assert (tmp_path / "v3.png").read_bytes().startswith(b"\x89PNG")
