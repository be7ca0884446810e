"""Ctrl-C ends a command at any moment: exit code 130, and nothing to read."""

import os
import pty
import signal
import subprocess
import sys
import time

from PIL import Image
import pytest

# Runs the verb of its arguments, and presses Ctrl-C at its n-th import.
AT_AN_IMPORT = """
import os, runpy, signal, sys
remaining = int(sys.argv.pop(1))
def count(event, _):
  global remaining
  if event == "import":
    remaining -= 1
    if not remaining:
      os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(count)
runpy.run_module("vit_jax", run_name="__main__", alter_sys=True)
"""


def python(code, *words):
  return subprocess.run(
      [sys.executable, "-c", code, *map(str, words)], capture_output=True,
      text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def verbs(checkpoint, digits_checkpoint):
  """Commands by verb, that would take seconds."""
  return {
      "predict": (f"--checkpoint={checkpoint}", "a.png"),
      "evaluate": (f"--checkpoint={digits_checkpoint}", "--source=digits"),
      "inspect": (checkpoint,),
      "analyze": (f"--checkpoint={checkpoint}", "--source=digits", "--out=x"),
      "layers": (checkpoint, checkpoint, "--source=digits", "--out=x"),
      "convert": (checkpoint, "x.npz"),
      "export": (checkpoint, "x.stablehlo"),
      "report": ("--workdir=x",),
      "train": ("--config=configs/quickstart.py", "--workdir=x"),
      "study": ("--config=configs/posemb_ablation.py:digits", "--workdir=x"),
  }


@pytest.mark.parametrize("verb, count", [
    ("train", 30), ("train", 150), ("train", 1500), ("predict", 300),
    ("evaluate", 1000), ("convert", 200), ("report", 600)])
def test_during_the_imports(verbs, verb, count):
  done = python(AT_AN_IMPORT, count, verb, *verbs[verb])
  assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_without_an_interrupt_the_same_runs_to_its_end():
  done = python(AT_AN_IMPORT, 10**6, "--version")
  assert done.returncode == 0 and "jax" in done.stdout


WORKING = """
import gc, os, signal, sys, time
from vit_jax.cli import process
process.set_up()
def press(*_):
  os.kill(os.getpid(), signal.SIGINT)
{work}
print("carried on")
process.leave_with(0)
"""


@pytest.mark.parametrize("work", [
    "gc.callbacks.append(press); gc.collect()",
    "class Dying:\n  __del__ = press\nDying(); time.sleep(5)",
], ids=["garbage collector", "destructor"])
def test_where_python_would_only_print_it(work):
  done = python(WORKING.format(work=work))
  assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


# A minute of compiled code that lets other threads run, as XLA's compiler does.
BUSY = """
import hashlib, threading
process.PATIENCE = {patience}
for seconds in {presses}:
  threading.Timer(seconds, press).start()
hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)
"""


@pytest.mark.parametrize("patience, presses", [(0.2, [0.1]), (60, [0.1, 0.2])])
def test_compiled_code_is_given_some_time_and_none_after_a_second_one(
    patience, presses):
  start = time.perf_counter()
  done = python(WORKING.format(
      work=BUSY.format(patience=patience, presses=presses)))
  assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
  assert time.perf_counter() - start < 20


def test_elsewhere_work_is_tidied_up():
  done = python(WORKING.format(work="""
try:
  press()
finally:
  print("tidied up", flush=True)
"""))
  assert done.stdout == "tidied up\n"
  assert "KeyboardInterrupt" in done.stderr  # For `__main__.main` to catch.


def test_a_second_one_ends_it_at_once():
  done = python(WORKING.format(work="""
try:
  press()
except KeyboardInterrupt:
  press()
"""))
  assert (done.returncode, done.stdout) == (-signal.SIGINT, "")


def test_an_ignored_signal_stays_ignored():
  # As a shell starts what runs in the background of a script.
  done = python("import signal; signal.signal(2, signal.SIG_IGN)"
                + WORKING.format(work="press()"))
  assert (done.returncode, done.stdout) == (0, "carried on\n")


@pytest.mark.parametrize("how, code", [
    ("process.leave_with(7)", 7), ("raise ValueError", 1)])
def test_nothing_is_lost_at_the_end(how, code, tmp_path):
  done = python(WORKING.format(work=f"""
import atexit, threading
def late():
  time.sleep(0.3)
  print("a thread's words")
atexit.register(print, "a callback's words")
threading.Thread(target=late).start()
sys.stderr.write("to stderr")
{how}
"""))
  assert done.returncode == code
  assert done.stdout == "a thread's words\na callback's words\n"
  assert "to stderr" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 1, 2, 3, 5])
@pytest.mark.parametrize("verb", ["predict", "evaluate", "train", "analyze"])
def test_by_the_clock(verbs, verb, seconds, tmp_path):
  Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
  running = subprocess.Popen(
      [sys.executable, "-m", "vit_jax", verb, *map(str, verbs[verb])],
      cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
      env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
  time.sleep(seconds)
  running.send_signal(signal.SIGINT)
  out, err = running.communicate(timeout=60)
  # Finished by itself, or interrupted. Before the first line of vit_jax runs,
  # the signal itself ends Python, which shells report as 130.
  assert running.returncode in (
      (0, 130, -signal.SIGINT) if seconds < 1 else (0, 130)), err
  if running.returncode == 130:
    assert "Traceback" not in err and err.count("\n") <= 1


NO_JAX = "raise SystemExit('too late: jax is being imported')"


def read_all(terminal):
  """Returns what was written to a terminal whose other end is closed."""
  parts = []
  while True:
    try:
      part = os.read(terminal, 10_000)  # What has arrived so far.
    except OSError:  # Linux' end of file here.
      part = b""
    if not part:
      return b"".join(parts).decode()
    parts.append(part)


def test_a_terminal_shows_a_sign_of_life_before_jax(verbs, tmp_path):
  (tmp_path / "jax.py").write_text(NO_JAX)
  for verb, words in verbs.items():
    terminal, end = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "vit_jax", verb, *map(str, words)], stderr=end,
        stdin=subprocess.DEVNULL, check=False,
        env=os.environ | {
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])})
    os.close(end)
    first, second = read_all(terminal).splitlines()
    assert first.startswith("vit_jax: "), verb
    assert second == "too late: jax is being imported"
    os.close(terminal)
