"""Trains: python -m vit_jax.main --config=configs/FILE.py[:args] --workdir=DIR.

The same as `python -m vit_jax train`, whose --help explains the flags. Running
the same command again resumes. Exit codes: 0 done, 1 failed, 2 wrong usage, 3
will fail again, 42 preempted (run it again), 130 interrupted.
"""

from collections.abc import Sequence
import sys
from typing import Any, NoReturn

from vit_jax import __main__, moved
from vit_jax.cli import process


def run(argv: Sequence[str] | None = None) -> NoReturn:
  """Trains and exits with the code.

  Args:
    argv: like sys.argv, the program's name first; None for sys.argv itself.
  """
  if argv is None:
    process.set_up()
    argv = sys.argv
  process.leave_with(__main__.main(["train", *argv[1:]]))


def __getattr__(name: str) -> Any:
  """Answers names that were here before."""
  raise moved.missing("vit_jax.main", name)


if __name__ == "__main__":
  run()
