"""Trains a model, or goes on with a run; the same as python -m vit_jax.main.

  python -m vit_jax train --config=configs/quickstart.py --workdir=runs/digits

flags:
  --config=FILE[:ARGS]   config file, one of the shipped or your own, with the
                         arguments that its docstring explains
  --workdir=DIR          where the run lives: config.json, metrics.jsonl,
                         checkpoints/, at the end model.npz and report.html;
                         the same command again goes on where it stopped
  --config.KEY=VALUE     changes a key, such as --config.train.steps=1000,
                         --config.data.batch_size=256, --config.init.path=FILE
  --coordinator=HOST:PORT, --num_processes=N, --process_id=I
                         for jobs of several processes without a cluster
                         manager that tells them

exit codes: 0 done, 1 the work failed, 2 wrong usage, 42 told to stop (state
saved; run the same command again)."""

from collections.abc import Sequence
import sys

HELP = "train a model from a config, or resume the run of a --workdir"


def main(argv: Sequence[str]) -> int:
  """Runs vit_jax.main with these flags; absl exits with its code."""
  if any(word in ("-h", "--help", "-help") for word in argv):
    print(__doc__)
    return 0
  from vit_jax import main as training

  # ml_collections looks for --config.KEY in sys.argv, whatever it is given.
  before, sys.argv = sys.argv, ["vit_jax train", *argv]
  try:
    training.run(sys.argv)
  finally:
    sys.argv = before
  return 0
