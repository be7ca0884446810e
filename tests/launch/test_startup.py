"""startup.sh in a sandbox: every program it calls is a stand-in."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from launch import job as job_lib
from launch import source

SCRIPT = source.ROOT / "launch" / "startup.sh"
FOLDER = "gs://bkt/x"
TOOLS = {
    # Answers from a folder of metadata, one file a key.
    "curl": r"""#!/bin/bash
for url in "$@"; do :; done
key=${url##*/instance/}
echo "curl $key" >> "$FAKE_LOG"
[[ -f $FAKE_METADATA/${key%%\?*} ]] || exit 22
if [[ $key == *wait_for_change* ]]; then
  cat "$FAKE_METADATA/changed"
else
  cat "$FAKE_METADATA/$key"
fi
""",
    "uv": r"""#!/bin/bash
echo "uv $*" >> "$FAKE_LOG"
case $1 in
  venv)
    mkdir -p "${!#}/bin"
    cp "$FAKE_PYTHON" "${!#}/bin/python" ;;
  pip) [[ $2 == freeze ]] && echo "jax==9.9"; [[ ! -e $FAKE_BROKEN ]] ;;
esac
""",
    "systemctl": r"""#!/bin/bash
echo "systemctl $*" >> "$FAKE_LOG"
[[ $1 != is-system-running ]] || cat "$FAKE_METADATA/system"
""",
    "sleep": '#!/bin/bash\necho "sleep $*" >> "$FAKE_LOG"\n',
}
TRAINER = r"""#!/bin/bash
printf '%s\n' "$@" "cache=$JAX_COMPILATION_CACHE_DIR" "X=$X" "at $PWD"
"""
TPU_ENV = "NODE_ID: 'x'\nWORKER_ID: '3'\nMEGASCALE_SLICE_ID: '1'\n"


class Machine:
  """One TPU VM: a root folder, its metadata, and what was called."""

  def __init__(self, cloud, folder):
    self.cloud, self.root = cloud, folder / "root"
    self.metadata, self.log = folder / "metadata", folder / "log"
    pages = self.root / "sys/kernel/mm/transparent_hugepage"
    for one in (self.metadata / "attributes", pages, self.root / "tmp"):
      one.mkdir(parents=True)
    (pages / "enabled").write_text("madvise")
    for name, text in TOOLS.items():
      cloud.tool(name, text)
    cloud.tool("trainer", TRAINER)
    self.tell("attributes/vit-job", FOLDER)
    self.tell("attributes/agent-worker-number", "0")
    self.tell("system", "running")
    self.env = cloud.env | {
        "HOME": str(folder), "VIT_ROOT": str(self.root),
        "FAKE_LOG": str(self.log), "FAKE_METADATA": str(self.metadata),
        "FAKE_PYTHON": str(cloud.bin / "trainer"),
        "FAKE_BROKEN": str(folder / "broken")}
    job = job_lib.Job(name="x", accelerator="v5litepod-16", bucket="gs://bkt",
                      zone="us-west4-a", args=("--config=c d", "--x='$y'"),
                      env=("X=a 'b' $c",), max_restarts=7)
    self.inbox = cloud.bucket / "bkt" / "x" / "job"
    source.stage(job, self.inbox)

  def tell(self, key: str, value: str) -> None:
    (self.metadata / key).write_text(value)

  def run(self, *verb: str, code: int = 0, **env: str):
    done = subprocess.run(["bash", str(SCRIPT), *verb], env=self.env | env,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done.stderr
    return done

  def called(self, *words: str) -> list[str]:
    lines = self.log.read_text().splitlines() if self.log.exists() else []
    return [line for line in lines if all(w in line for w in words)]

  def sent(self, name: str) -> str | None:
    path = self.cloud.bucket / "bkt" / "x" / name
    return path.read_text() if path.exists() else None

  def unit(self, name: str) -> str:
    return (self.root / f"etc/systemd/system/vit-{name}.service").read_text()


@pytest.fixture
def machine(cloud, tmp_path) -> Machine:
  return Machine(cloud, tmp_path)


def tree(machine) -> dict[str, bytes]:
  """What a boot leaves behind, without logs and caches of the job."""
  return {str(p.relative_to(machine.root)): p.read_bytes()
          for p in machine.root.rglob("*")
          if p.is_file() and "log" not in p.parts
          and p.name not in ("sent", "sent.new")}


def test_two_boots_install_once_and_leave_the_same(machine):
  machine.run()
  first, calls = tree(machine), len(machine.called("uv"))
  assert calls == 3  # venv, install, freeze
  install, = machine.called("uv pip install")
  assert f"vit_jax[tpu] @ file://{machine.root}/opt/vit/src" in install
  assert f"--constraint {machine.root}/opt/vit/job/constraints.txt" in install
  assert machine.called("uv venv --python 3.12")
  assert "opt/vit/src/launch/startup.sh" in first
  assert first["sys/kernel/mm/transparent_hugepage/enabled"] == b"always\n"
  machine.run()
  assert len(machine.called("uv")) == calls
  assert tree(machine) == first
  assert len(machine.called("systemctl start --no-block",
                            "vit-train")) == 2
  # The comparison can fail: other source is installed anew.
  (machine.inbox / "constraints.txt").write_text("numpy==1\n")
  machine.run()
  assert len(machine.called("uv")) == 2 * calls
  assert tree(machine) != first


def test_units_restart_and_save(machine):
  machine.run()
  unit = machine.unit("train").splitlines()
  for line in ("Restart=on-failure", "RestartSec=30", "StartLimitBurst=7",
               "RestartForceExitStatus=42", "SuccessExitStatus=42",
               "RestartPreventExitStatus=2", "KillSignal=SIGTERM",
               "KillMode=mixed", "TimeoutStopSec=90",
               "OnFailure=vit-failed.service", "LimitNOFILE=100000",
               f"ExecStart=/bin/bash {machine.root}/opt/vit/startup.sh train"):
    assert line in unit, line
  for name in ("failed", "logs", "preempted"):
    assert f"startup.sh {name}" in machine.unit(name)


@pytest.mark.skipif(not shutil.which("systemd-analyze"),
                    reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(machine):
  machine.run()
  units = machine.root / "etc/systemd/system"

  def verify():
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no",
         *sorted(map(str, units.glob("vit-*.service")))],
        capture_output=True, text=True)
    return [line for line in done.stderr.splitlines() if "vit-" in line]

  assert verify() == []
  (units / "vit-logs.service").write_text("[Service]\nExecStrat=/bin/true\n")
  assert verify() != []


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


def test_a_done_job_is_not_started_again(machine):
  (machine.inbox.parent / "DONE").write_text("")
  machine.run()
  assert not machine.called("systemctl") and not machine.called("uv")


def test_short_outages_of_the_bucket_are_survived(machine):
  machine.cloud.play(outages=3)
  machine.run()
  assert machine.called("systemctl start")
  assert [line for line in machine.called("sleep")][:3] == [
      "sleep 2", "sleep 4", "sleep 8"]


def test_a_job_that_is_not_there_is_given_up(machine):
  shutil.rmtree(machine.inbox)
  machine.run(code=1)
  assert "could not be fetched" in machine.sent("FAILED")
  assert not machine.called("systemctl start")


def test_a_failed_installation_is_marked_and_tried_at_the_next_boot(machine):
  broken = pathlib.Path(machine.env["FAKE_BROKEN"])
  broken.touch()
  machine.run(code=1)
  assert "the installation failed" in machine.sent("FAILED")
  assert "gave up after 5 tries: uv pip install" in machine.sent("FAILED")
  broken.unlink()
  machine.run()
  assert machine.called("systemctl start")


def test_worker_and_slice_from_the_tpu_environment(machine):
  (machine.metadata / "attributes/agent-worker-number").unlink()
  machine.tell("attributes/tpu-env", TPU_ENV)
  machine.run()
  identity = (machine.root / "opt/vit/identity").read_text()
  assert "SLICE=1\nWORKER=3\n" in identity


def test_an_unknown_worker_of_several_does_not_start(machine):
  (machine.metadata / "attributes/agent-worker-number").unlink()
  machine.tell("attributes/worker-network-endpoints", "a:1:10.0.0.1,b:2:10.0")
  assert "which worker" in machine.run(code=1).stderr
  assert not machine.called("systemctl")
  # A machine that is alone is worker 0.
  machine.tell("attributes/worker-network-endpoints", "a:1:10.0.0.1")
  machine.run()
  assert machine.called("systemctl start")


def test_unknown_verbs_are_refused(machine):
  machine.run("dance", code=2)
