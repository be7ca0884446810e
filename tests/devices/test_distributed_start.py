"""A job resumes: process 0 reads the checkpoint, the others get it from there.
And when process 0, the coordinator, dies, the others do not wait for it.

What a bucket would be asked for is counted at the C library: the files that
each process opens below the working directory, and the bytes it reads.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import disk_shim
import gcs_server
import pytest
from test_distributed import (
  HERE,
  LONG,
  OVERRIDES,
  TINY,
  free_port,
  logged,
  wait_for,
)

# Six layers, so that the arrays are larger than the files around them.
MODEL = ("--config.model.depth=6", "--config.model.scan=True",
         "--config.model.width=192", "--config.train.steps=4000",
         "--config.optim.warmup_steps=2")


def job(workdir, count, environments=(), more=MODEL, fsdp=1):
  port, processes = free_port(), []
  for index in range(count):
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(
            [str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
        "JAX_COMPILATION_CACHE_DIR": "", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    if environments:
      environment |= environments[index]
    words = [sys.executable, "-m", "vit_jax.main", TINY,
             f"--workdir={workdir}", *OVERRIDES, *more,
             f"--config.mesh.fsdp={fsdp}"]
    if count > 1:
      words += [f"--coordinator=localhost:{port}", f"--num_processes={count}",
                f"--process_id={index}"]
    processes.append(subprocess.Popen(
        words, env=environment, stderr=subprocess.PIPE, text=True))
  return processes


def stop(processes):
  processes[0].send_signal(signal.SIGTERM)
  errors = [process.communicate(timeout=300)[1] for process in processes]
  assert {process.returncode for process in processes} == {42}, "\n".join(
      f"{process.returncode}: {error[-1500:]}"
      for process, error in zip(processes, errors, strict=True))
  return errors


@pytest.mark.multiprocess
@pytest.mark.parametrize("count, fsdp", [
    pytest.param(2, 1, marks=pytest.mark.thorough),
    pytest.param(4, 2, marks=pytest.mark.thorough),
    pytest.param(4, 1, marks=pytest.mark.chaos),
    pytest.param(8, 1, marks=pytest.mark.chaos)])
def test_only_the_first_replica_reads_the_checkpoint(tmp_path, count, fsdp):
  workdir = tmp_path / "run"
  workdir.mkdir()
  processes = job(workdir, 1)
  wait_for(lambda: logged(workdir, 2), processes)
  stop(processes)
  begin = max(int(line.split(":")[1].split(",")[0]) for line in (
      workdir / "metrics.jsonl").read_text().splitlines())
  size = sum(path.stat().st_size for path in (workdir / "checkpoints").rglob(
      "*") if path.is_file())
  disks = [disk_shim.Disk(workdir, tmp_path / f"counts{i}")
           for i in range(count)]
  started = time.monotonic()
  processes = job(
      workdir, count, [disk.variables(reads=True) for disk in disks], fsdp=fsdp)
  wait_for(lambda: logged(workdir, begin + 2), processes)
  seconds = time.monotonic() - started
  counts = [disk.counts()[1:] for disk in disks]
  errors = stop(processes)
  print(f"{count} processes: checkpoint of {size:,} bytes; files opened and "
        f"bytes read by each: {counts}; {seconds:.0f} s to the second step")
  assert f"restored step {begin}" in errors[0]
  # With parameters split over two processes, each of these reads its part, by
  # whole chunks of the file.
  assert all(size / 4 < read < 3 * size for _, read in counts[:fsdp])
  # Their config is compared with the run's, and the directory listed.
  assert all(
      read < size / 20 and opened < 10 for opened, read in counts[fsdp:])


@pytest.mark.multiprocess
@pytest.mark.chaos
@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is None,
                    reason="gcsfs is not installed")
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_a_bucket_is_asked_by_the_first_replica(count):
  # Google's storage on loopback; an answer takes 30 ms, as from a region's.
  with gcs_server.bucket(count, latency=0.03) as (store, doors):
    environments = [door.environment() for door in doors]

    def step():
      lines = store.objects.get("run/metrics.jsonl", (b"",))[0].splitlines()
      return json.loads(lines[-1])["step"] if lines else 0

    def start():
      for door in doors:
        door.asked.clear()
      begin, started = step(), time.monotonic()
      processes = job("gs://bucket/run", count, environments)
      wait_for(lambda: step() >= begin + 2, processes)
      seconds = time.monotonic() - started
      counts = [(door.asked.requests.total(), door.asked.bytes_read)
                for door in doors]
      print(f"{count} processes: requests and bytes read by each: {counts}; "
            f"{seconds:.0f} s to the second step")
      return counts, stop(processes)

    first, _ = start()
    steps = len(store.listed("run/checkpoints/", "/")[1])
    size = sum(len(value[0]) for name, value in store.objects.items()
               if "/checkpoints/" in name) // steps
    print(f"{steps} checkpoints of {size:,} bytes")
    again, errors = start()
  assert "restored step" in errors[0]
  # Their config is compared with the run's, and Orbax reads what each step has
  # to say about itself; arrays come from process 0.
  for counts in (first, again):
    assert all(asked < 30 + 15 * steps and read < 10_000
               for asked, read in counts[1:])
  assert size / 2 < again[0][1] < 3 * size


@pytest.mark.slow
@pytest.mark.multiprocess
def test_without_its_coordinator_a_job_ends_and_its_repetition_goes_on(
    tmp_path):
  workdir = tmp_path / "run"
  processes = job(workdir, 2, more=[*LONG, "--heartbeat_seconds=10"])
  wait_for(lambda: logged(workdir, 4), processes)
  processes[0].kill()
  died = time.monotonic()
  assert processes[1].wait(60) not in (0, 2, 3, 42)
  for process in processes:
    process.communicate(timeout=60)
  assert time.monotonic() - died < 60
  processes = job(workdir, 2, more=LONG)
  wait_for(lambda: logged(workdir, 12), processes)
  assert "restored step" in stop(processes)[0]
