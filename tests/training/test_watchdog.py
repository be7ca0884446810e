"""A process that hangs ends with its stacks; one that works does not."""

import subprocess
import sys
import time

from vit_jax.training.progress import Timer
from vit_jax.training.watchdog import Watchdog

HANG = """
import time
from vit_jax.training.progress import Timer
from vit_jax.training.watchdog import Watchdog

def stuck_loader():
  time.sleep({sleep})

timer = Timer()
timer.watchdog = Watchdog({minutes})
with timer.watchdog:
  for _ in range(5):
    with timer("data"):
      time.sleep({usual})
  with timer("data"):
    stuck_loader()
print("went on")
"""


def run(**values):
  return subprocess.run(
      [sys.executable, "-c", HANG.format(**values)], capture_output=True,
      text=True, timeout=60)


def test_a_hang_ends_with_the_stack_of_what_hangs():
  done = run(sleep=50, minutes=0.002, usual=0)
  assert done.returncode == 1
  assert "stuck_loader" in done.stderr
  last = done.stderr.splitlines()[-1]
  assert last.startswith("vit_jax: error: 'data' has taken longer than 0 s")
  assert "hang_minutes=0" in last


def test_what_is_as_slow_as_usual_goes_on():
  # Over the minimum of 0.06 s, but not fifty times the median of 0.02 s.
  assert run(sleep=0.4, minutes=0.001, usual=0.02).stdout == "went on\n"
  assert run(sleep=0.4, minutes=0, usual=0).stdout == "went on\n"


def test_limits_follow_the_medians():
  dog = Watchdog(10)
  timer = Timer()
  timer.watchdog = dog
  assert dog.limit("data") == 600
  assert dog.limit("step") == 750
  assert dog.limit("compile") == 12 * 600
  for seconds in (1.0, 20.0, 400.0):
    dog.begin("step")
    dog.done(seconds)
  assert dog.limit("step") == 50 * 20
  assert dog.limit("eval") == 6 * 600
  with timer("step"):
    time.sleep(0.001)
  assert len(dog._took["step"]) == 4 and timer.seconds["step"] > 0
