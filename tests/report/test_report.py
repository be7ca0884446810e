"""The report: one self-contained page whose numbers are the record's."""

import html.parser
import json
import re

import numpy as np
import pytest

from vit_jax.errors import DataError, UsageError
from vit_jax.report import curves, facts, origin, page, predictions
from vit_jax.report.write import save_samples, write_report


@pytest.fixture
def make_run(tmp_path):
  """Writes a working directory as training does."""

  def make(name="run", rate=0.001, steps=100, accuracy=0.75, logged=None):
    folder = tmp_path / name
    folder.mkdir()
    config = {"model": {"variant": "Ti/4"}, "data": {
        "source": "digits", "split": "train", "image_size": 32,
        "batch_size": 64}, "init": {"path": ""}, "optim": {
            "name": "adam", "learning_rate": rate, "schedule": "cosine",
            "warmup_steps": 10, "weight_decay": 0.1},
        "evals": {"test": {"split": "test"}}}
    (folder / "config.json").write_text(json.dumps({
        "config": config, "steps": steps, "environment": {
            "python": "3.11", "versions": {"jax": "0.10.2"}, "device": "cpu",
            "devices": 8}}))
    lines = []
    for step in range(10, (logged or steps) + 1, 10):
      lines.append({"step": step, "train/loss": 2.0 / step,
                    "train/accuracy": step / 200, "train/learning_rate": rate,
                    "train/images_per_second": 640.0})
    lines.append({"step": logged or steps, "eval/test/accuracy": accuracy,
                  "eval/test/loss": 0.5, "eval/test/examples": 4})
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines))
    return folder

  return make


class Links(html.parser.HTMLParser):
  """Collects what a page would fetch, and checks that elements nest."""

  VOID = {"meta", "input", "img", "br", "path", "use", "rect"}

  def __init__(self, text):
    super().__init__()
    self.fetched, self.open = [], []
    self.feed(text)
    assert not self.open

  def handle_starttag(self, tag, attrs):
    for key, value in attrs:
      if key == "src" or (key in ("href", "xlink:href") and tag != "a"):
        self.fetched.append(value)
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    if tag not in self.VOID:
      self.open.pop()

  def handle_endtag(self, tag):
    if tag not in self.VOID:
      assert self.open.pop() == tag


def test_the_page_holds_everything_and_fetches_nothing(make_run):
  folder = make_run()
  rng = np.random.default_rng(0)
  logits = 9 * np.eye(3, dtype=np.float32)
  save_samples(
      str(folder), rng.integers(0, 256, (3, 8, 8, 3)), np.array([1, 1, 2]),
      logits, ["a/1.png", "<b>.png", "c.png"], mistakes=1)
  (folder / "model.json").write_text(json.dumps(
      {"variant": "Ti/4", "class_names": ["cat", "<dog>", "eel & co"]}))
  page, picture = write_report(str(folder))
  text = open(page, encoding="utf-8").read()
  assert open(picture, "rb").read(8) == b"\x89PNG\r\n\x1a\n"
  assert text.count('class="card sample') == 3
  fetched = Links(text).fetched
  assert len([x for x in fetched if x.startswith("data:image/png;")]) == 3
  assert all(x.startswith(("data:", "#")) for x in fetched)
  assert "@import" not in text
  assert not re.search(r"url\((?!#)", text)
  for part in ("75.00%", "3 of 4", "Ti/4 at 32×32 on digits (train)",
               "learning_rate", "0.10.2", "✓ &lt;dog&gt;", "✓ eel &amp; co",
               "2 images, 0 wrong", "Mistakes", ">1.png<", "&lt;b&gt;.png",
               "✗ cat (true: &lt;dog&gt;)", "prefers-color-scheme",
               'class="card sample wrong"', "Learning rate"):
    assert part in text, part
  assert "<dog>" not in text
  assert "NaN" not in text


@pytest.mark.parametrize("decay, of", [
    (0.998, "3 of 4, averaged weights"), (None, "3 of 4")])
def test_a_score_of_averaged_weights_says_so(make_run, decay, of):
  folder = make_run()
  content = json.loads((folder / "config.json").read_text())
  content["config"]["train"] = {"ema_decay": decay}
  (folder / "config.json").write_text(json.dumps(content))
  run = facts.read_run_facts(str(folder), "x")
  assert facts.tiles(run)[0] == ("test accuracy", "75.00%", of)


