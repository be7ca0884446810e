"""The page of the claims is complete and up to date; its commands run."""

import contextlib
import pathlib
import re
import shlex
import subprocess
import sys

import cv2
import numpy as np
import pytest

from vit_jax.__main__ import main
from vit_jax.config.find import load_config
from vit_jax.paper import claims
from vit_jax.paper.claims import (
  SMALL_RUN,
  STATUS,
  anchor,
  fill_in_results,
  markdown,
  read_claims,
)
from vit_jax.paper.tables import read_results

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "paper" / "claims.md"
CLAIMS = read_claims()
SMALL = sorted({claim["small"] for claim in CLAIMS})
# Each trains or times several networks; one of them is enough by default, and
# sweeps and benchmarks have tests of their own.
LONG = [form for form in SMALL
        if re.search(" (study|sweep|benchmark) ", form)
        and "configs/data_scaling.py" not in form]


def run(command):
  """Runs a command of the package in this process; returns the exit code."""
  words = shlex.split(command.removeprefix("python -m vit_jax "))
  if words[0] == "train":
    from vit_jax.training.loop import train

    workdir = next(w for w in words if w.startswith("--workdir="))
    config = load_config([w for w in words if w.startswith("--config")])
    return 0 if train(config, workdir.partition("=")[2]).finished else 42
  try:
    return main(words)
  except SystemExit as stop:  # --help
    return stop.code or 0


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder with a trained network and a picture, as a reader would have."""
  folder = tmp_path_factory.mktemp("claims")
  with contextlib.chdir(folder):
    assert run(SMALL_RUN) == 0
    (folder / "pictures").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    cv2.imwrite("pictures/one.png", picture)
    yield folder


@pytest.mark.parametrize("command", [
    pytest.param(form, marks=[pytest.mark.slow] * (form in LONG))
    for form in SMALL])
def test_the_small_form_runs(command, place):
  with contextlib.chdir(place):
    assert run(command) == 0


def test_it_is_up_to_date():
  assert PAGE.read_text(encoding="utf-8") == markdown(), (
      "write it again: python -m vit_jax.paper.claims > docs/paper/claims.md")


def test_the_module_prints_the_page():
  printed = subprocess.run(
      [sys.executable, "-m", "vit_jax.paper.claims"], cwd=ROOT, check=True,
      capture_output=True).stdout
  assert printed.decode() == markdown()


def test_the_table_comes_first_and_links_to_every_section():
  lines = markdown().splitlines()
  assert lines[0].startswith("# ")
  assert lines[4] == "| claim | where | verdict | what was done |"
  table = [line for line in lines[6:] if line.startswith("| [")]
  links = [re.search(r"\]\(#([\w-]+)\)", line)[1] for line in table]
  headings = [line.removeprefix("## ") for line in lines
              if line.startswith("## ")]
  assert links == [anchor(title) for title in headings[:len(CLAIMS)]]
  assert len(set(map(anchor, headings))) == len(headings)


@pytest.mark.parametrize("title, target", [
    ("Core-days", "core-days"), ("State of the art", "state-of-the-art"),
    ("Is it so? Yes.", "is-it-so-yes")])
def test_anchors_are_those_that_github_makes(title, target):
  assert anchor(title) == target


def test_small_forms_are_folded():
  text = markdown()
  folded = re.findall(r"<details>.*?</details>", text, re.DOTALL)
  shown = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
  for claim in CLAIMS:
    assert f"\n{claim['command']}\n" in shown
    assert any(f"\n{claim['small']}\n" in block for block in folded)


def test_reproducibility_stands_where_it_is_not_seed_0_only():
  sections = {part.partition("\n")[0]: part
              for part in markdown().split("\n## ")}
  several = {claim["title"] for claim in CLAIMS
             if "- Reproducibility:" in sections[claim["title"]]}
  assert several == {"Self-supervision", "Adam against SGD",
                     "Class token or pooling"}
  assert ("adam_sgd with seeds 0 to 2, standard deviation over them"
          in sections["Adam against SGD"])
  assert "masked_patch_targets with seed 0" in sections["Self-supervision"]


@pytest.mark.parametrize("name", [
    *(f"Table {i}" for i in range(1, 10)),
    *(f"Figure {i}" for i in range(1, 15)),
    *(f"section {i}" for i in ("3.1", "3.2", "4.1", "4.2", "4.3", "4.4", "4.5",
                               "4.6")),
    "appendix B.1.1", "appendix B.1.2",
    *(f"appendix D.{i}" for i in range(1, 11))])
def test_every_table_figure_and_experiment_has_a_command(name):
  found = [c for c in CLAIMS if name in c["where"]]
  assert found, name
  for claim in found:
    assert claim["command"] and claim["small"].startswith("python -m vit_jax ")
    assert claim["command"] in markdown()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["title"])
def test_a_claim_names_what_there_is(claim):
  for path in claim["code"]:
    assert (ROOT / "vit_jax" / path).is_file(), path
  for config in re.findall(r"--config=(\S+)", claim["command"]):
    if "$" in config:
      continue
    if "configs/" in config and " study " not in claim["command"]:
      assert load_config([f"--config={config}"]).train
  assert claim["status"] in STATUS
  # What was not run says so, and what was says what came out.
  if claim["status"] == "open":
    assert "not " in claim["ours"]


def test_results_are_filled_in():
  results = {"x": {"scores": {"a": {"mean": 0.5, "std": 0.01, "runs": 3},
                              "b": {"mean": 0.25, "std": None, "runs": 1}}},
             "days": {"unit": "number", "scores": {
                 "c": {"mean": 123.4, "std": None, "runs": 1}}}}
  assert fill_in_results(
      "{x:a}; {x:b}; {days:c}; {x:c}; {y:a}", results) == (
          "50.0 ± 1.0 %; 25.0 %; 123; not run; not run")


def test_check_notices_an_old_file(tmp_path, capsys):
  path = tmp_path / "docs" / "claims.md"
  words = ["paper", "claims", f"--out={path}"]
  assert main([*words, "--check"]) == 1
  assert "is not up to date" in capsys.readouterr().err
  assert main(words) == 0 and main([*words, "--check"]) == 0
  path.write_text(path.read_text() + "more\n")
  assert main([*words, "--check"]) == 1


def test_figures_are_drawn(tmp_path, capsys):
  assert main(["paper", "figures", f"--out={tmp_path}", "--json"]) == 0
  for name in ("figure2", "figure3", "figure5"):
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
  assert "figure5.png" in capsys.readouterr().out


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["title"])
def test_a_shell_reads_the_commands_as_one(claim):
  small = list(shlex.shlex(claim["small"], punctuation_chars=True))
  assert not {";", "&", "|", "(", ")"} & set(small)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["title"])
def test_what_is_called_run_was_run(claim):
  assert claim["status"] != "small" or "not run" not in fill_in_results(
      claim["ours"], read_results())


def test_the_verdicts_are_counted_at_the_head():
  head = markdown().splitlines()[2]
  for verdict in claims.VERDICTS:
    count = sum(claim["verdict"] == verdict for claim in CLAIMS)
    assert f"{verdict} {count}" in head


def scores_of(name, *rows):
  scores = claims.read_results()[name]["scores"]
  return [(scores[row]["mean"], scores[row]["std"], scores[row]["runs"])
          for row in rows]


def difference(one, other):
  """The difference in points, and its standard error over the seeds."""
  return 100 * (one[0] - other[0]), 100 * (
      one[1]**2 / one[2] + other[1]**2 / other[2])**0.5


@pytest.mark.parametrize("title, name, rows, words", [
    ("Self-supervision", "masked_patch", ("mean_colour", "scratch"),
     "a gain of {:.1f} ± {:.1f} points"),
    ("Adam against SGD", "adam_sgd", ("R14x1-adam", "R14x1-sgd"),
     "ahead by {:.1f} ± {:.1f} points"),
    ("Class token or pooling", "heads", ("cls-8e-4", "gap-8e-4"),
     "({:.1f} ± {:.1f} points"),
    ("Class token or pooling", "heads", ("gap-8e-4", "gap-3e-4"),
     "behind by {:.1f} ± {:.1f}")])
def test_a_verdict_rests_on_the_results(title, name, rows, words):
  claim = next(claim for claim in CLAIMS if claim["title"] == title)
  found = difference(*scores_of(name, *rows))
  assert words.format(*found) in claim["because"]
  if claim["verdict"] == "agrees":
    # Twice the standard error, that of 360 test pictures added.
    test = sum(m * (1 - m) / 360 for m, *_ in scores_of(name, *rows))
    assert found[0] > 2 * (found[1]**2 + 1e4 * test)**0.5


def test_one_seed_is_no_agreement():
  for claim in CLAIMS:
    names = {match[1] for match in claims._RESULT.finditer(claim["ours"])}
    if claim["verdict"] == "agrees" and names:
      assert max(claims.read_results()[n]["seeds"] for n in names) >= 3
