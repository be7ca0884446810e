"""Benchmark: what is timed, where a batch stops growing, record and figure."""

import dataclasses
import json

import jax
import matplotlib
import numpy as np
import pytest

from vit_jax.__main__ import main
from vit_jax.benchmark import record as records
from vit_jax.benchmark import timed as timing
from vit_jax.benchmark.options import config_for
from vit_jax.benchmark.plot import draw
from vit_jax.benchmark.record import BatchPoint, BenchmarkRecord, ModelCurve
from vit_jax.config.schema import default_config
from vit_jax.devices.sharding import make_mesh
from vit_jax.errors import UsageError
from vit_jax.models import cost
from vit_jax.models.variants import make_model

# No machine has so much memory, nor so many addresses.
TOO_MANY = 2**40
SHAPE = dict(width=16, depth=1, mlp_dim=16, num_heads=2)
TINY = [f"--config.model.{k}={v}" for k, v in SHAPE.items()]
QUICK = ["--steps=1", "--seconds=0.01"]


@pytest.fixture(autouse=True)
def _no_compilation_cache(monkeypatch):
  """The verb turns it on for its process; this process is pytest's."""
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


@pytest.fixture
def run(capsys):
  """Runs `vit_jax benchmark WORD...` in this process."""

  def call(*words):
    capsys.readouterr()
    code = main(["benchmark", *map(str, words)])
    return (code, *capsys.readouterr())

  return call


class Device:
  """Computes when it is waited for, by a clock of its own."""

  def __init__(self, seconds, compiling=0.0):
    self.now, self.queued, self.seconds = 0.0, compiling, seconds
    self.started = []

  def step(self):
    self.queued += self.seconds
    self.started.append(self.now)
    return len(self.started)

  def wait(self, _):
    self.now, self.queued = self.now + self.queued, 0.0

  def clock(self):
    return self.now


def timed(monkeypatch, device, **effort):
  monkeypatch.setattr(timing.jax, "block_until_ready", device.wait)
  return timing.time_step(device.step, clock=device.clock, **effort)


def config(**model):
  found = default_config()
  found.model.update(SHAPE | model)
  found.train.steps = 1000
  return found


def record(curves):
  return BenchmarkRecord(
      what="forward", date="2026-01-31", device="TPU v3", devices=8,
      memory_bytes=16 * 2**30, versions={"jax": "0.10.2"}, dtype="bfloat16",
      attention="auto", changes={"model.scan": True}, steps=10, seconds=2.0,
      curves=curves)


def points(*pairs):
  return tuple(BatchPoint(batch, pace, pace * 0.9, pace * 1.1, 50, 0.25)
               for batch, pace in pairs)


CURVES = [
    ModelCurve("B/16", 224, 35, points((1, 50.0), (2, 90.0), (4, 80.0)), 8),
    ModelCurve("B/16", 384, 110, points((1, 20.0), (2, 30.0)), 4),
    ModelCurve("R50x1", 224, 8, points((1, 70.0), (2, 95.5)), None),
    ModelCurve("R50x1", 384, 25, (), 1)]


def test_a_step_of_twice_the_work_takes_twice_the_time(monkeypatch):
  once, _ = timed(monkeypatch, Device(0.02), steps=10, seconds=1.0)
  twice, _ = timed(monkeypatch, Device(0.04), steps=10, seconds=1.0)
  assert once == pytest.approx([0.02] * timing.WINDOWS)
  assert twice == pytest.approx([0.04] * timing.WINDOWS)


def test_compiling_is_neither_timed_nor_taken_for_a_step(monkeypatch):
  effort = dict(steps=10, seconds=1.0)
  _, count = timed(monkeypatch, Device(0.02), **effort)
  windows, same = timed(monkeypatch, Device(0.02, compiling=60.0), **effort)
  assert max(windows) == pytest.approx(0.02)
  assert same == count > 1


def test_the_device_is_waited_for_at_the_end_of_a_window_only(monkeypatch):
  device = Device(0.02)
  _, count = timed(monkeypatch, device, steps=10, seconds=1.0)
  # The steps of a window have all been started before its first is done.
  assert len(set(device.started)) == 2 + timing.WINDOWS
  assert len(device.started) == 2 + timing.WINDOWS * count


