"""Prints the VTAB-1k table of finished runs, with the means of the groups.

  python -m vit_jax vtab --workdirs=runs/vtab
  python -m vit_jax vtab --workdirs=runs/vtab --json

Looks for runs of configs/vtab.py below the folders. Several runs of a task,
such as the seeds of a sweep, are averaged; +- is their standard deviation. The
mean of a group is printed when all of its tasks have a score."""

import argparse
from collections.abc import Collection

from vit_jax.cli import arguments, output


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  parser.add_argument(
      "--workdirs", required=True, action="append", metavar="DIR",
      help="folder that holds the runs; may be repeated")
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Prints the table."""
  from vit_jax.data.sources.vtab import GROUPS, TASKS
  from vit_jax.experiments import vtab_table

  scores = vtab_table.gather_scores(args.workdirs)
  means = vtab_table.group_means(
      {task: score.mean for task, score in scores.items()})
  if args.json:
    output.print_json({
        "tasks": {task: {"accuracy": score.mean, "std": score.std,
                         "runs": score.runs}
                  for task, score in scores.items()},
        "means": means})
    return
  rows = []
  for group in GROUPS:
    rows.append([group])
    members = [name for name, task in TASKS.items() if task.group == group]
    for task in members:
      if task not in scores:
        rows.append([f"  {task}", "-", ""])
        continue
      score = scores[task]
      spread = "" if score.std is None else f" +- {score.std:.2%}"
      rows.append([f"  {task}", f"{score.mean:.2%}{spread}",
                   str(len(score.runs))])
    rows.append(["  mean", _mean(means[group], members, scores), ""])
  rows.append(["VTAB-1k", _mean(means["vtab"], TASKS, scores), ""])
  output.print_table(rows, ["task", "test accuracy", "runs"], right=(2,))


def _mean(
    mean: float | None, tasks: Collection[str], scores: Collection[str]
) -> str:
  """Returns a mean, or how many of its tasks have a score."""
  if mean is not None:
    return f"{mean:.2%}"
  return f"- ({sum(task in scores for task in tasks)} of {len(tasks)} tasks)"
