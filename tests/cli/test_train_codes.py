"""The exit codes of training: what a restart cannot cure, and what it may."""

import errno

import pytest

from vit_jax.cli.train import lasting_failures
from vit_jax.errors import (
    CheckpointError,
    DataError,
    SaveError,
    UnreachableError,
    UsageError,
    UserError,
)
from vit_jax.training.step_log import TrainingDiverged


def code_of(error, cause=None):
  error.__cause__ = cause
  with pytest.raises(UserError) as caught, lasting_failures():
    raise error
  return caught.value.exit_code


@pytest.mark.parametrize("kind,code", [
    (UserError, 3), (DataError, 3), (CheckpointError, 3),
    (TrainingDiverged, 3), (UsageError, 2), (UnreachableError, 1),
    (SaveError, 1)])
def test_codes(kind, code):
  assert code_of(kind("x")) == code
  assert kind.exit_code in (1, 2)  # Of other errors it stays.


def test_a_full_disk_does_not_grow_and_a_bucket_may_answer_again():
  assert code_of(SaveError("x"), OSError(errno.ENOSPC, "full")) == 3
  assert code_of(SaveError("x"), OSError(errno.ECONNRESET, "reset")) == 1
  assert code_of(OSError(errno.ENOSPC, "full", "/x/metrics.jsonl")) == 3
  with pytest.raises(ConnectionResetError), lasting_failures():
    raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_memory_of_the_device_does_not_grow():
  assert code_of(RuntimeError("RESOURCE_EXHAUSTED: of memory")) == 3
  with pytest.raises(RuntimeError), lasting_failures():
    raise RuntimeError("a bug")
