"""What is tried when a config does not fit, and in which order."""

import dataclasses

import pytest

from vit_jax.aot import fit
from vit_jax.aot.estimate import Estimate, paper_core_days
from vit_jax.aot.topologies import parse
from vit_jax.config.find import load_config
from vit_jax.config.schema import default_config, resolve
from vit_jax.errors import UsageError

FIELDS = {field.name: 0 for field in dataclasses.fields(Estimate)
          if field.default is dataclasses.MISSING}


@pytest.fixture
def config():
  config = default_config()
  config.train.steps = 10
  config.data.batch_size = 64
  return resolve(config)


def stand_in(monkeypatch, judge):
  """Replaces the compiler; `judge` returns (fits, images per second)."""
  seen = []

  def estimate(config, topology, **_):
    seen.append(config)
    fits, pace = judge(config)
    return Estimate(**FIELDS | {
        "fits": fits, "images_per_second_per_device": pace})

  monkeypatch.setattr(fit, "estimate", estimate)
  return seen


def test_remat_first_then_accumulation_then_fsdp_then_tensor(config):
  several = list(fit.remedies(config, parse("v5e-8")))
  first = [next(i for i, c in enumerate(several) if key in c) for key in (
      "model.remat", "train.accumulate", "mesh.fsdp", "mesh.tensor")]
  assert first == sorted(first) and first[0] == 0
  # Several at once come last.
  alone = [len(changes) == 1 for changes in several]
  assert alone == sorted(alone, reverse=True)
  # Each micro-batch still gives every device a picture.
  assert all(64 // 8 % c.get("train.accumulate", 1) == 0 for c in several)


def test_a_mesh_that_was_chosen_is_kept(config):
  config.mesh.update(data=2, fsdp=4)
  assert not any("mesh.fsdp" in c or "mesh.tensor" in c
                 for c in fit.remedies(config, parse("v5e-8")))


def test_the_first_that_fits_is_taken(config, monkeypatch):
  seen = stand_in(monkeypatch, lambda c: (c.train.accumulate >= 4, 1.0))
  notes = []
  found = fit.make_fit(config, parse("v5e-8"), num_classes=10, total=10,
                       note=notes.append)
  assert found.overrides == "--config.train.accumulate=4"
  assert len(seen) == 4 and "trying --config.model.remat=dots" in notes[0]
  assert config.train.accumulate == 1  # The config itself is left alone.


def test_nothing_fits(config, monkeypatch):
  stand_in(monkeypatch, lambda c: (False, None))
  assert fit.make_fit(config, parse("v5e-8"), num_classes=1, total=1) is None
  with pytest.raises(UsageError, match="nothing that --auto tried fits v5e-8"):
    fit.search(config, parse("v5e-8"), num_classes=10, total=10)


def test_search_takes_the_fastest_that_fits(config, monkeypatch):
  def judge(c):
    pace = (100 * (c.mesh.fsdp == 4) + 10 * (c.train.accumulate == 2)
            + (c.model.remat == "dots"))
    return c.model.remat != "none", float(pace)

  stand_in(monkeypatch, judge)
  best, *rest = fit.search(config, parse("v5e-8"), num_classes=10, total=10)
  assert best.changes == {"train.accumulate": 2, "model.remat": "dots",
                          "mesh.data": -1, "mesh.fsdp": 4}
  assert best.overrides == (
      "--config.train.accumulate=2 --config.model.remat=dots "
      "--config.mesh.data=-1 --config.mesh.fsdp=4")
  paces = [t.estimate.images_per_second_per_device for t in (best, *rest)]
  assert paces == sorted(paces, reverse=True)


def test_the_global_batch_is_kept_unless_asked(config):
  topology = parse("v5e-8")
  for changes in fit.candidates(config, topology):
    assert "data.batch_size" not in changes
  larger = fit.candidates(config, topology, per_device=(4, 32))
  assert {c.get("data.batch_size") for c in larger} == {None, 256}
  assert {c["train.accumulate"] for c in larger} == {1, 2}


def test_core_days_stand_beside_a_run_of_the_papers_length_only():
  def core_days(arg, total):
    return paper_core_days(
        load_config([f"--config=configs/pretrain.py:{arg}"]), total)

  assert core_days("L/16,imagenet21k", 310_823) == 230
  assert core_days("L/16,imagenet21k,30", 103_608) is None
  assert core_days("L/16,jft300m", 1_035_645) == 680
  assert core_days("L/16,jft300m,7", 517_822) is None
  assert core_days("B/16,imagenet21k", 310_823) is None


def test_the_kernel_is_tried_where_its_schedule_shows_what_it_costs(config):
  topology = parse("v5e-8")
  assert not any("model.attention" in c
                 for c in fit.candidates(config, topology))
  several = fit.candidates(config, topology, kernels=True)
  fused = [c for c in several if c.get("model.attention") == "fused"]
  assert fused and not any("model.remat" in c for c in fused)
  config.model.attention = "einsum"  # What was chosen is kept.
  assert not any("model.attention" in c
                 for c in fit.candidates(config, topology, kernels=True))
