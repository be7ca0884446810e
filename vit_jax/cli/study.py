"""Runs an experiment of the paper: several runs, one table beside the paper's.

  python -m vit_jax study --config=configs/posemb_ablation.py:digits \\
      --workdir=runs/posemb
  python -m vit_jax study --config=configs/masked_patch.py:digits \\
      --workdir=runs/masked-study --seeds=3

Each row of the study is trained in a folder of its own below the working
directory; the same command again goes on where it stopped. study.json,
study.md and, where the paper has a curve, study.png are written there. Without
`:digits` the studies have the paper's size."""

import argparse
from collections.abc import Sequence
import json
import shlex

from vit_jax.cli import common

HELP = "run an experiment of the paper and print its table"

def main(argv: Sequence[str]) -> int:
  """Runs the study; returns the exit code."""
  ours, config_words = common.divide(argv)
  args = _parser().parse(ours)

  from vit_jax.config import find
  from vit_jax.devices import distributed
  from vit_jax.devices.compilation import enable_cache
  from vit_jax.errors import EXIT_PREEMPTED
  from vit_jax.experiments import study as studies
  from vit_jax.experiments.study_figure import write_figure
  from vit_jax.main import show_logs

  path, arg, overrides = _config_of(config_words)
  study = studies.read_study(path, arg)
  studies.choose_rows(study, args.rows)

  def make_config(stage: studies.TrainingStage):
    changes = [f"--config.{k}={v}" for k, v in stage.changes.items()]
    return find.load_config([
        f"--config={stage.file or path}:{stage.arg}", *changes, *overrides])

  show_logs()
  enable_cache()
  distributed.initialize(
      coordinator=args.coordinator, num_processes=args.num_processes,
      process_id=args.process_id)
  with common.stdout_is_stderr():
    outcome = studies.run_study(
        study, make_config, args.workdir, names=args.rows,
        num_seeds=args.seeds)
  if not outcome.finished:
    return EXIT_PREEMPTED
  if not distributed.is_primary():
    return 0
  figure = write_figure(study, outcome, args.workdir) if study.x_label else None
  if args.record:
    said = studies.published_result(
        study, outcome, name=args.record.rpartition("/")[2].removesuffix(
            ".json"), command=_command(argv), size=args.size)
    with open(args.record, "w", encoding="utf-8") as file:
      json.dump(said, file, indent=2)
      file.write("\n")
  if args.json:
    common.print_json({
        "title": study.title, "source": study.source, "metric": study.metric,
        "rows": outcome.summary(), "scores": outcome.scores,
        "figure": figure})
    return 0
  print(f"{study.title} ({study.source}); {study.metric}\n")
  header, *rows = studies.study_table(study, outcome)
  common.print_table(rows, header, right=(1, 2, 3, 4))
  if figure:
    print(f"\nwrote {figure}")
  return 0


def _config_of(words: Sequence[str]) -> tuple[str, str, list[str]]:
  """Returns the config's file, its argument, and the overrides."""
  from vit_jax.config import find

  overrides = [w for w in words if not w.startswith("--config=")]
  given = [w.partition("=")[2] for w in words if w.startswith("--config=")]
  common.refuse(len(given) != 1, find.missing_config())
  path, _, arg = find.find_config(given[0]).partition(":")
  return path, arg, overrides


def _command(argv: Sequence[str]) -> str:
  """Returns the command without what only concerns its record."""
  words = [w for w in argv if not w.startswith(("--record", "--size"))]
  return f"python -m vit_jax study {shlex.join(words)}"


def _parser() -> common.Parser:
  """Returns the parser of everything but --config and --config.KEY."""
  parser = common.Parser(
      prog=f"{common.program()} study", description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
      epilog="--config=FILE[:ARGS] is a config with a study in it; "
      "--config.KEY=VALUE applies to every run.")
  add = parser.add_argument
  add("--workdir", required=True, metavar="DIR", help="where the runs live")
  add("--seeds", type=common.positive, default=1, metavar="N",
      help="runs of each row (default: 1)")
  add("--rows", type=_names, default=(), metavar="ROW;ROW;...",
      help="only these, with semicolons between them")
  add("--record", metavar="FILE", help="also write the result as `paper "
      "claims` reads it")
  add("--size", default="", metavar="TEXT", help="with --record: what it ran "
      "on, in words")
  add("--coordinator", metavar="HOST:PORT", help="as for training")
  add("--num_processes", type=int, help="as for training")
  add("--process_id", type=int, help="as for training")
  common.add_json(parser)
  return parser


def _names(text: str) -> tuple[str, ...]:
  return tuple(part.strip() for part in text.split(";") if part.strip())
