"""The page of the claims is complete and up to date; its commands run."""

import contextlib
import pathlib
import re
import shlex

import cv2
import numpy as np
import pytest

from vit_jax.__main__ import main
from vit_jax.config.find import load_config
from vit_jax.paper import claims, result_figures
from vit_jax.paper.claim_pages import SMALL_RUN, anchor, pages
from vit_jax.paper.claims import GROUPS, STATUS, fill_in_results, read_claims
from vit_jax.paper.effects import effect
from vit_jax.paper.tables import read_results

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "paper"
CLAIMS = read_claims()
SMALL = sorted({claim["small"] for claim in CLAIMS})
# Each trains or times several networks, of which studies, sweeps and benchmarks
# have tests of their own.
LONG = [form for form in SMALL if re.search(" (study|sweep|benchmark) ", form)]
# The others train a network, or look at one that was trained.
QUICK = [form for form in SMALL if re.search(" (inspect|paper) ", form)]


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
    pytest.param(form, marks=pytest.mark.thorough if form in LONG else
                 [pytest.mark.slow] * (form not in QUICK)) for form in SMALL])
def test_the_small_form_runs(command, place):
  with contextlib.chdir(place):
    assert run(command) == 0


def markdown():
  """Returns all pages, one below the other."""
  return "\n".join(pages().values())


@pytest.mark.parametrize("name", pages())
def test_it_is_up_to_date(name):
  assert (FOLDER / name).read_text(encoding="utf-8") == pages()[name], (
      "write it again: python -m vit_jax paper claims")


def test_the_figures_are_up_to_date():
  assert not result_figures.outdated(FOLDER / "results")


def test_the_table_links_to_every_section():
  front = pages()["claims.md"]
  links = re.findall(r"\]\(([\w-]+\.md)#([\w-]+)\) \|", front)
  assert len(links) == len(CLAIMS)
  for (page, section), claim in zip(links, CLAIMS, strict=True):
    assert page == f"claims-{claim['group']}.md"
    headings = re.findall("^## (.+)$", pages()[page], re.MULTILINE)
    assert section == anchor(claim["title"])
    assert claim["title"] in headings
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


def test_a_result_says_its_size_seeds_machine_and_time():
  page = pages()["claims-ablations.md"]
  block = page.partition("<summary>posemb_ablation</summary>")[2]
  block = block.partition("</details>")[0]
  assert "3 seeds" in block and "jax " in block and "commit " in block
  assert re.search(r"[\d,]+ s of the clock in all", block)


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
  assert "not up to date" in capsys.readouterr().err
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
  lines = pages()["claims.md"].splitlines()
  for verdict in claims.VERDICTS:
    count = sum(claim["verdict"] == verdict for claim in CLAIMS)
    assert f"{verdict} {count}" in lines[2]
  table = [line.split(" | ") for line in lines[6:6 + len(GROUPS)]]
  for column, verdict in enumerate(claims.VERDICTS, 1):
    assert sum(int(cells[column].strip(" |") or 0) for cells in table) == sum(
        claim["verdict"] == verdict for claim in CLAIMS)


def result(*rows, examples=10_000):
  return {"examples": examples, "scores": {
      name: {"mean": mean, "std": std, "runs": runs}
      for name, mean, std, runs in rows}}


def test_an_effect_counts_seeds_and_pictures():
  # Student's t of 4 degrees of freedom is 2.776, the normal's 1.960.
  found = effect(result(("a", 0.9, 0.01, 3), ("b", 0.8, 0.01, 3)), "a", "b")
  seeds = 2.7764 * (2 * 0.01**2 / 3)**0.5
  pictures = 1.9600 * ((0.9 * 0.1 + 0.8 * 0.2) / 10_000)**0.5
  assert found.points == pytest.approx(10)
  assert found.margin == pytest.approx(
      100 * (seeds**2 + pictures**2)**0.5, rel=1e-3)
  assert found.is_clear and str(found) == "+10.0 ± 2.5 points"


def test_few_pictures_make_an_effect_unsure():
  rows = ("a", 0.9, 0.001, 3), ("b", 0.88, 0.001, 3)
  assert effect(result(*rows), "a", "b").is_clear
  assert not effect(result(*rows, examples=360), "a", "b").is_clear


def test_one_seed_has_no_effect():
  one = result(("a", 0.9, None, 1), ("b", 0.8, 0.01, 3))
  assert effect(one, "a", "b") is None and effect({}, "a", "b") is None


@pytest.mark.parametrize("verdict, rows, right", [
    ("agrees", "a - b", True), ("agrees", "b - a", False),
    ("disagrees", "b - a", True), ("disagrees", "a - b", False),
    ("agrees", "a - c", False), ("disagrees", "c - a", False),
    ("cannot tell", "a - c", True), ("agrees", "a - missing", False)])
def test_a_verdict_rests_on_an_effect(verdict, rows, right):
  results = {"x": result(("a", 0.9, 0.01, 3), ("b", 0.8, 0.01, 3),
                         ("c", 0.89, 0.01, 3))}
  claim = {"title": "T", "status": "small", "because": "so",
           "verdict": verdict, "effect": f"x:{rows}"}
  if right:
    claims.check_verdict(claim, results)
  else:
    with pytest.raises(ValueError, match="claims.toml: T "):
      claims.check_verdict(claim, results)


def test_a_verdict_of_a_small_form_without_an_effect_is_none():
  claim = {"title": "T", "status": "small", "because": "so",
           "verdict": "agrees"}
  with pytest.raises(ValueError, match="the effect None is None"):
    claims.check_verdict(claim, {})


def test_differences_are_filled_in():
  results = {"x": result(("a", 0.9, 0.01, 3), ("b", 0.8, 0.01, 3))}
  assert fill_in_results("{x:a - b} of {x:a}; {x:a - c}", results) == (
      "+10.0 ± 2.5 points of 90.0 ± 1.0 %; not run")
