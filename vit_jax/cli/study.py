"""Runs an experiment of the paper: several runs, one table beside the paper's.

  python -m vit_jax study --config=configs/posemb_ablation.py:digits \\
      --workdir=runs/posemb
  python -m vit_jax study --config=configs/masked_patch.py:digits \\
      --workdir=runs/masked-study --seeds=3

Each row of the study is trained in a folder of its own below the working
directory; the same command again resumes. study.json, study.md and, where the
paper has a curve, study.png are written there. Without `:digits` the studies
have the paper's size. --config.KEY=VALUE applies to every run."""

import argparse
from collections.abc import Sequence
import json
import shlex
from typing import TYPE_CHECKING

from vit_jax.cli import arguments, logs, output
from vit_jax.cli.train import join_job
from vit_jax.errors import EXIT_PREEMPTED, UsageError

if TYPE_CHECKING:
  from ml_collections import ConfigDict


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  arguments.add_config(parser)
  add("--workdir", required=True, metavar="DIR", help="where the runs live")
  add("--seeds", type=arguments.positive, default=1, metavar="N",
      help="runs of each row (default: 1)")
  add("--rows", type=arguments.list_of(str, separator=";"), default=(),
      metavar="ROW;ROW;...", help="only these, separated by semicolons")
  add("--record", metavar="FILE", type=arguments.output_path,
      help="also write the result as `paper "
      "claims` reads it")
  add("--size", default="", metavar="TEXT", help="with --record: what the "
      "study ran on, in words")
  arguments.add_processes(parser)
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
  """Runs the study; returns 0 or EXIT_PREEMPTED."""
  logs.starting("starting to train")
  from vit_jax.config import find
  from vit_jax.devices import distributed
  from vit_jax.experiments import study as studies
  from vit_jax.experiments.study_figure import write_figure
  from vit_jax.experiments.study_runs import run_study
  from vit_jax.experiments.study_table import published_result, study_table

  path, arg, overrides = _config_of(args.config_words)
  study = studies.read_study(path, arg)
  studies.choose_rows(study, args.rows)

  def make_config(stage: studies.TrainingStage) -> "ConfigDict":
    changes = [f"--config.{k}={v}" for k, v in stage.changes.items()]
    return find.load_config([
        f"--config={stage.file or path}:{stage.arg}", *changes, *overrides])

  join_job(args)
  with output.stdout_is_stderr():
    outcome = run_study(
        study, make_config, args.workdir, names=args.rows,
        num_seeds=args.seeds)
  if not outcome.finished:
    return EXIT_PREEMPTED
  if not distributed.is_primary():
    return 0
  figure = None
  if study.x_label:
    last = next(iter(study.rows.values())).stages[-1]
    figure = write_figure(
        study, outcome, args.workdir, make_config(last).data.source)
  if args.record:
    name = args.record.rpartition("/")[2].removesuffix(".json")
    result = published_result(
        study, outcome, name=name, command=_command(args.argv), size=args.size)
    with open(args.record, "w", encoding="utf-8") as file:
      json.dump(result, file, indent=2)
      file.write("\n")
  if args.json:
    output.print_json({
        "title": study.title, "source": study.source, "metric": study.metric,
        "rows": outcome.summary(), "scores": outcome.scores,
        "figure": figure})
    return 0
  print(f"{study.title} ({study.source}); {study.metric}\n")
  header, *rows = study_table(study, outcome)
  output.print_table(rows, header, right=(1, 2, 3, 4))
  if figure:
    print(f"\nwrote {figure}")
  return 0


def _config_of(words: Sequence[str]) -> tuple[str, str, list[str]]:
  """Returns the config's file, its argument, and the overrides."""
  from vit_jax.config import find

  files = [w.partition("=")[2] for w in words if w.startswith("--config=")]
  if len(files) != 1:
    raise UsageError(find.missing_config())
  path, _, arg = find.find_config(files[0]).partition(":")
  return path, arg, [w for w in words if not w.startswith("--config=")]


def _command(argv: Sequence[str]) -> str:
  """Returns the command without the options of its record."""
  words = [w for w in argv if not w.startswith(("--record", "--size"))]
  return f"python -m vit_jax study {shlex.join(words)}"
