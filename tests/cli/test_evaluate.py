"""Every example counted once; the same numbers as the model gives."""

import json

import jax
import numpy as np
from PIL import Image

from vit_jax.data.sources import make_source
from vit_jax.weights import convert
from vit_jax.weights.load import load


def test_scores_equal_the_model(vit, digits_checkpoint):
  ran = vit("evaluate", f"--checkpoint={digits_checkpoint}", "--source=digits",
            "--split=val", "--batch_size=64", "--json")
  assert ran.code == 0, ran.err
  answer = ran.json()
  source, loaded = make_source("digits", split="val"), load(digits_checkpoint)
  images = loaded.preprocess([source[i]["image"] for i in range(len(source))])
  labels = np.array([source[i]["label"] for i in range(len(source))])
  logits, _ = loaded.model.apply({"params": loaded.params}, images)
  logits = np.asarray(logits)
  order = np.argsort(-logits, axis=-1)
  assert answer["examples"] == len(source) == 179
  assert answer["skipped"] == 0
  np.testing.assert_allclose(answer["accuracy"], np.mean(order[:, 0] == labels))
  top5 = (order[:, :5] == labels[:, None]).any(1)
  np.testing.assert_allclose(answer["accuracy_top5"], np.mean(top5))
  losses = -np.asarray(jax.nn.log_softmax(logits))[np.arange(179), labels]
  np.testing.assert_allclose(answer["loss"], losses.mean(), rtol=1e-5)
  assert not np.isclose(answer["loss"], losses[:128].mean(), rtol=1e-5)
  assert answer["images_per_second"] > 0
  matrix = np.zeros((10, 10), int)
  np.add.at(matrix, (labels, order[:, 0]), 1)
  assert answer["confusion_matrix"] == matrix.tolist()
  assert [x["accuracy"] for x in answer["accuracy_by_class"]] == [
      matrix[k, k] / matrix[k].sum() for k in range(10)]
  wrong = np.flatnonzero(order[:, 0] != labels)
  assert sorted(x["index"] for x in answer["mistakes"]) == wrong.tolist()
  for mistake in answer["mistakes"]:
    assert mistake["file"] == source[mistake["index"]]["id"]
    assert int(mistake["name"]) == labels[mistake["index"]]
  assert answer["mistakes_left_out"] == 0


def test_calibration(vit, digits_checkpoint):
  words = ("evaluate", f"--checkpoint={digits_checkpoint}", "--source=digits",
           "--split=val", "--batch_size=64")
  ran = vit(*words, "--type=calibration", "--json")
  assert ran.code == 0, ran.err
  source, loaded = make_source("digits", split="val"), load(digits_checkpoint)
  images = loaded.preprocess([source[i]["image"] for i in range(len(source))])
  labels = np.array([source[i]["label"] for i in range(len(source))])
  logits, _ = loaded.model.apply({"params": loaded.params}, images)
  chances = np.asarray(jax.nn.softmax(logits))
  number, gaps = np.ceil(15 * chances.max(-1)), 0.0
  for m in range(1, 16):
    inside = number == m
    gaps += abs(np.sum(chances.argmax(-1)[inside] == labels[inside])
                - np.sum(chances.max(-1)[inside]))
  np.testing.assert_allclose(ran.json()["ece"], gaps / 179, rtol=1e-5)
  assert ran.json()["nll"] > 0
  assert ran.json()["examples"] == 179
  table = vit(*words, "--type=calibration")
  assert f"calibration error  {gaps / 179:.2%}" in table.out
  # Accuracy reports the same error.
  assert vit(*words, "--json").json()["ece"] == ran.json()["ece"]


def test_table_for_people(vit, digits_checkpoint):
  ran = vit("evaluate", f"--checkpoint={digits_checkpoint}", "--source=digits")
  assert ran.code == 0, ran.err
  scores, classes, mistakes = (
      part.splitlines() for part in ran.out.split("\n\n"))
  rows = dict(line.split("  ", 1) for line in scores)
  assert set(rows) == {
      "checkpoint", "model", "data", "accuracy", "accuracy, top 5",
      "accuracy, mean of classes", "accuracy, weakest class",
      "calibration error", "loss", "examples", "skipped", "speed"}
  assert rows["examples"].strip() == "360"
  assert "of 360)" in rows["accuracy"]
  assert classes[0].split("  ")[0] == "class"
  assert [line.split()[0] for line in classes[1:]] == list("0123456789")
  assert mistakes[0].startswith("surest 10 of 3")
  assert len(mistakes) == 11
  assert all(line.startswith("digits") for line in mistakes[1:])


def test_flip_is_among_the_facts(vit, digits_checkpoint):
  words = ("evaluate", f"--checkpoint={digits_checkpoint}", "--source=digits",
           "--split=test[:40]", "--batch_size=40", "--json")
  plain, flipped = vit(*words).json(), vit(*words, "--flip").json()
  assert flipped["flip"] is True and "flip" not in plain
  assert flipped["loss"] != plain["loss"]


def test_other_classes_are_refused(vit, checkpoint):
  """Its classes are called "digit 0" and so on."""
  ran = vit("evaluate", f"--checkpoint={checkpoint}", "--source=digits")
  assert (ran.code, ran.out) == (1, "")
  assert ran.err.count("\n") == 1
  assert "class 0, 1, 2, 3, ... (10 in all) is not one of the model's" in (
      ran.err)


