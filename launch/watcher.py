"""The watcher's state machine: poll, and act on the state.

  MISSING -> create; no quota -> back off, finally give up
  WAITING, PROVISIONING, ACTIVE, STOPPING -> poll again
  PREEMPTED -> delete, and create again (without limit)
  FAILED -> delete, wait, and create again (max_failures times)
  the workers' DONE marker -> delete, 0;  their FAILED marker -> delete, 1
"""

import dataclasses
import time

from launch import slices
from launch.gcloud import (
  FatalError,
  LaunchError,
  LostError,
  QuotaError,
  log,
)
from launch.job import Job

_RESTARTING = 20  # Polls that an on-demand machine may take to come back.
_DELETING = 20  # Polls after which a deletion is requested again.
_MAX_ERRORS = 10  # Failed polls in a row before giving up.
_MAX_WAIT = 900.0  # Seconds; the longest back-off.


@dataclasses.dataclass(frozen=True)
class WatchOptions:
  """How to watch.

  Attributes:
    interval: seconds between two polls.
    max_failures: failed requests after which the watcher gives up.
    quota_tries: refusals by the quota after which it gives up.
    quota_wait: seconds to wait after the first refusal; doubled each time.
    log_wait: seconds to wait for the last logs after DONE.
    keep: leave the slices running after a failure, for inspection.
  """

  interval: float = 30.0
  max_failures: int = 5
  quota_tries: int = 6
  quota_wait: float = 60.0
  log_wait: float = 120.0
  keep: bool = False


def hint(job: Job, *, delete: bool = False) -> str:
  """Returns the command that watches the job, or deletes its slices."""
  return f"launch/watch.py {job.folder}" + (" --delete" if delete else "")


@dataclasses.dataclass
class _Watcher:
  """What the watcher remembers between polls."""

  job: Job
  options: WatchOptions
  failures: int = 0  # requests that ended as FAILED
  refusals: int = 0  # by the quota, in a row
  recreated: int = 0
  lost: int = 0  # polls in a row that saw the slices lost
  deleting: int = 0  # polls since a deletion was requested
  last: tuple[str, str] = ("", "")

  def poll(self) -> int | None:
    """Looks once and acts; returns an exit code once the job has ended."""
    markers = slices.markers(self.job)
    if "DONE" in markers:
      return self._finish()
    if "FAILED" in markers:
      return self._give_up()
    try:
      state, detail = slices.state(self.job)
      self._report(state, detail)
      if state == "MISSING":
        self.deleting = 0
        # A slice that has just deleted itself has left a marker.
        if slices.markers(self.job):
          return None
        slices.create(self.job)
      self.refusals = 0
    except QuotaError as error:
      self._back_off(error)
      return None
    self.lost = self.lost + 1 if state == "PREEMPTED" else 0
    if self.deleting:
      self._wait_for_deletion(state)
    elif state == "PREEMPTED":
      self._preempted()
    elif state == "FAILED":
      self._failed(detail)
    return None

  def _report(self, state: str, detail: str) -> None:
    if (state, detail) != self.last:
      log(f"{self.job.name}: {state}" + (f" ({detail})" if detail else ""))
      self.last = (state, detail)

  def _preempted(self) -> None:
    # A Compute Engine machine that is not spot restarts after maintenance.
    restarts = (self.job.backend == "compute-engine"
                and self.job.tier != "spot")
    if restarts and self.lost < _RESTARTING:
      return
    self.recreated += 1
    log(f"taken away: deleting, then requesting again (number "
        f"{self.recreated}); the job resumes from its last checkpoint")
    self._delete()

  def _failed(self, detail: str) -> None:
    self.failures += 1
    if self.failures > self.options.max_failures:
      slices.delete(self.job)
      raise FatalError(f"{self.job.name}: the request failed "
                       f"{self.failures} times, the last time with: {detail}")
    wait = self._wait(self.failures)
    log(f"the request failed ({self.failures} of at most "
        f"{self.options.max_failures}): {detail}; deleting, then requesting "
        f"again in {wait:.0f} s")
    self._delete()
    time.sleep(wait)

  def _back_off(self, error: QuotaError) -> None:
    self.refusals += 1
    job = self.job
    if self.refusals >= self.options.quota_tries:
      slices.delete(job)
      raise FatalError(
          f"no quota after {self.refusals} tries: {error}; ask for more "
          f"(console: IAM & Admin > Quotas; {job.tier} "
          f"{job.slice.generation.name} in {job.zone}), or try another "
          "--zone, --tier or --accelerator") from error
    wait = self._wait(self.refusals)
    log(f"quota: {error}; trying again in {wait:.0f} s "
        f"({self.refusals} of {self.options.quota_tries})")
    time.sleep(wait)

  def _wait(self, count: int) -> float:
    return min(self.options.quota_wait * 2**(count - 1), _MAX_WAIT)

  def _delete(self) -> None:
    slices.delete(self.job, final=False)
    self.deleting = 1

  def _wait_for_deletion(self, state: str) -> None:
    self.deleting += 1
    if state != "STOPPING" and self.deleting > _DELETING:
      log(f"still {state} after {_DELETING} polls: deleting again")
      self._delete()

  def _finish(self) -> int:
    """Waits until every worker has sent its log, then deletes the slices."""
    job = self.job
    log(f"DONE: {job.name} has finished")
    deadline = time.monotonic() + self.options.log_wait
    while (sent := slices.finished_workers(job)) < job.workers:
      if time.monotonic() >= deadline:
        log(f"only {sent} of {job.workers} workers sent their last log")
        break
      time.sleep(self.options.interval)
    slices.delete(job)
    log(f"results, logs and checkpoints: {job.folder}/")
    return 0

  def _give_up(self) -> int:
    job = self.job
    log(f"FAILED: the trainer of {job.name} gave up:\n"
        f"{slices.read_failure(job)}")
    if self.options.keep:
      log("the slices are kept (--keep) and still cost money; to delete them: "
          + hint(job, delete=True))
    else:
      slices.delete(job)
    log(f"logs: {job.folder}/logs/. Fix the cause, then run the same command "
        "again: the job resumes from its last checkpoint")
    return 1


def watch(job: Job, options: WatchOptions) -> int:
  """Polls until the job is done or has failed; returns the exit code.

  Ctrl-C leaves the job running and prints how to watch it again (130).

  Raises:
    LaunchError: waiting does not help: the quota, after some tries; missing
      permissions; an invalid request; too many failed requests or polls.
  """
  watcher = _Watcher(job, options)
  errors = 0
  log(f"watching {job.folder} every {options.interval:.0f} s; Ctrl-C leaves "
      "the job running")
  try:
    while True:
      try:
        code = watcher.poll()
        errors = 0
        if code is not None:
          return code
      except FatalError:
        raise
      except LaunchError as error:
        errors += 1
        if errors >= _MAX_ERRORS:
          raise LostError(f"{errors} polls in a row failed; the job may "
                          f"still be running ({hint(job)}): {error}"
                          ) from error
        log(f"{error}; polling again in {options.interval:.0f} s")
      time.sleep(options.interval)
  except KeyboardInterrupt:
    log(f"{job.name} keeps running, but its slices are not recreated now.\n"
        f"  to watch it again: {hint(job)}\n"
        f"  to delete it:      {hint(job, delete=True)}")
    return 130