@pytest.mark.parametrize("seconds_a_step, steps, seconds, least, most", [
    (0.01, 10, 2.0, 200, 210),  # By time.
    (3.0, 10, 2.0, 10, 10),  # A slow step: by number.
    (3.0, 1, 0.1, timing.WINDOWS, timing.WINDOWS),
    (1e-7, 1, 2.0, 5000, timing.WINDOWS * timing.MOST_STEPS)])
def test_as_many_steps_as_asked_for_and_as_long(
    monkeypatch, seconds_a_step, steps, seconds, least, most):
  _, count = timed(
      monkeypatch, Device(seconds_a_step), steps=steps, seconds=seconds)
  assert least <= timing.WINDOWS * count <= most


@pytest.mark.parametrize("message", [
    "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm",
    "INTERNAL: Error dispatching computation: Out of memory allocating 9 bytes",
    "INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory"])
def test_a_full_memory_ends_the_growth_and_is_no_error(message):
  tried = []

  def compute(batch):
    tried.append(batch)
    if batch > 4:
      raise jax.errors.JaxRuntimeError(message)
    return 10 * batch

  assert timing.grow([16, 1, 8, 4, 2], compute) == (
      {1: 10, 2: 20, 4: 40}, 8)
  assert tried == [1, 2, 4, 8]


def test_any_other_error_is_one():
  def compute(_):
    raise RuntimeError("INTERNAL: something else")

  with pytest.raises(RuntimeError, match="something else"):
    timing.grow([1], compute)


def test_growth_without_end_says_so():
  assert timing.grow([1, 2], lambda batch: batch) == ({1: 1, 2: 2}, None)


def test_peak_and_largest_batch_are_two_things():
  assert CURVES[0].peak.batch_per_device == 2
  assert CURVES[0].largest_batch == 4
  assert CURVES[3].peak is None and CURVES[3].largest_batch == 0


@pytest.mark.parametrize("what, flops_per_mac, mesh", [
    ("train", 6, dict(fsdp=2)), ("forward", 2, dict(tensor=2)), *(
        pytest.param(*values, marks=pytest.mark.thorough) for values in (
            ("forward", 2, dict()), ("forward", 2, dict(fsdp=2)),
            ("train", 6, dict()), ("train", 6, dict(tensor=2))))])
def test_pace_is_that_of_one_device_and_mfu_by_formula(
    monkeypatch, what, flops_per_mac, mesh):

  def time_step(step, **_):
    jax.block_until_ready(step())
    return [0.5, 0.25, 2.0, 0.25, 0.5], 7

  monkeypatch.setattr(timing, "time_step", time_step)
  monkeypatch.setattr(cost, "peak_flops", lambda kind: 1e9)
  given = config()
  given.mesh.update(mesh)
  curve, = timing.measure(
      given, ["Ti/16"], [32], batches=[4], what=what)
  point, = curve.points
  # With tensor=2, two devices share four pictures.
  share = 4 / mesh.get("tensor", 1)
  assert point.images_per_second_per_device == share / 0.5
  assert (point.slowest, point.fastest) == (share / 2.0, share / 0.25)
  assert point.steps == 7 * timing.WINDOWS
  model = make_model("Ti/16", num_classes=timing.NUM_CLASSES, **SHAPE)
  flops = flops_per_mac * model.macs((32, 32))
  assert curve.flops_per_image == flops
  assert point.mfu == pytest.approx(share / 0.5 * flops / 1e9)


def test_pictures_are_noise_and_split_over_all_devices():
  batch = timing.make_batch(make_mesh(), 16, 32)
  assert {s.data.shape for s in batch["image"].addressable_shards} == {
      (2, 32, 32, 3)}
  assert batch["label"].sharding.shard_shape((16,)) == (2,)
  image = np.array(batch["image"])
  assert image.dtype == np.uint8
  # As even as random bytes are, and no picture twice.
  counts = np.bincount(image.ravel(), minlength=256)
  assert 100 < counts.min() and counts.max() < 300
  assert len({one.tobytes() for one in image}) == 16


@pytest.mark.parametrize("what", [
    "forward", pytest.param("train", marks=pytest.mark.slow)])
