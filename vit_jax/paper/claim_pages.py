"""The pages of the paper's claims: a table, then one page a group.

  python -m vit_jax paper claims --out=docs/paper/claims.md
"""

from collections.abc import Mapping, Sequence
import re
from typing import Any

from vit_jax.paper.claims import (
    GROUPS,
    STATUS,
    VERDICTS,
    fill_in_results,
    read_claims,
    used_results,
)
from vit_jax.paper.tables import read_results
from vit_jax.report.markdown import markdown_table

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
    ("Is the data there?", "The digits are embedded, Fashion-MNIST is a "
     "package of Debian's. ImageNet, ImageNet-21k, "
     "CIFAR, Pets, Flowers and VTAB are prepared by `vit_jax prepare` from "
     "their official archives. JFT-300M is not public: --config.data.source "
     "puts any data set in its place, but its numbers cannot be reproduced."),
    ("Which seeds?", "0 to 2, unless a result says that it is of one. "
     "config.train.seed and the step determine data order, augmentation, "
     "dropout and initialisation, and a resumed run repeats the same bits."),
    ("How sensitive are the results?", "Not measured unless the claim says "
     "otherwise. `vit_jax sweep` goes through the learning rates of Table 4; "
     "studies take --seeds and print the standard deviation over them."),
    ("What does it cost?", "exaFLOPs by formula (`vit_jax paper costs`), days "
     "on any TPU slice by the compiler (`vit_jax compile`); the small forms "
     "take minutes on two CPU cores."),
)
_EDIT = ("This page is generated: edit `vit_jax/paper/claims.toml`, then run "
         "`python -m vit_jax paper claims`.")


def pages(name: str = "claims.md") -> dict[str, str]:
  """Returns the text of each page by the name of its file.

  Args:
    name: of the first page; those of the groups are NAME-GROUP.md.
  """
  claims, results = read_claims(), read_results()
  stem = name.removesuffix(".md")
  texts = {name: _front(claims, stem)}
  for group, heading in GROUPS.items():
    members = [claim for claim in claims if claim["group"] == group]
    texts[f"{stem}-{group}.md"] = _group(heading, members, results, name)
  return texts


def anchor(title: str) -> str:
  """Returns the link target that GitHub and Sphinx derive from a heading."""
  return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _front(claims: Sequence[Mapping[str, Any]], stem: str) -> str:
  """Returns the page with the verdicts."""
  parts = ["# The paper's claims", "", _counts(claims), ""]
  parts += markdown_table(("", *VERDICTS), [
      [f"[{heading}]({stem}-{group}.md)", *(
          str(sum(claim["verdict"] == verdict and claim["group"] == group
                  for claim in claims) or "") for verdict in VERDICTS)]
      for group, heading in GROUPS.items()]).splitlines()
  parts += ["", *markdown_table(
      ("claim", "where", "verdict", "what was done"),
      [[f"[{claim['claim']}]({stem}-{claim['group']}.md"
        f"#{anchor(claim['title'])})", ", ".join(claim["where"]),
        claim["verdict"], STATUS[claim["status"]]] for claim in claims]
  ).splitlines()]
  parts += [
      "", "The paper is [arXiv 2010.11929v2](https://arxiv.org/abs/2010.11929)."
      " Each claim comes with its command at the paper's size and in a small "
      "form, which shows that the experiment runs. Some small experiments were "
      "run for their result: small ViTs on Fashion-MNIST (10,000 test "
      "pictures) or on the digits of scikit-learn (360), with several seeds. "
      "Their differences stand with 95 % intervals over seeds and test "
      "pictures; they say nothing about ImageNet. Forms that look at a network "
      "need runs/small, and some a folder pictures/ with images:", "",
      *_code(SMALL_RUN), "", _EDIT, "", "## Reproducibility", "",
      *markdown_table(("question", "answer"), QUESTIONS).splitlines()]
  return "\n".join(parts) + "\n"


