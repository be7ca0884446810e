"""The sweep: which runs it makes, how it chooses, and how it goes on."""

import json

import numpy as np
import pytest

from vit_jax.config import schema
from vit_jax.config.schema import default_config, eval_config
from vit_jax.data.sources import make_source
from vit_jax.errors import UsageError, UserError
from vit_jax.experiments import sweep as sweep_lib
from vit_jax.training import workdir as workdir_lib
from vit_jax.training.loop import Result
from vit_jax.training.step_log import TrainingDiverged


def recipe(**train):
  config = default_config()
  config.data.update(
      source="digits", split="train[:90%]", image_size=8, batch_size=32,
      num_threads=2, preprocess="resize({size})")
  config.model.update(variant="Ti/16", patch_size=4, width=16, depth=1,
                      mlp_dim=16, num_heads=2)
  config.optim.update(name="sgd", warmup_steps=0)
  config.train.update(steps=3, eval_every=0, report=False, **train)
  config.checkpoint.save_every = 100
  config.evals.dev = eval_config(split="train[90%:]")
  config.evals.test = eval_config(split="test")
  return config


DEV = {0.001: 0.5, 0.003: 0.8, 0.01: 0.8, 0.03: 0.2}


class FakeTraining:
  """Takes the place of train: writes what a run leaves behind, and no more."""

  def __init__(self, *, dev=DEV, stop_at=()):
    self.dev, self.stop_at, self.runs = dict(dev), set(stop_at), []

  def __call__(self, config, workdir):
    name = workdir.rpartition("/")[2]
    self.runs.append((name, schema.resolve(config)))
    if name in self.stop_at:
      self.stop_at.remove(name)
      return Result(1, False, {})
    rate = config.optim.learning_rate
    if rate not in self.dev:
      raise TrainingDiverged("train/loss is nan at step 2")
    scores = {f"eval/{key}/accuracy": self.dev[rate] if key == "dev" else
              0.9 + 0.01 * config.train.seed for key in config.evals}
    folder = sweep_lib.epath.Path(workdir_lib.create_workdir(workdir))
    workdir_lib.write_config(workdir, schema.resolve(config), {})
    (folder / "metrics.jsonl").write_text(
        json.dumps({"step": 3, **scores}) + "\n")
    (folder / "model.json").write_text("{}")
    np.savez(folder / "model.npz", weights=np.zeros(1))
    return Result(3, True, scores)

  def names(self):
    return [name for name, _ in self.runs]


@pytest.fixture
def training(monkeypatch):
  def use(**kwargs):
    fake = FakeTraining(**kwargs)
    monkeypatch.setattr(sweep_lib, "train", fake)
    return fake

  return use


FINAL = [f"best-0.003-seed-{seed}" for seed in range(3)]


def test_chooses_on_dev_and_retrains_on_everything(training, tmp_path):
  fake = training()
  outcome = sweep_lib.sweep(recipe(), str(tmp_path))
  assert fake.names() == [f"rate-{rate:g}" for rate in DEV] + FINAL
  assert outcome.finished and outcome.rates == DEV
  assert outcome.rate == 0.003  # Of two equal ones the lower.
  trying, final = fake.runs[0][1], fake.runs[-1][1]
  assert list(trying.evals) == ["dev"] and list(final.evals) == ["test"]
  assert trying.data.split == "train[:90%]"
  assert final.optim.learning_rate == 0.003
  assert [config.train.seed for _, config in fake.runs[-3:]] == [0, 1, 2]
  # The final runs see every training example once, the others not all.
  everything = make_source("digits", split="train").indices
  seen = make_source("digits", split=final.data.split).indices
  assert sorted(seen) == sorted(everything)
  assert len(make_source("digits", split=trying.data.split)) < len(everything)
  summary = outcome.summary()["eval/test/accuracy"]
  assert summary["mean"] == pytest.approx(0.91)
  assert summary["std"] == pytest.approx(np.std([0.9, 0.91, 0.92], ddof=1))
  assert summary["runs"] == 3


