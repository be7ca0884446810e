"""Checks what a run left behind: files, test accuracy, training time."""

import argparse
import json
import pathlib
import sys


def training_seconds(metrics: list[dict]) -> float:
  """Returns the seconds of compilation, steps, data, evaluations and saves."""
  last = [m for m in metrics if "time/step" in m][-1]
  return sum(last[f"time/{part}"] for part in (
      "compile", "data", "step", "eval", "save"))


def main() -> None:
  """Exits with a message unless the run is as promised."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("workdir", type=pathlib.Path)
  parser.add_argument("--test-accuracy", type=float, required=True)
  parser.add_argument("--seconds", type=float, default=float("inf"))
  args = parser.parse_args()
  for name in ("config.json", "metrics.jsonl", "model.npz", "model.json",
               "report.html", "curves.png"):
    size = (args.workdir / name).stat().st_size
    if not size:
      sys.exit(f"{args.workdir / name} is empty")
  lines = (args.workdir / "metrics.jsonl").read_text().splitlines()
  metrics = [json.loads(line) for line in lines]
  scores = [m["eval/test/accuracy"] for m in metrics
            if "eval/test/accuracy" in m]
  seconds = training_seconds(metrics)
  print(f"{args.workdir}: test accuracy {scores[-1]:.4f} (to reach: "
        f"{args.test_accuracy}), training {seconds:.0f} s")
  if scores[-1] < args.test_accuracy:
    sys.exit("the accuracy is too low")
  if seconds > args.seconds:
    sys.exit(f"the training took more than {args.seconds:.0f} s")


if __name__ == "__main__":
  main()
