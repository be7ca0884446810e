"""Kills a run at random steps and compares it with one left alone."""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import time

KEYS = ("step", "train/loss", "train/accuracy", "train/grad_norm")


def lines(workdir: pathlib.Path) -> list[dict]:
  """Returns the complete lines of a run's record."""
  path = workdir / "metrics.jsonl"
  text = path.read_text() if path.exists() else ""
  return [json.loads(line) for line in text.split("\n")[:-1]]


def numbers(workdir: pathlib.Path) -> list[dict]:
  """Returns what must be the same: everything but the clock."""
  return [{k: v for k, v in line.items() if k in KEYS or k.startswith("eval/")}
          for line in lines(workdir)]


def kill_at(command: list[str], workdir: pathlib.Path, step: int) -> None:
  """Starts the run and kills it without warning once `step` is logged."""
  process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
  while process.poll() is None:
    seen = lines(workdir)
    if seen and seen[-1]["step"] >= step:
      process.kill()
      process.wait()
      print(f"killed at step {seen[-1]['step']}", flush=True)
      return
    time.sleep(0.02)
  sys.exit(f"the run ended before step {step}, with {process.returncode}")


def main() -> None:
  """Exits with a message unless both runs end the same, bit for bit."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("straight", type=pathlib.Path)
  parser.add_argument("killed", type=pathlib.Path)
  parser.add_argument("--kills", type=int, default=1)
  parser.add_argument("command", nargs=argparse.REMAINDER,
                      help="of the run, without --workdir")
  args = parser.parse_args()
  command = [*args.command, f"--workdir={args.killed}"]
  total = lines(args.straight)[-1]["step"]
  seed = int(os.environ.get("SEED", time.time_ns() % 1000))
  steps = sorted(random.Random(seed).sample(
      range(1, total * 9 // 10), args.kills))
  print(f"to be killed at steps {steps} (SEED={seed})", flush=True)
  for step in steps:
    kill_at(command, args.killed, step)
  subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
  if numbers(args.killed) != numbers(args.straight):
    sys.exit("the records differ")
  if (args.killed / "model.npz").read_bytes() != (
      args.straight / "model.npz").read_bytes():
    sys.exit("model.npz differs")
  print(f"{len(numbers(args.killed))} lines of the record and model.npz are "
        "the same, bit for bit")


if __name__ == "__main__":
  main()
