"""startup.sh at boot, in a sandbox: it installs once and starts the units."""

import pathlib
import shutil
import subprocess

import fake_machine
import pytest

TPU_ENV = "NODE_ID: 'x'\nWORKER_ID: '3'\nMEGASCALE_SLICE_ID: '1'\n"


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
  machine.seal()
  machine.run()
  assert len(machine.called("uv")) == 2 * calls
  assert tree(machine) != first


def test_units_restart_and_save(machine):
  machine.run()
  unit = machine.unit("train").splitlines()
  for line in ("Restart=on-failure", "RestartSec=30", "StartLimitBurst=7",
               "RestartForceExitStatus=42", "SuccessExitStatus=42",
               "RestartPreventExitStatus=2 3", "KillSignal=SIGTERM",
               "KillMode=mixed", "TimeoutStopSec=90",
               "OnFailure=vit-failed.service", "LimitNOFILE=100000",
               f"ExecStart=/bin/bash {machine.root}/opt/vit/startup.sh train"):
    assert line in unit, line
  for name in ("failed", "logs", "preempted", "limit", "end"):
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


@pytest.mark.parametrize("phase,tool", [
    ("fetching", "gcloud"), ("installing", "uv"), ("copying", "gcloud")])
def test_a_machine_that_is_cut_off_goes_on_at_its_next_boot(
    machine, phase, tool):
  """Power is lost while a program runs; what follows is an ordinary boot."""
  machine.set(DATA="gs://data/tfds", DATA_ON="ram", DATA_FILES="3",
              DATA_BYTES="303")
  word = {"fetching": "cp", "installing": "pip", "copying": "rsync"}[phase]
  usual = (machine.cloud.bin / tool).read_text()
  machine.cloud.tool(tool, usual.replace(
      "#!/bin/bash\n", f'#!/bin/bash\n[[ " $* " != *" {word} "* ]] || '
      '{ : > "$FAKE_LOG.cut"; kill -9 -$(ps -o pgid= $$ | tr -d " "); }\n', 1))
  subprocess.run(["bash", str(fake_machine.SCRIPT)], env=machine.env,
                 capture_output=True, timeout=30, start_new_session=True)
  assert pathlib.Path(f"{machine.log}.cut").exists()
  assert not machine.called("systemctl start")
  machine.cloud.tool(tool, usual)
  machine.mounts.write_text("")
  machine.run()
  assert machine.called("systemctl start --no-block", "vit-train")
  assert machine.sent("FAILED") is None
  data = machine.root / "mnt/vit-data"
  assert len([p for p in data.rglob("*") if p.is_file()]) == 3


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