def _counts(claims: Sequence[Mapping[str, Any]]) -> str:
  """Returns a sentence with the number of claims of each verdict."""
  counts = [(verdict, sum(claim["verdict"] == verdict for claim in claims))
            for verdict in VERDICTS]
  return f"Of {len(claims)} claims: " + ", ".join(
      f"{verdict} {count}" for verdict, count in counts) + (
          ". Agreement and disagreement are about what was run here: nothing "
          "on this page was trained on ImageNet or JFT.")


def _group(
    heading: str, claims: Sequence[Mapping[str, Any]],
    results: Mapping[str, Any], front: str,
) -> str:
  """Returns the page of a group: its claims, then the results behind them."""
  parts = [f"# {heading}", "", f"Part of [the paper's claims]({front}), whose "
           f"first page says what the words mean. {_EDIT}"]
  for claim in claims:
    parts += ["", *_section(claim, results)]
  used = sorted({name for claim in claims for name in used_results(claim)
                 if name in results})
  if used:
    parts += ["", "## Results behind the numbers"]
  for name in used:
    parts += ["", *_result(name, results[name])]
  return "\n".join(parts) + "\n"


def _section(claim: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
  """Returns the lines about one claim."""
  code = ", ".join(f"`vit_jax/{path}`" for path in claim["code"])
  figures = [
      f"![{results[name]['experiment']}: every run and the mean of each row]"
      f"(results/{name}.png)" for name in used_results(claim)
      if name in results and has_figure(results[name])]
  return [
      f"## {claim['title']}", "", f"**{claim['claim']}** "
      f"({', '.join(claim['where'])}: {STATUS[claim['status']]})", "",
      f"- Paper: {claim['paper']}",
      f"- Here: {fill_in_results(claim['ours'], results)}",
      f"- Verdict: **{claim['verdict']}**" + (
          f": {fill_in_results(claim['because'], results)}"
          if claim["because"] else ""),
      f"- Needs: {claim['needs']}",
      f"- Code: {code}", "", *(line for f in figures for line in (f, "")),
      *_code(claim["command"]), "",
      *_folded("Small form", _code(claim["small"]))]


def has_figure(result: Mapping[str, Any]) -> bool:
  """Tells whether a result is drawn: several runs of its rows."""
  return result["seeds"] > 1


def _result(name: str, result: Mapping[str, Any]) -> list[str]:
  """Returns the folded command and table of one experiment."""
  lines = [_circumstances(result),
           *([result["notes"]] if result.get("notes") else []),
           "", *_code(result["command"]), ""]
  scores = result["scores"]
  if result.get("unit") == "number":
    table = markdown_table(("row", "value"), [
        [row, f"{score['mean']:,.0f}"] for row, score in scores.items()])
  else:
    table = markdown_table(
        ("row", f"mean of {result['metric']} in %", "std", "runs"),
        [[row, f"{100 * score['mean']:.2f}", _percent(score["std"]),
          str(score["runs"])] for row, score in scores.items()])
  return _folded(name, [*lines, *table.splitlines()])


def _circumstances(result: Mapping[str, Any]) -> str:
  """Returns a sentence: on what, with what, when, and how long it took."""
  parts = [result["size"],
           "1 seed" if result["seeds"] == 1 else f"{result['seeds']} seeds",
           result.get("processor") or result["device"], result["date"]]
  if result.get("seconds"):
    parts.append(f"{result['seconds']:,} s of the clock in all")
  if "environment" in result:
    versions = result["environment"]["versions"]
    parts.append(f"jax {versions['jax']}")
  if result.get("commit"):
    parts.append(f"commit {result['commit'][:12]}")
  return ", ".join(parts) + "."


def _code(command: str) -> list[str]:
  return ["```bash", command, "```"]


def _folded(summary: str, lines: Sequence[str]) -> list[str]:
  return [f"<details><summary>{summary}</summary>", "", *lines, "",
          "</details>"]


def _percent(value: float | None) -> str:
  return "-" if value is None else f"{100 * value:.2f}"