def test_one_command_measures_writes_and_draws(run, tmp_path, what):
  out, png = tmp_path / "speed.json", tmp_path / "figure12.png"
  code, printed, notes = run(
      "--models=Ti/16", "--sizes=32,16", f"--batches=1,2,{TOO_MANY}",
      f"--what={what}", f"--out={out}", f"--figure={png}", *TINY, *QUICK)
  assert code == 0
  lines = [line.split() for line in printed.splitlines()
           if line.startswith("Ti/16")]
  assert [line[1] for line in lines] == ["16", "32"]
  for line in lines:
    assert line[-5:] == ["2", f"({TOO_MANY:,}", "does", "not", "fit)"]
  assert f"wrote {out}" in printed and f"wrote {png}" in printed
  assert f"batch {TOO_MANY:,}: out of memory" in notes
  assert png.read_bytes().startswith(b"\x89PNG")

  stored = json.loads(out.read_text())
  assert stored["what"] == what and stored["dtype"] == "float32"
  assert stored["device"] == "cpu" and stored["devices"] == 8
  assert stored["versions"]["jax"] == jax.__version__
  assert stored["changes"]["model.width"] == 16
  for curve in stored["curves"]:
    assert curve["largest_batch"] == 2 and curve["exceeded"] == TOO_MANY
    assert [p["batch_per_device"] for p in curve["points"]] == [1, 2]
    best = max(p["images_per_second_per_device"] for p in curve["points"])
    assert curve["peak"]["images_per_second_per_device"] == best
    for point in curve["points"]:
      assert 0 < point["slowest"] <= point["images_per_second_per_device"]
      assert point["images_per_second_per_device"] <= point["fastest"]
      assert point["mfu"] is None  # Nobody knows a CPU's peak.

  # The record alone gives the same table, and the same JSON.
  _, again, _ = run(f"--from={out}")
  assert again.strip() == printed.partition("wrote")[0].strip()
  _, as_json, _ = run(f"--from={out}", "--json")
  assert json.loads(as_json) == stored | {"figure": None}


def test_a_record_comes_back_as_it_was(tmp_path):
  path = str(tmp_path / "record.json")
  records.write_benchmark(record(CURVES), path)
  assert records.read_benchmark(path) == record(CURVES)


def test_an_interruption_loses_only_what_was_under_way(
    run, monkeypatch, tmp_path):
  def measure(*_, **__):
    yield CURVES[0]
    raise KeyboardInterrupt

  monkeypatch.setattr(timing, "measure", measure)
  code, _, _ = run(f"--out={tmp_path}/speed.json")
  assert code == 130
  assert records.read_benchmark(f"{tmp_path}/speed.json").curves == CURVES[:1]


def test_batches_are_powers_of_two_and_few_on_a_cpu(run, monkeypatch):
  asked = {}

  def measure(config, models, sizes, **how):
    asked.update(how, models=models, sizes=sizes)
    return iter(CURVES)

  monkeypatch.setattr(timing, "measure", measure)
  run()
  assert asked["batches"] == [1, 2, 4, 8, 16, 32, 64]
  assert list(asked["models"]) == [
      "R50x1", "R50x2", "R152x4", "B/32", "B/16", "L/32", "L/16", "H/14"]
  assert list(asked["sizes"]) == [64, 128, 224, 384, 512]
  assert asked["what"] == "forward"
  run("--max_batch=12", "--models=b16", "--sizes=32")
  assert asked["batches"] == [1, 2, 4, 8]
  assert (asked["models"], asked["sizes"]) == (("b16",), [32])


def test_cut_off_pixels_are_told_of_once_and_too_small_pictures_left_out(run):
  code, printed, notes = run(
      "--models=Ti/14", "--sizes=8,32", "--batches=1,2", *TINY, *QUICK)
  assert code == 0
  assert notes.count("images of 32x32 are not whole patches") == 1
  assert notes.count("left out: Ti/14 at 8: images of 8x8 hold no patch") == 1
  assert sum(line.startswith("Ti/14") for line in printed.splitlines()) == 1


