"""The page of the paper's claims, from claims.toml and results/.

  python -m vit_jax.paper.claims > docs/paper/claims.md
"""

from collections.abc import Mapping, Sequence
from importlib import resources
import re
import tomllib
from typing import Any

from vit_jax.paper.costs import compute_ratios
from vit_jax.paper.tables import read_results

STATUS = {
    "formula": "computed by formula or by the compiler",
    "released": "checked against stored outputs of the official code",
    "small": "run in its small form only",
    "trained": "looked for in a trained network of another recipe, DINOv2 S/14",
    "open": "implemented and tested; not run (see what it needs)",
}
# What was found about a claim. "Agrees" and "disagrees" are said of what is
# exact, or differs by more than twice its standard error.
VERDICTS = ("agrees", "disagrees", "cannot tell", "needs an accelerator")
KEYS = ("title", "claim", "where", "paper", "needs", "code", "command",
        "small", "ours", "status", "verdict", "because")
_RESULT = re.compile(r"\{(\w+):([^}]+)\}")
# Trains the network that the small forms look at.
SMALL_RUN = (
    "python -m vit_jax train --config=configs/quickstart.py "
    "--workdir=runs/small --config.train.steps=2 "
    "--config.optim.warmup_steps=1 --config.model.depth=1 "
    "--config.model.width=16 --config.model.mlp_dim=16 "
    "--config.model.num_heads=2 --config.data.num_threads=2")
# Answers that hold for every claim; what differs stands at the claim.
QUESTIONS = (
    ("Is the code there?", "Yes: every claim names modules and a command. "
     "Apache-2.0."),
    ("Are the hyper-parameters there?", "Yes: in the configs that the commands "
     "name, each with its table of the paper. What the paper leaves open is "
     "stated in the config's docstring (which parameters decay, label "
     "smoothing, the weight decay of masked pre-training)."),
    ("Is the data there?", "The digits are embedded. ImageNet, ImageNet-21k, "
     "CIFAR, Pets, Flowers and VTAB are prepared by `vit_jax prepare` from "
     "their official archives. JFT-300M is not public: --config.data.source "
     "puts any data set in its place, but its numbers cannot be reproduced."),
    ("Which seeds?", "One run with seed 0 unless the claim says otherwise. "
     "config.train.seed and the step determine data order, augmentation, "
     "dropout and initialisation, and a resumed run repeats the same bits."),
    ("How sensitive are the results?", "Not measured unless the claim says "
     "otherwise. `vit_jax sweep` goes through the learning rates of Table 4; "
     "studies take --seeds and print the standard deviation over them."),
    ("What does it cost?", "exaFLOPs by formula (`vit_jax paper costs`), days "
     "on any TPU slice by the compiler (`vit_jax compile`); the small forms "
     "take minutes on two CPU cores."),
)


def read_claims() -> list[dict[str, Any]]:
  """Returns the claims in the order of the file.

  Raises:
    ValueError: a claim lacks a key, has an unknown one, or an unknown status
      or verdict, or does not say what its verdict rests on.
  """
  text = (resources.files("vit_jax.paper") / "claims.toml").read_text(
      encoding="utf-8")
  claims = tomllib.loads(text)["claim"]
  for claim in claims:
    if set(claim) != set(KEYS) or claim["status"] not in STATUS:
      raise ValueError(f"claims.toml: {claim.get('title')} has the keys "
                       f"{sorted(claim)}; expected {sorted(KEYS)}")
    needs = claim["verdict"] == "needs an accelerator"
    if claim["verdict"] not in VERDICTS or needs == bool(claim["because"]):
      raise ValueError(f"claims.toml: the verdict of {claim['title']} is "
                       f"{claim['verdict']!r} because of {claim['because']!r}")
  return claims


def anchor(title: str) -> str:
  """Returns the link target that GitHub and Sphinx derive from a heading."""
  return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def fill_in_results(text: str, results: Mapping[str, Any]) -> str:
  """Returns a text with {NAME:ROW} replaced by the result of that row.

  A mean over several seeds is followed by its standard deviation; a result
  that does not exist becomes "not run". {ratios:MEASURE} is the range of
  `compute_ratios`.
  """

  def value(match: re.Match[str]) -> str:
    if match[1] == "ratios":
      low, *_, high = sorted(compute_ratios(match[2]).values())
      return f"{low:.1f} to {high:.1f}"
    row = results.get(match[1], {}).get("scores", {}).get(match[2])
    if row is None:
      return "not run"
    if results[match[1]].get("unit") == "number":
      return f"{row['mean']:,.0f}"
    spread = "" if row["std"] is None else f" ± {100 * row['std']:.1f}"
    return f"{100 * row['mean']:.1f}{spread} %"

  return _RESULT.sub(value, text)


