"""The verbs fewshot, vtab and sweep, and evaluation by ImageNet-ReaL."""

import json

import numpy as np
from vtab_runs import TABLE_9, write_run

from vit_jax.experiments import sweep as sweep_lib
from vit_jax.weights.load import load


def test_fewshot_needs_no_head_and_knows_nothing_of_the_classes(
    vit, checkpoint):
  words = ("fewshot", f"--checkpoint={checkpoint}", "--source=digits",
           "--train_split=train[:300]", "--split=val", "--shots=1,10",
           "--seeds=2", "--batch_size=64")
  ran = vit(*words, "--json")
  assert ran.code == 0, ran.err
  answer = ran.json()
  assert answer["examples"] == 179 and answer["seeds"] == 2
  assert 0.1 < answer["accuracy_1shot"] < answer["accuracy_10shot"] < 1
  table = vit(*words).out
  assert f"10  {answer['accuracy_10shot']:.2%} +- " in table
  assert "179 examples" in table


def test_vtab_prints_tasks_groups_and_mean(vit, tmp_path):
  for task, score in TABLE_9.items():
    write_run(tmp_path / task, task, score / 100)
  ran = vit("vtab", f"--workdirs={tmp_path}")
  assert ran.code == 0, ran.err
  lines = [line.split() for line in ran.out.splitlines()]
  assert ["clevr_count", "70.30%", "1"] in lines
  assert lines[-1] == ["VTAB-1k", "72.71%"]
  assert [line[1] for line in lines if line[0] == "mean"] == [
      "83.27%", "84.65%", "57.50%"]
  answer = vit("vtab", f"--workdirs={tmp_path}", "--json").json()
  assert answer["tasks"]["dtd"]["accuracy"] == 0.741
  assert round(answer["means"]["vtab"], 4) == 0.7271


def test_vtab_with_tasks_missing(vit, tmp_path):
  write_run(tmp_path / "dtd", "dtd", 0.5)
  out = vit("vtab", f"--workdirs={tmp_path}").out
  assert "VTAB-1k" in out and "- (1 of 19 tasks)" in out
  ran = vit("vtab", f"--workdirs={tmp_path / 'nothing'}")
  assert ran.code == 1 and ran.err.count("\n") == 1


CONFIG = "--config=configs/quickstart.py"


def test_sweep_reads_the_config_and_prints_the_table(
    vit, tmp_path, monkeypatch):
  asked = {}

  def fake(config, workdir, **kwargs):
    asked.update(steps=config.train.steps, workdir=workdir, **kwargs)
    return sweep_lib.SweepOutcome(
        {0.01: 0.5, 0.03: None}, 0.01,
        {0: {"eval/test/accuracy": 0.98}, 1: {"eval/test/accuracy": 0.96}},
        finished=len(kwargs["rates"]) == 2)

  monkeypatch.setattr(sweep_lib, "sweep", fake)
  words = ("sweep", CONFIG, "--config.train.steps=7", "--rates=0.01,0.03",
           f"--workdir={tmp_path}", "--seeds=2", "--dev=val")
  ran = vit(*words)
  assert ran.code == 0, ran.err
  assert asked == {"steps": 7, "workdir": str(tmp_path), "num_seeds": 2,
                   "rates": (0.01, 0.03), "dev": "val"}
  lines = [line.split() for line in ran.out.splitlines()]
  assert ["0.01", "50.00%", "chosen"] in lines
  assert ["0.03", "diverged"] in lines
  assert ["test/accuracy", "97.00%", "1.41%", "2"] in lines
  answer = vit(*words, "--json").json()
  assert answer["summary"]["eval/test/accuracy"]["runs"] == 2
  # Preempted: run it again.
  assert vit("sweep", CONFIG, f"--workdir={tmp_path}", "--rates=1").code == 42


def test_wrong_use_of_sweep(vit, tmp_path):
  for words, message in [
      ((CONFIG,), "--workdir"),
      ((f"--workdir={tmp_path}",), "--config=configs/FILE.py is missing"),
      ((CONFIG, f"--workdir={tmp_path}", "--config.train.stepps=3"),
       "did you mean 'steps'"),
      (("--config=configs/vti.py", f"--workdir={tmp_path}"),
       "did you mean 'configs/vit.py'"),
      ((CONFIG, f"--workdir={tmp_path}", "--rates=a"),
       "--rates: 'a' is not a number"),
      ((CONFIG, f"--workdir={tmp_path}", "--rate=1"),
       "did you mean '--rates'"),
      ((CONFIG, f"--workdir={tmp_path}", "--dev=vall"), "no evals.vall")]:
    ran = vit("sweep", *words)
    assert ran.code == 2 and message in ran.err, (words, ran.err)
    assert ran.err.strip().count("\n") == 0, ran.err


def test_evaluate_by_real_labels(vit, checkpoint, tmp_path, tiny_model):
  import cv2

  images = np.random.default_rng(0).integers(
      0, 256, (6, 8, 8, 3), dtype=np.uint8)
  for i, image in enumerate(images):
    for split in ("train", "val"):
      folder = tmp_path / split / f"c{i % 2}"
      folder.mkdir(parents=True, exist_ok=True)
      cv2.imwrite(str(folder / f"ILSVRC2012_val_{i + 1:08}.png"),
                  image[..., ::-1])
  model = load(checkpoint)
  logits, _ = model.model.apply({"params": model.params}, images)
  best = np.argmax(np.asarray(logits), axis=-1)
  sets = [[int(b)] if i < 3 else [] if i == 5 else [int(b + 1) % 10]
          for i, b in enumerate(best)]
  (tmp_path / "real.json").write_text(json.dumps(sets))
  words = ("evaluate", f"--checkpoint={checkpoint}", f"--source={tmp_path}",
           "--split=val", "--type=real", f"--labels={tmp_path / 'real.json'}")
  answer = vit(*words, "--json").json()
  assert answer["accuracy"] == 3 / 5
  counts = [answer[key] for key in ("examples", "unlabelled", "skipped")]
  assert counts == [5, 1, 0]
  assert "3 of 5" in vit(*words).out
