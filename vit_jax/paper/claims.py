"""CLAIMS.md, written from claims.toml and results/."""

from collections.abc import Mapping, Sequence
from importlib import resources
import re
import tomllib
from typing import Any

from vit_jax.paper.tables import read_results

STATUS = {
    "formula": "computed by formula or by the compiler",
    "released": "checked on stored outputs of the official code",
    "small": "run here in its small form only",
    "open": "code and tests only: not run, see what it needs",
}
KEYS = ("id", "claim", "where", "paper", "needs", "code", "command", "small",
        "ours", "status")
_MARK = re.compile(r"\{(\w+):([^}]+)\}")
# The network that the small forms look at.
SMALL_RUN = (
    "python -m vit_jax train --config=configs/quickstart.py "
    "--workdir=runs/small --config.train.steps=2 "
    "--config.optim.warmup_steps=1 --config.model.depth=1 "
    "--config.model.width=16 --config.model.mlp_dim=16 "
    "--config.model.num_heads=2 --config.data.num_threads=2")
# The reproducibility questions, answered for all; what differs stands at the
# claim.
QUESTIONS = (
    ("Is the code there?", "Yes: every claim names modules and a command. "
     "Apache-2.0."),
    ("Are the hyper-parameters there?", "Yes: in configs/, each with its "
     "table; what the paper leaves open is said in the config's docstring "
     "(which parameters decay, label smoothing, masked pre-training's weight "
     "decay)."),
    ("Is the data there?", "The digits are embedded. ImageNet, ImageNet-21k, "
     "CIFAR, Pets, Flowers and VTAB are prepared by `vit_jax prepare` from "
     "their official archives. JFT-300M is Google's own: any data set stands "
     "in by --config.data.source, but its numbers cannot be reproduced."),
    ("How sensitive is it?", "Rates are swept as in Table 4 (`vit_jax sweep`); "
     "studies take --seeds and print the standard deviation over them."),
    ("Which seeds?", "config.train.seed, 0 unless said; order, augmentation, "
     "dropout and initialisation are functions of it and of the step, and a "
     "resumed run repeats the same bits."),
    ("What does it cost?", "exaFLOPs by formula (`vit_jax paper costs`), days "
     "on any TPU slice by the compiler (`vit_jax compile`); the small forms "
     "take minutes on two CPU cores."),
)


def read_claims() -> list[dict[str, Any]]:
  """Returns the claims in the order of the file.

  Raises:
    ValueError: a claim has keys too many or too few (a fault of the file).
  """
  text = (resources.files("vit_jax.paper") / "claims.toml").read_text(
      encoding="utf-8")
  claims = tomllib.loads(text)["claim"]
  for claim in claims:
    if set(claim) != set(KEYS) or claim["status"] not in STATUS:
      raise ValueError(f"claims.toml: {claim.get('id')} has the keys "
                       f"{sorted(claim)}; expected {sorted(KEYS)}")
  return claims


def filled(text: str, results: Mapping[str, Any]) -> str:
  """Returns a text with {NAME:ROW} replaced by what came out.

  "not run" where there is no such result; a mean is followed by its standard
  deviation where there were several seeds.
  """

  def value(match: re.Match) -> str:
    row = results.get(match[1], {}).get("scores", {}).get(match[2])
    if row is None:
      return "not run"
    if results[match[1]].get("unit") == "number":
      return f"{row['mean']:,.0f}"
    spread = "" if row["std"] is None else f" ± {100 * row['std']:.1f}"
    return f"{100 * row['mean']:.1f}{spread} %"

  return _MARK.sub(value, text)