@pytest.mark.parametrize("words, message", [
    (["--models=B17"], "model.variant='B17' is unknown"),
    (["--modles=B/16"], "did you mean '--models'"),
    (["--sizes=big"], "'big' is not a whole number"),
    (["--what=fly"], "forward"),
    (["--seconds=0"], "--seconds=0.0 must be positive"),
    (["--batches=1", "--max_batch=2"], "leave out --max_batch"),
    (["--dtype=int8"], "model.dtype='int8' is unknown"),
    (["--attention=flash"], "model.attention='flash' is unknown"),
    (["--config=configs/vit.py"], "no --config=FILE"),
    (["--config.model.widht=3"], "did you mean 'width'"),
    (["--config.model.depth=deep"], "config.model.depth='deep'"),
    (["--config.data.batch_size=8"], "use --batches"),
    (["--config.mesh.fsdp=3"], "do not fit 8 devices"),
    (["--figure=figure.gif"], ".png"),
    (["--out=no/such/folder/a.json"], "no folder no/such/folder"),
    (["--from={other}"], "holds no record"),
    (["--from={other}", "--sizes=32"], "leave out --sizes"),
    (["--models=B/16", "--sizes=8"], "nothing could be measured")])
def test_wrong_use_is_one_line(run, tmp_path, words, message):
  other = tmp_path / "other.json"
  other.write_text('{"curves": [{"model": "B/16"}]}')
  code, printed, errors = run(*(w.format(other=other) for w in words))
  assert code == 2 and not printed
  lines = [e for e in errors.splitlines() if e.startswith("vit_jax: error")]
  assert message in lines[0] and len(lines) == 1
  assert errors.count("\n") == 1 + errors.count("left out")


def test_an_unknown_what_is_answered_in_python_too():
  with pytest.raises(UsageError, match="did you mean 'forward'"):
    timing.measure(config(), ["Ti/16"], [32], batches=[1], what="foward")


def test_the_figure_shows_peaks_and_largest_batches():
  matplotlib.use("Agg")
  from matplotlib import pyplot as plt

  figure = draw(record(CURVES), plt)
  pace, batch = figure.axes
  lines = {line.get_label(): line for line in pace.lines}
  assert list(lines["B/16"].get_xdata()) == [224, 384]
  assert list(lines["B/16"].get_ydata()) == [90.0, 30.0]
  # What does not fit at all has no place in it.
  assert list(lines["R50x1"].get_xdata()) == [224]
  largest = {line.get_label(): line for line in batch.lines}
  assert list(largest["B/16"].get_ydata()) == [4, 2]
  np.testing.assert_allclose(
      largest["B/16"].get_xdata(), [224, 384], rtol=0.02)
  hollow = [line for line in batch.lines if line.get_mfc() == "white"]
  assert [list(line.get_ydata()) for line in hollow] == [[2]]
  assert "TPU v3" in figure.get_suptitle()
  assert [t.get_text() for t in figure.legends[0].get_texts()] == [
      "B/16", "R50x1"]
  for axes in figure.axes:
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title()
    assert [t.get_text() for t in axes.get_xticklabels()] == ["224", "384"]
  plt.close(figure)


def test_training_is_named_in_the_figure(tmp_path, run):
  path = tmp_path / "record.json"
  records.write_benchmark(
      dataclasses.replace(record(CURVES), what="train"), str(path))
  code, printed, _ = run(f"--from={path}", f"--figure={tmp_path}/a.svg")
  assert code == 0 and printed.startswith("Train step on 8 x TPU v3 of 16.0")
  assert "25.0%" in printed and "2 or more" in printed
  assert "1 does not fit" in printed
  assert "<svg" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("words", [
    ["--steps=3"], ["--seconds=1"], ["--from=x.json"]])
def test_nothing_is_timed_for_a_slice(run, words):
  code, _, err = run("--topology=v3-8", *words)
  assert code == 2 and len(err.splitlines()) == 1


def test_a_resnet_is_not_told_of_scans():
  given = default_config()
  given.model.update(scan=True, attention="einsum", remat="full")
  resnet, vit = (config_for(given, name).model for name in ("R50x1", "B/16"))
  assert (resnet.scan, resnet.attention, resnet.remat) == (
      False, "auto", "full")
  assert vit.scan and vit.attention == "einsum"
  assert given.model.variant is None  # What was given stays as it is.


def test_an_estimate_counts_no_slices():
  one = dataclasses.replace(record(CURVES), device="v3-8", devices=8, steps=0)
  assert one.where == "v3-8"
  assert dataclasses.replace(one, steps=3).where == "8 x v3-8"