def markdown() -> str:
  """Returns the page: the table of claims, then a section for each."""
  claims, results = read_claims(), read_results()
  parts = [
      "# The paper's claims", "", _counts(claims), "",
      "| claim | where | verdict | what was done |",
      "| --- | --- | --- | --- |"]
  parts += [
      f"| [{claim['claim']}](#{anchor(claim['title'])}) | "
      f"{', '.join(claim['where'])} | {claim['verdict']} | "
      f"{STATUS[claim['status']]} |" for claim in claims]
  parts += [
      "", "The paper is [arXiv 2010.11929v2](https://arxiv.org/abs/2010.11929)."
      " Each claim comes with its command at the paper's size and in a small "
      "form. Small forms run on the digits of scikit-learn (1,258 for "
      "training, 179 for validation, 360 for testing, 8x8 pixels): they show "
      "that the experiment runs, and nothing about ImageNet. A score of 97 % "
      "has a standard error of 0.9 points on 360 pictures, beside what differs "
      "between seeds. Those that look at a network need runs/small, and some a "
      "folder pictures/ with images:", "",
      *_code(SMALL_RUN), "",
      "This page is generated: edit `vit_jax/paper/claims.toml`, then run "
      "`python -m vit_jax.paper.claims > docs/paper/claims.md`."]
  for claim in claims:
    parts += ["", *_section(claim, results)]
  parts += ["", "## Reproducibility", "", "| question | answer |",
            "| --- | --- |", *(f"| {q} | {a} |" for q, a in QUESTIONS)]
  parts += ["", "## Results behind the numbers"]
  for name, result in results.items():
    parts += ["", *_result(name, result)]
  return "\n".join(parts) + "\n"


def _counts(claims: Sequence[Mapping[str, Any]]) -> str:
  """Returns a sentence with the number of claims of each verdict."""
  counts = [(verdict, sum(claim["verdict"] == verdict for claim in claims))
            for verdict in VERDICTS]
  return f"Of {len(claims)} claims: " + ", ".join(
      f"{verdict} {count}" for verdict, count in counts) + (
          ". Agreement and disagreement are about what was run here: nothing "
          "on this page was trained on ImageNet or JFT.")


def _section(claim: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
  """Returns the lines about one claim."""
  code = ", ".join(f"`vit_jax/{path}`" for path in claim["code"])
  seeds = _seeds(claim, results)
  return [
      f"## {claim['title']}", "", f"**{claim['claim']}** "
      f"({', '.join(claim['where'])}: {STATUS[claim['status']]})", "",
      f"- Paper: {claim['paper']}",
      f"- Here: {fill_in_results(claim['ours'], results)}",
      f"- Verdict: {claim['verdict']}" + (
          f": {fill_in_results(claim['because'], results)}"
          if claim["because"] else ""),
      f"- Needs: {claim['needs']}",
      f"- Code: {code}",
      *([f"- Reproducibility: {seeds}"] if seeds else []),
      "", *_code(claim["command"]), "",
      *_folded("Small form", _code(claim["small"]))]


def _seeds(claim: Mapping[str, Any], results: Mapping[str, Any]) -> str:
  """Returns the seeds of a claim's results, "" where it is seed 0 only."""
  names = sorted({match[1] for match in _RESULT.finditer(claim["ours"])})
  counts = {name: results[name]["seeds"] for name in names if name in results}
  if max(counts.values(), default=1) == 1:
    return ""
  return "; ".join(
      f"{name} with seeds 0 to {count - 1}, standard deviation over them"
      if count > 1 else f"{name} with seed 0" for name, count in counts.items())


def _result(name: str, result: Mapping[str, Any]) -> list[str]:
  """Returns the folded command and table of one experiment."""
  seeds = "1 seed" if result["seeds"] == 1 else f"{result['seeds']} seeds"
  lines = [f"{result['size']}, {seeds}, {result['device']}, {result['date']}.",
           *([result["notes"]] if result.get("notes") else []),
           "", *_code(result["command"]), ""]
  if result.get("unit") == "number":
    lines += ["| row | value |", "| --- | --- |"]
    lines += [f"| {row} | {score['mean']:,.0f} |"
              for row, score in result["scores"].items()]
  else:
    lines += [f"| row | mean of {result['metric']} in % | std | runs |",
              "| --- | --- | --- | --- |"]
    lines += [f"| {row} | {100 * score['mean']:.2f} | "
              f"{_percent(score['std'])} | {score['runs']} |"
              for row, score in result["scores"].items()]
  return _folded(name, lines)


def _code(command: str) -> list[str]:
  return ["```bash", command, "```"]


def _folded(summary: str, lines: Sequence[str]) -> list[str]:
  return [f"<details><summary>{summary}</summary>", "", *lines, "",
          "</details>"]


def _percent(value: float | None) -> str:
  return "-" if value is None else f"{100 * value:.2f}"


if __name__ == "__main__":
  print(markdown(), end="")
