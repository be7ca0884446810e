"""startup.sh's verbs, as the systemd units call them, in a sandbox."""

import os
import signal
import subprocess
import sys

from fake_machine import FOLDER, SCRIPT
import pytest


def test_trainer_gets_its_arguments_and_environment(machine):
  machine.run()
  lines = machine.run("train").stdout.splitlines()
  assert lines == ["-m", "vit_jax.main", "--config=c d", "--x='$y'",
                   f"--workdir={FOLDER}", "cache=gs://bkt/jax_cache",
                   "X=a 'b' $c", f"at {machine.root}/opt/vit/src"]
  log, = (machine.root / "var/log/vit").glob("train-*.log")
  assert log.read_text().splitlines() == lines


def test_the_cache_can_be_elsewhere(machine):
  machine.run()
  env = machine.root / "opt/vit/job/env"
  env.write_text(env.read_text() + "JAX_COMPILATION_CACHE_DIR=gs://other\n")
  assert "cache=gs://other" in machine.run("train").stdout


def test_sigterm_reaches_the_trainer(machine):
  machine.run()
  python = machine.root / "opt/vit/venv/bin/python"
  python.write_text(
      f"#!{sys.executable} -S\nimport signal, sys\n"
      "signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))\n"
      "print('ready', flush=True)\nsignal.pause()\n")
  process = subprocess.Popen(["bash", str(SCRIPT), "train"], env=machine.env,
                             stdout=subprocess.PIPE, text=True)
  assert process.stdout.readline() == "ready\n"
  os.kill(process.pid, signal.SIGTERM)
  process.communicate(timeout=20)
  assert process.returncode == 42


@pytest.mark.parametrize("slice_id,worker,code,done", [
    ("0", "0", "0", True), ("0", "3", "0", False), ("1", "0", "0", False),
    ("0", "0", "1", False), ("0", "0", "42", False)])
def test_done_is_marked_by_the_first_worker_alone(
    machine, slice_id, worker, code, done):
  machine.tell("attributes/agent-worker-number", worker)
  machine.tell("attributes/tpu-env", f"MEGASCALE_SLICE_ID: '{slice_id}'\n")
  machine.run()
  machine.run("train")
  machine.run("stopped", EXIT_CODE="exited", EXIT_STATUS=code)
  assert (machine.sent("DONE") is not None) == done
  folder = f"logs/slice_{slice_id}_worker_{worker}"
  assert (machine.sent(f"{folder}/done") is not None) == (code == "0")
  started = (machine.root / "opt/vit/started").read_text().strip()
  assert f"stopped: exited {code}" in machine.sent(
      f"{folder}/train-{started}.log")
  assert machine.sent(f"{folder}/packages.txt") == "jax==9.9\n"
  assert machine.sent("FAILED") is None
  # DONE comes after the logs.
  copies = [c[-1] for c in machine.cloud.calls("storage", "cp")]
  assert not done or copies[-1] == f"{FOLDER}/DONE"


def test_a_killed_trainer_is_not_done(machine):
  machine.run()
  machine.run("stopped", EXIT_CODE="killed", EXIT_STATUS="0")
  assert machine.sent("DONE") is None


def test_giving_up_is_marked_with_the_last_lines(machine):
  machine.run()
  machine.run("train")
  machine.run("failed", code=1)
  text = machine.sent("FAILED")
  assert text.startswith("slice 0 worker 0: the trainer failed")
  assert "cache=gs://bkt/jax_cache" in text


def test_a_machine_that_is_taken_away_is_no_failure(machine):
  machine.run()
  machine.tell("system", "stopping")
  machine.run("failed")
  assert machine.sent("FAILED") is None


def test_the_preemption_notice_stops_the_trainer(machine):
  machine.run()
  machine.tell("preempted", "FALSE")
  machine.tell("changed", "TRUE")
  machine.run("preempted")
  assert machine.called("curl preempted?wait_for_change=true")
  assert machine.called("systemctl stop --no-block vit-train")
  machine.run("failed")
  assert machine.sent("FAILED") is None
  # A notice that came before the question is seen too.
  machine.tell("preempted", "TRUE")
  machine.tell("changed", "FALSE")
  machine.run("preempted")
  assert len(machine.called("systemctl stop")) == 2


def test_no_notice_no_stop(machine):
  machine.run()
  machine.tell("preempted", "FALSE")
  machine.tell("changed", "FALSE")
  machine.cloud.tool("sleep", "#!/bin/bash\nkill $PPID\n")
  machine.run("preempted", code=-signal.SIGTERM)
  assert not machine.called("systemctl stop")


def test_unknown_verbs_are_refused(machine):
  machine.run("dance", code=2)
