"""A damaged file of a run: its state is right, an earlier one, or one line."""

import collections
import importlib.util
import pathlib
import shutil
import traceback

import jax
import numpy as np
import pytest
import tally

from vit_jax.errors import UserError
from vit_jax.training import loop, setup

SPEC = importlib.util.spec_from_file_location(
    "tiny_config", pathlib.Path(__file__).parents[1] / "tiny_config.py")
TINY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TINY)


def tiny():
  config = TINY.get_config()
  config.model.depth = 1
  config.train.update(steps=8, eval_every=0)
  config.optim.update(warmup_steps=1)
  config.checkpoint.update(save_every=2)
  return config


class StopAt6:
  """A stop signal after step 6."""

  interrupted = False

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def requested(self, step):
    return step >= 6

  def here(self):
    return False


def state_of(workdir):
  """Returns the step and the bytes of what a resumed run begins with."""
  run = setup.setup(tiny(), str(workdir))
  run.checkpointer.close()
  return run.start, [
      np.asarray(x).tobytes() for x in jax.tree.leaves(run.state)]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
  """A run that was stopped, and the states of its checkpoints by step."""
  workdir = tmp_path_factory.mktemp("run")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(loop, "StopSignal", StopAt6)
    loop.train(tiny(), str(workdir))
  states = dict([state_of(workdir)])
  older = tmp_path_factory.mktemp("older")
  shutil.copytree(workdir, older, dirs_exist_ok=True)
  shutil.rmtree(older / "checkpoints/6")
  states |= dict([state_of(older)])
  assert sorted(states) == [4, 6] and states[4] != states[6]
  return workdir, states


def damages(rng):
  """Yields (name, function of the bytes); None removes the file."""
  for tenth in range(10):
    yield f"cut at {tenth}/10", lambda d, t=tenth: d[:len(d) * t // 10]
  for _ in range(10):
    at, bit = rng.random(), int(rng.integers(8))

    def flip(data, at=at, bit=bit):
      data = bytearray(data or b"x")
      data[int(at * len(data))] ^= 1 << bit
      return bytes(data)

    yield f"bit {bit} at {at:.3f}", flip
  yield "removed", None


def take(stopped, path, damage, scratch):
  """Returns the outcome of a resume after damage to one file."""
  workdir, states = stopped
  copy = scratch / "copy"
  shutil.copytree(workdir, copy)
  try:
    if damage is None:
      (copy / path).unlink()
    else:
      (copy / path).write_bytes(damage((copy / path).read_bytes()))
    step, state = state_of(copy)
    return "the same" if states.get(step) == state else "silently other"
  except UserError as error:
    return "refused" if "\n" not in str(error) else "other"
  finally:
    shutil.rmtree(copy)


def run_cases(stopped, cases, scratch):
  """Tries the cases and adds them to the table."""
  counts, examples = collections.Counter(), []
  for path, name, damage in cases:
    try:
      kind = take(stopped, path, damage, scratch)
    except Exception:
      kind = "other"
      examples.append(traceback.format_exc()[-1500:])
    counts[kind] += 1
    if kind not in tally.GOOD:
      examples.append(f"{path}, {name}: {kind}")
  tally.add("file of a run", counts, examples)


def all_cases(stopped, rng):
  """Returns every damage to every file of the run."""
  files = sorted(p.relative_to(stopped[0]) for p in stopped[0].rglob("*")
                 if p.is_file())
  assert len(files) > 15
  return [(path, name, damage) for path in files
          for name, damage in damages(rng)]


def test_some_files(stopped, seed, tmp_path):
  rng = np.random.default_rng(seed)
  cases = all_cases(stopped, rng)
  chosen = rng.choice(len(cases), 12, replace=False)
  run_cases(stopped, [cases[i] for i in chosen], tmp_path)


@pytest.mark.chaos
def test_every_file(stopped, seed, scale, tmp_path):
  rng = np.random.default_rng(seed + 1)
  cases = all_cases(stopped, rng)
  count = max(1, round(scale * len(cases)))
  chosen = rng.choice(len(cases), count, replace=False)
  run_cases(stopped, [cases[i] for i in chosen], tmp_path)