def folder(root, *paths):
  """Writes images whose grey level is their number."""
  for i, path in enumerate(paths):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (3 * i, 0, 0)).save(root / path)
  return root


def test_a_folder_without_splits_is_scored_as_a_whole(
    vit, digits_checkpoint, tmp_path):
  """Six of sixty were, without a word."""
  source = folder(tmp_path / "data", *(
      f"{name}/{i}.png" for name in (0, 4, 7) for i in range(20)))
  words = ("evaluate", f"--checkpoint={digits_checkpoint}",
           f"--source={source}", "--batch_size=16")
  ran = vit(*words, "--json")
  assert ran.code == 0, ran.err
  assert ran.json()["examples"] == ran.json()["images_in_source"] == 60
  assert ran.json()["split"] == "all"
  few = vit(*words, "--split=test")
  assert "of 60; --split=all scores every image" in few.out
  assert 0 < vit(*words, "--split=test", "--json").json()["examples"] < 20
  # Labels are those of the checkpoint's classes 0, 4 and 7, not 0, 1 and 2.
  loaded = load(digits_checkpoint)
  logits, _ = loaded.model.apply({"params": loaded.params}, loaded.preprocess(
      sorted(map(str, source.glob("*/*.png")))))
  labels = np.repeat([0, 4, 7], 20)
  hits = np.argmax(np.asarray(logits), axis=-1) == labels
  assert ran.json()["accuracy"] == np.mean(hits)


def test_the_training_folder_is_scored_by_its_test_split(
    vit, digits_checkpoint, tmp_path):
  source = folder(tmp_path / "data", *(
      f"{name}/{i}.png" for name in range(10) for i in range(10)))
  run = tmp_path / "run"
  run.mkdir()
  for suffix in (".npz", ".json"):
    (run / f"model{suffix}").write_bytes(
        digits_checkpoint.with_suffix(suffix).read_bytes())
  (run / "config.json").write_text(json.dumps(
      {"config": {"data": {"source": str(source), "data_dir": ""}}}))
  for words in ((), (f"--source={source}",), (f"--source={source}/",)):
    ran = vit("evaluate", f"--checkpoint={run}", "--batch_size=8", "--json",
              *words)
    assert ran.code == 0, ran.err
    assert ran.json()["split"] == "test"
    assert 0 < ran.json()["examples"] < 25
    assert ran.json()["images_in_source"] == 100


def test_a_test_folder_alone(vit, digits_checkpoint, tmp_path):
  """The names of its classes were only looked for in train."""
  source = folder(tmp_path, *(
      f"test/{name}/{i}.png" for name in (2, 9) for i in range(5)))
  for path in (source, source / "test"):
    ran = vit("evaluate", f"--checkpoint={digits_checkpoint}",
              f"--source={path}", "--batch_size=8", "--json")
    assert ran.code == 0, ran.err
    assert ran.json()["examples"] == 10


def test_broken_images_are_counted_as_skipped(vit, tmp_path, tiny_model):
  params = tiny_model[1] | {"head": {
      "kernel": np.ones((16, 2), np.float32), "bias": np.zeros(2, np.float32)}}
  convert.write_weights(tmp_path / "two.npz", params, {})
  for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
    (tmp_path / "data" / name).mkdir(parents=True)
    for i in range(3):
      Image.new("RGB", (8, 8), (i, 0, 0)).save(
          tmp_path / "data" / name / f"{i}.png")
  (tmp_path / "data/test/cat/1.png").write_bytes(b"broken")
  words = ("evaluate", f"--checkpoint={tmp_path / 'two.npz'}",
           f"--source={tmp_path / 'data'}", "--batch_size=8")
  refused = vit(*words)
  assert refused.code == 1
  assert "test/cat/1.png" in refused.err
  ran = vit(*words, "--json", "--max_broken=1")
  answer = ran.json()
  assert (answer["examples"], answer["skipped"]) == (5, 1)
  assert "accuracy_top5" not in answer
  assert "test/cat/1.png" in ran.err


def test_another_resolution(vit, digits_checkpoint):
  ran = vit("evaluate", f"--checkpoint={digits_checkpoint}", "--source=digits",
            "--split=val[:16]", "--image_size=12", "--json")
  assert ran.json()["image_size"] == [12, 12]
  assert "position embeddings resized" in ran.err


def test_few_shot_needs_no_head(vit, tmp_path, tiny_model):
  params = {k: v for k, v in tiny_model[1].items() if k != "head"}
  convert.write_weights(tmp_path / "features.npz", params, {})
  words = ("evaluate", f"--checkpoint={tmp_path / 'features.npz'}",
           "--source=digits")
  assert "has no head" in vit(*words).err
  ran = vit(*words, "--type=fewshot", "--shots=1,20", "--split=val",
            "--batch_size=64", "--json")
  answer = ran.json()
  assert answer["accuracy_20shot"] > answer["accuracy_1shot"] > 0.1
  assert answer["examples"] == 179


def test_an_option_of_another_type_is_refused(vit, digits_checkpoint):
  ran = vit("evaluate", f"--checkpoint={digits_checkpoint}", "--source=digits",
            "--shots=1")
  assert ran.code == 2
  assert "shots=(1,) is not used by type='accuracy'" in ran.err
  ran = vit("evaluate", f"--checkpoint={digits_checkpoint}", "--source=digits",
            "--type=acuracy")
  assert "(did you mean 'accuracy'?)" in ran.err