def test_writes_what_it_found(training, tmp_path):
  training()
  sweep_lib.sweep(recipe(), str(tmp_path), rates=(0.01, 0.001))
  said = json.loads((tmp_path / "sweep.json").read_text())
  assert said["rates"] == {"0.001": 0.5, "0.01": 0.8}
  assert said["rate"] == 0.01 and said["finished"]
  assert said["summary"]["eval/test/accuracy"]["runs"] == 3
  text = (tmp_path / "sweep.md").read_text()
  assert "| 0.01 | 80.00% | chosen |" in text
  assert "| test/accuracy | 91.00% | 1.00% | 3 |" in text


def test_told_to_stop_it_goes_on_where_it_was(training, tmp_path):
  fake = training(stop_at=["rate-0.01", FINAL[1]])
  first = sweep_lib.sweep(recipe(), str(tmp_path))
  assert not first.finished
  assert fake.names() == ["rate-0.001", "rate-0.003", "rate-0.01"]
  fake.runs.clear()
  assert not sweep_lib.sweep(recipe(), str(tmp_path)).finished
  # What is finished is not run again.
  assert fake.names() == ["rate-0.01", "rate-0.03", *FINAL[:2]]
  fake.runs.clear()
  third = sweep_lib.sweep(recipe(), str(tmp_path))
  assert fake.names() == FINAL[1:] and third.finished
  fake.runs.clear()
  assert sweep_lib.sweep(recipe(), str(tmp_path)) == third
  assert not fake.runs


def test_a_rate_that_diverges_is_left_out_for_good(training, tmp_path):
  dev = {rate: score for rate, score in DEV.items() if rate != 0.003}
  fake = training(dev=dev)
  outcome = sweep_lib.sweep(recipe(), str(tmp_path))
  assert outcome.rates == dev | {0.003: None} and outcome.rate == 0.01
  assert "diverged" in (tmp_path / "sweep.md").read_text()
  fake.runs.clear()
  assert sweep_lib.sweep(recipe(), str(tmp_path)) == outcome
  assert not fake.runs
  training(dev={})
  with pytest.raises(UserError, match="no rate of 0.001, 0.003.*lower"):
    sweep_lib.sweep(recipe(), str(tmp_path / "none"))


def test_a_single_rate_is_taken_without_trying(training, tmp_path):
  fake = training()
  config = recipe()
  del config.evals["dev"]
  outcome = sweep_lib.sweep(
      config, str(tmp_path), rates=(0.01,), num_seeds=1)
  assert fake.names() == ["best-0.01-seed-0"]
  assert fake.runs[0][1].data.split == "train[:90%]"
  assert outcome.summary()["eval/test/accuracy"]["std"] is None
  with pytest.raises(UsageError, match="no evals.dev"):
    sweep_lib.sweep(config, str(tmp_path))


def test_rates_of_the_paper(training, tmp_path):
  fake = training(dev={r: r for r in (0.003, 0.01, 0.03, 0.06)})
  config = recipe()
  config.data.source = "tfds:imagenet2012"
  sweep_lib.sweep(config, str(tmp_path), num_seeds=1)
  assert fake.names()[:4] == [
      "rate-0.003", "rate-0.01", "rate-0.03", "rate-0.06"]


def test_another_sweeps_folder_and_numbers_that_cannot_be(training, tmp_path):
  training()
  sweep_lib.sweep(recipe(), str(tmp_path), num_seeds=1)
  with pytest.raises(UsageError, match="belongs to another run.*train.steps"):
    other = recipe()
    other.train.steps = 9
    sweep_lib.sweep(other, str(tmp_path))
  for wrong in ({"rates": (0.0, 0.1)}, {"num_seeds": 0}):
    with pytest.raises(UsageError, match="sweep: rates="):
      sweep_lib.sweep(recipe(), str(tmp_path / "wrong"), **wrong)


@pytest.mark.slow
def test_with_a_real_run(tmp_path):
  arguments = dict(rates=(0.1,), num_seeds=1)
  outcome = sweep_lib.sweep(recipe(), str(tmp_path), **arguments)
  assert outcome.finished and outcome.rate == 0.1
  assert (tmp_path / "best-0.1-seed-0" / "model.npz").exists()
  assert outcome.runs[0]["eval/test/examples"] == 360
  assert sweep_lib.sweep(recipe(), str(tmp_path), **arguments) == outcome