def test_a_run_that_stopped_early_is_finished(make_run):
  folder = make_run(steps=500, logged=60)
  run = facts.read_run_facts(str(folder), "x")
  assert ("steps", "60", "of 500: not finished") in facts.tiles(run)
  (folder / "model.json").write_text('{"variant": "Ti/4"}')
  run = facts.read_run_facts(str(folder), "x")
  assert ("steps", "60", "of 500: stopped early") in facts.tiles(run)


def test_samples_are_softmaxed_and_survive(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss": 1.0}\n')
  logits = np.array([[0.0, np.log(3.0)], [1e4, 0.0]])
  save_samples(str(tmp_path), np.full((2, 4, 4, 3), 300.4),
                      np.array([1, 0]), logits, ["a", "b"])
  samples = facts.read_run_facts(str(tmp_path), "x").samples
  np.testing.assert_allclose(
      samples["probabilities"], [[0.25, 0.75], [1, 0]], rtol=1e-6)
  assert samples["images"].dtype == np.uint8
  assert samples["images"].max() == 255


def test_an_unfinished_run_says_so(make_run):
  page, _ = write_report(str(make_run(steps=500, logged=100)))
  assert "of 500: not finished" in open(page, encoding="utf-8").read()


def test_several_runs_are_overlaid_and_compared(make_run, tmp_path):
  runs = [make_run("a", 0.001), make_run("b", 0.01, accuracy=0.5)]
  out = tmp_path / "both"
  page, _ = write_report([str(run) for run in runs], str(out))
  text = open(page, encoding="utf-8").read()
  Links(text)
  places = json.loads(re.search(
      r'id="readouts">(.*?)</script>', text)[1].replace("<\\/", "</"))
  assert [curve["name"] for curve in places[0]["curves"]] == [
      "a, train", "a, test", "b, train", "b, test"]
  assert "What differs in the configs" in text
  assert "<td>optim.learning_rate</td>" in text
  assert "<td>optim.name</td>" not in text
  assert text.count("50.00%") == 1


def test_read_outs_lie_on_the_curves(make_run):
  records = {"run": facts.read_run_facts(str(make_run()), "run").record}
  panels = curves.make_panels(records)
  figure = curves.draw_panels(panels)
  drawing = curves.svg(figure)
  places = curves.readouts(figure, panels)
  assert [p.title for p in panels] == [
      "Loss", "Accuracy", "Learning rate", "Images per second"]
  width, height = map(float, re.search(
      r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing).groups())
  numbers = np.array([float(x) for x in re.findall(
      r"[-\d.]+", " ".join(re.findall(r' d="(M [^"]*)"', drawing)))])
  for panel in places:
    left, top, right, bottom = panel["box"]
    assert 0 < left < right < width
    assert 0 < top < bottom < height
    for curve in panel["curves"]:
      for x, y, *_ in curve["points"]:
        assert left <= x <= right
        assert top <= y <= bottom
  x, y, step, value = places[2]["curves"][0]["points"][0]
  assert (step, value) == (10, "0.001")
  # The drawing has a point there, and has none at an arbitrary place.
  pairs = np.stack([numbers[:-1], numbers[1:]], 1)
  assert np.abs(pairs - [x, y]).max(1).min() < 0.2
  assert np.abs(pairs - [x + 7, y + 3]).max(1).min() > 0.2
  assert "var(--c0)" in drawing
  assert curves.COLORS[0] not in drawing


def test_the_same_run_gives_the_same_files(make_run):
  folder = make_run()
  first = [open(p, "rb").read() for p in write_report(str(folder))]
  again = [open(p, "rb").read() for p in write_report(str(folder))]
  assert first == again


def test_smoothing_keeps_a_line_and_its_ends():
  line = np.linspace(1.0, 3.0, 201)
  np.testing.assert_allclose(curves.smoothed(line), line)
  noisy = line + np.random.default_rng(0).normal(size=201)
  smooth = curves.smoothed(noisy)
  assert np.std(smooth[20:-20] - line[20:-20]) < 0.5
  noisy[50] = np.nan
  assert np.isfinite(curves.smoothed(noisy)).all()


@pytest.mark.parametrize("lines", [
    [], [{"step": 1, "train/loss": float("nan")}],
    [{"step": 1, "train/loss": 2.0}],
    [{"step": 0, "eval/test/accuracy": 0.0, "eval/test/loss": 0.0}]])
def test_short_records_are_drawn(tmp_path, lines):
  (tmp_path / "config.json").write_text('{"config": {}, "steps": 5}')
  (tmp_path / "metrics.jsonl").write_text(
      "".join(json.dumps(line) + "\n" for line in lines))
  page, _ = write_report(str(tmp_path))
  Links(open(page, encoding="utf-8").read())


@pytest.mark.parametrize("config, reasons", [
    ({}, []),
    ({"objective.label_smoothing": 0.1, "objective.mixup": 0.0},
     ["label smoothing 0.1"]),
    ({"data.preprocess": "inception_crop({size})|flip_lr",
      "model.dropout": 0.1},
     ["augmented images (inception_crop, flip_lr)", "dropout 0.1"]),
    ({"data.preprocess": "resize({size})"}, [])])
def test_what_training_has_in_its_way(config, reasons):
  assert origin.harder(config) == reasons


@pytest.mark.parametrize("smoothing, loss, told", [
    (0.1, 0.5, False), (0.1, 0.001, True), (0.0, 0.001, False)])
def test_a_training_loss_above_the_test_loss_is_explained(
    make_run, smoothing, loss, told):
  folder = make_run()  # Its training loss ends at 0.02.
  start = json.loads((folder / "config.json").read_text())
  start["config"]["objective"] = {"label_smoothing": smoothing}
  (folder / "config.json").write_text(json.dumps(start))
  with open(folder / "metrics.jsonl", "a", encoding="utf-8") as file:
    file.write(json.dumps({"step": 100, "eval/test/loss": loss}) + "\n")
  note = origin.loss_note(facts.read_run_facts(str(folder), "x"))
  assert bool(note) == told
  assert not told or "label smoothing 0.1" in note


def test_where_a_run_comes_from(make_run):
  folder = make_run()
  start = json.loads((folder / "config.json").read_text())
  start["origin"] = {
      "started": "2026-11-26T06:12:01+00:00", "commit": "0123456789abcdef" * 2,
      "command": "python -m vit_jax train '--workdir=a b'"}
  (folder / "config.json").write_text(json.dumps(start))
  text = open(write_report(str(folder))[0], encoding="utf-8").read()
  assert "started 2026-11-26 06:12 UTC · commit 0123456789ab · jax 0.10.2" in (
      text)
  assert "<span>train</span> <span>&#x27;--workdir=a b&#x27;</span>" in text


def details(classes, wrong=1):
  """eval/NAME.json of `classes` classes, each with `wrong` mistakes of 4."""
  return {
      "data": "birds, test", "examples": 4 * classes,
      "accuracy_by_class": [
          {"label": k, "name": f"<{k}>", "examples": 4,
           "accuracy": 1 - wrong / 4} for k in range(classes)],
      "confusion_matrix": None if classes > 100 else (
          (4 - wrong) * np.eye(classes, dtype=int) + wrong * np.roll(
              np.eye(classes, dtype=int), 1, axis=1)).tolist(),
      "confusions": [
          {"label": k, "name": f"<{k}>", "predicted": (k + 1) % classes,
           "predicted_name": f"<{(k + 1) % classes}>", "count": wrong}
          for k in range(classes)] if wrong else [],
      "confusions_left_out": 0, "mistakes": [], "mistakes_left_out": 0}


@pytest.mark.parametrize("classes, wrong, hits, misses, pairs", [
    (2, 0, 2, 0, 0), (3, 1, 3, 3, 0), (21, 1, 0, 0, 21), (1000, 2, 0, 0, 1000)])
def test_classes_are_a_matrix_or_the_most_confused(
    classes, wrong, hits, misses, pairs):
  text = predictions.by_class("test", details(classes, wrong))
  Links(text)
  assert "<0>" not in text
  assert text.count('<td class="hit"') == hits
  assert text.count('<td class="miss"') == misses
  assert text.count("<b>") == min(classes, 20)
  left_out = pairs - 20
  assert (f"and {left_out:,} more pairs" in text) == (left_out > 0)
  assert len(text) < 12_000


def test_names_tell_runs_apart():
  assert facts.distinct_names(["/x/a/1", "/x/b/1"]) == ["a/1", "b/1"]
  assert facts.distinct_names(["/x/a", "/x/b"]) == ["a", "b"]
  with pytest.raises(UsageError, match="the same run twice"):
    facts.distinct_names(["/x/a", "/x/a/"])


def test_pictures_are_shrunk_and_small_ones_kept_sharp():
  rng = np.random.default_rng(0)
  probabilities = np.array([[0.2, 0.8]])
  large, small = (
      predictions.pictures(rng.integers(0, 256, (1, n, n, 3), np.uint8),
                           np.array([1]), probabilities, None)
      for n in (512, 16))
  assert "image/jpeg" in large
  assert "class=tiny" not in large
  assert len(large) < 120_000
  assert "image/png" in small
  assert "class=tiny" in small


def test_errors(tmp_path, make_run):
  with pytest.raises(DataError, match="no run here"):
    write_report(str(tmp_path))
  folder = make_run()
  with pytest.raises(UsageError, match="needs a folder"):
    write_report([str(folder), str(make_run("b"))])
  (folder / "samples.npz").write_bytes(b"nothing")
  with pytest.raises(DataError, match="samples.npz: damaged"):
    write_report(str(folder))
  (folder / "config.json").write_text("{")
  with pytest.raises(DataError, match="config.json: not JSON"):
    write_report(str(folder))


KINDS = (None, 3, -1.5, "text", [], [1, 2, 3], {}, {"a": {"b": []}}, True,
         float("nan"))


def places(value, path=()):
  """Yields the way to every part of a JSON value."""
  yield path
  for key in (value if isinstance(value, dict) else ()):
    yield from places(value[key], (*path, key))


@pytest.mark.parametrize("name", ["config.json", "model.json"])
def test_a_value_of_another_kind_is_shown_or_one_line(make_run, name):
  folder = make_run()
  (folder / "model.json").write_text(json.dumps({
      "variant": "custom", "architecture": {
          "width": 8, "depth": 1, "num_heads": 2}, "class_names": ["a"]}))
  whole = json.loads((folder / name).read_text())
  refused = 0
  for path in places(whole):
    for kind in KINDS:
      content = json.loads(json.dumps(whole))
      if path:
        inner = content
        for key in path[:-1]:
          inner = inner[key]
        inner[path[-1]] = kind
      else:
        content = kind
      (folder / name).write_text(json.dumps(content))
      try:
        run = facts.read_run_facts(str(folder), "run")
        facts.headline(run), facts.tiles(run), facts.score_table([run])
        page.config_tables(run.config)
        page.flatten(run.environment)
      except DataError as error:
        assert str(folder / name) in str(error) and "\n" not in str(error)
        refused += 1
  assert refused > 10


def samples_of(**changes):
  arrays = {"images": np.zeros((4, 8, 8, 3), np.uint8),
            "labels": np.array([0, 1, 2, 0]),
            "probabilities": np.full((4, 3), 1 / 3, np.float32)}
  return {k: v for k, v in (arrays | changes).items() if v is not None}


@pytest.mark.parametrize("changes", [
    {"labels": np.array([0, 1, 3, 0])}, {"labels": np.array([0, -1, 2, 0])},
    {"labels": np.zeros(3, int)}, {"images": np.zeros((4, 8, 8), np.uint8)},
    {"images": None}, {"probabilities": np.zeros((4, 3), int)},
    {"images": np.zeros((4, 8, 8, 3))}, {"labels": np.zeros(4)}],
    ids=range(8))
def test_samples_that_do_not_fit_are_one_line(make_run, changes):
  folder = make_run()
  np.savez(folder / "samples.npz", **samples_of(**changes))
  with pytest.raises(DataError, match=r"samples\.npz: damaged") as error:
    facts.read_run_facts(str(folder), "run")
  assert "\n" not in str(error.value)


def test_damaged_samples_are_one_line(make_run):
  folder, path = make_run(), "samples.npz"
  np.savez_compressed(folder / path, **samples_of())
  content = (folder / path).read_bytes()
  for at in range(0, len(content), 7):
    damaged = bytearray(content)
    damaged[at] ^= 0x55
    for data in (bytes(damaged), content[:at]):
      (folder / path).write_bytes(data)
      try:
        facts.read_run_facts(str(folder), "run")
      except DataError as error:
        assert "\n" not in str(error)


def test_no_name_opens_a_script_or_is_mathematics(make_run, tmp_path):
  names = ["<!--<script>", r"a$\frac$b", "$x^2$"]
  runs = [make_run(name) for name in names]
  page, _ = write_report([str(run) for run in runs], str(tmp_path / "out"))
  text = (tmp_path / "out/report.html").read_text()
  assert page.endswith("report.html")
  start = text.index('id="readouts">')
  assert "<" not in text[start:text.index("</script>", start)]
  assert "<!--" not in text
  for name in names[1:]:
    assert name in text  # In the drawing, as it stands.