def markdown() -> str:
  """Returns CLAIMS.md."""
  results = read_results()
  parts = [
      "# What the paper claims, and what was tried here", "",
      "Written by `python -m vit_jax paper claims`; edit "
      "`vit_jax/paper/claims.toml` instead. The paper is arXiv 2010.11929v2. "
      "Small forms run on the digits of scikit-learn (1,258 for training, 179 "
      "for validation, 360 for testing, 8x8 pixels) and say nothing about "
      "ImageNet: they show that the experiment runs, and which way it points. "
      "Those that look at a network take runs/small, and a folder pictures/:",
      "", "```bash", SMALL_RUN, "```",
      "", "| claim | where | status |", "| --- | --- | --- |"]
  claims = read_claims()
  parts += [
      f"| [{claim['claim']}](#{claim['id']}) | {', '.join(claim['where'])} | "
      f"{STATUS[claim['status']]} |" for claim in claims]
  for claim in claims:
    parts += ["", *_section(claim, results)]
  parts += ["", "## Results behind the numbers", "",
            "| experiment | command | size | seeds | device | date |",
            "| --- | --- | --- | --- | --- | --- |"]
  parts += [
      f"| {name} | `{one['command']}` | {one['size']} | {one['seeds']} | "
      f"{one['device']} | {one['date']} |" for name, one in results.items()]
  for name, one in results.items():
    if one.get("unit") != "number":
      parts += ["", *_result(name, one)]
  parts += ["", "## Reproducibility", "", "| question | answer |",
            "| --- | --- |", *(f"| {q} | {a} |" for q, a in QUESTIONS)]
  return "\n".join(parts) + "\n"


def _section(claim: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
  """Returns the lines about one claim."""
  code = ", ".join(f"`vit_jax/{path}`" for path in claim["code"])
  return [
      f'## <a id="{claim["id"]}"></a>{claim["claim"]}', "",
      f"*{', '.join(claim['where'])}*: {STATUS[claim['status']]}.", "",
      f"- Paper: {claim['paper']}",
      f"- Here: {filled(claim['ours'], results)}",
      f"- Needs: {claim['needs']}",
      f"- Code: {code}",
      f"- Reproducibility: {_answers(claim, results)}", "",
      "```bash", claim["command"],
      "# small: " + claim["small"], "```"]


def _answers(claim: Mapping[str, Any], results: Mapping[str, Any]) -> str:
  """Returns the reproducibility questions answered for one claim.

  Code and data stand in lines of their own; here is where the hyper-parameters
  are, and how sensitive the result is to them and to the seed, so far as tried.
  """
  configs = sorted(set(re.findall(
      r"configs/\w+\.py", claim["command"] + " " + claim["small"])))
  found = sorted({match[1] for match in _MARK.finditer(claim["ours"])})
  ran = [results[name] for name in found if name in results
         and results[name].get("unit") != "number"]
  if not configs:
    return "no training of its own, so no hyper-parameters and no seed"
  parts = ["hyper-parameters in " + ", ".join(f"`{name}`" for name in configs)]
  if ran:
    seeds = sorted({one["seeds"] for one in ran})
    parts += [
        "seeds 0" + (f" to {seeds[-1] - 1}" if seeds[-1] > 1 else " only")
        + (" (see the results)" if len(seeds) > 1 else ""),
        "sensitivity to the seed " + (
            "as standard deviation" if seeds[-1] > 1 else "not measured")
        + ", to other hyper-parameters not measured"]
  elif claim["status"] == "small":
    parts += ["seed 0; sensitivity not measured"]
  else:
    parts += ["no run of our own: seeds and sensitivity not measured"]
  return "; ".join(parts)


def _result(name: str, one: Mapping[str, Any]) -> list[str]:
  """Returns the table of one experiment."""
  lines: Sequence[str] = [
      f"{name}, {one['metric']}:", "", "| row | mean | std | runs |",
      "| --- | --- | --- | --- |"]
  rows = [
      f"| {row} | {100 * s['mean']:.2f} | "
      f"{_percent(s['std'])} | "
      f"{s['runs']} |" for row, s in one["scores"].items()]
  notes = ["", one["notes"]] if one.get("notes") else []
  return [*lines, *rows, *notes]


def _percent(value: float | None) -> str:
  return "-" if value is None else f"{100 * value:.2f}"
