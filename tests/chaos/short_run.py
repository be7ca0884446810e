"""A run of seconds in a process of its own, and whether it is as it should be.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "vit_jax.main",
           f"--config={HERE / 'tiny_config.py'}", "--config.model.depth=1",
           "--config.train.steps=40", "--config.train.report=True")
CACHE = pathlib.Path(tempfile.mkdtemp(prefix="vit_jax_compiled_"))


def environment(**variables):
  """Returns the environment of the run, with `variables` added."""
  return os.environ | variables | {
      "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parent),
      "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
      "JAX_COMPILATION_CACHE_DIR": str(CACHE)}


def start(workdir, **variables):
  """Starts the run; `variables` are added to its environment."""
  return subprocess.Popen(
      [*COMMAND, f"--workdir={workdir}"], env=environment(**variables),
      stderr=subprocess.PIPE, text=True)


def finish(workdir, seconds=200, **variables):
  """Runs to the end; returns the exit code, None for a hang, and the errors."""
  process = start(workdir, **variables)
  try:
    _, errors = process.communicate(timeout=seconds)
  except subprocess.TimeoutExpired:
    process.send_signal(signal.SIGABRT)  # It prints the stacks of its threads.
    return None, process.communicate()[1]
  return process.returncode, errors


def _numbers(workdir):
  path = workdir / "metrics.jsonl"
  lines = path.read_text().split("\n")[:-1] if path.exists() else []
  keep = ("step", "train/loss", "train/grad_norm", "eval/val/loss",
          "eval/val/accuracy")
  return [{k: v for k, v in json.loads(x).items() if k in keep} for x in lines]


def _leftovers(workdir):
  """Returns files that should not outlive the next start."""
  return [str(p.relative_to(workdir)) for p in workdir.rglob("*")
          if p.name == "lock" or p.name.endswith(".tmp")
          or "orbax-checkpoint-tmp" in p.name]


def outcome(workdir, straight, code, errors, allowed):
  """Returns how a disturbed run is after the same command again, and a detail.

  Args:
    workdir: of the disturbed run.
    straight: of the same run, undisturbed.
    code: the exit code of the disturbed run; None where it never ended.
    errors: its standard error.
    allowed: the exit codes that it may have.
  """
  if code is None:
    return "hang", errors[-6000:]
  if code not in allowed:
    return "other", f"exit {code}: {errors[-800:]}"
  if "Traceback" in errors:
    return "other", errors[-1500:]
  code, errors = finish(workdir)
  if code or "Traceback" in errors:
    return "other", f"after the resume, exit {code}: {errors[-1500:]}"
  if _numbers(workdir) != _numbers(straight):
    return "silently other", "the record"
  for name in ("model.npz", "model.json"):
    if (workdir / name).read_bytes() != (straight / name).read_bytes():
      return "silently other", name
  if not (workdir / "report.html").exists() or _leftovers(workdir):
    return "other", f"files: {_leftovers(workdir)}"
  return "the same", ""
