"""Failures of the machine and of storage are one line; bugs are not."""

import errno
import types

import pytest

from vit_jax.cli.failures import in_one_line
from vit_jax.errors import CheckpointError, is_no_answer


def raised_in(module, error):
  """Returns an error that code of a module has raised."""
  fake = types.ModuleType(module)
  exec("def ask(error):\n  raise error", fake.__dict__)
  try:
    fake.ask(error)
  except Exception as caught:
    return caught


@pytest.mark.parametrize("module, known", [
    ("gcsfs.core", True), ("google.cloud.storage.blob", True),
    ("aiohttp.client", True), ("google.protobuf.message", False),
    ("gcsfsx", False), ("vit_jax.training.loop", False)])
def test_what_a_buckets_client_raises_is_one_line(module, known):
  error = raised_in(module, RuntimeError("Forbidden:\n no rights"))
  assert in_one_line(error) == (
      "the bucket answered: Forbidden: no rights" if known else None)
  assert is_no_answer(error) == known


@pytest.mark.parametrize("error, message", [
    (OSError(errno.ENOSPC, "No space left", "x.npz"),
     "x.npz: the disk is full; make room and repeat the command"),
    (OSError(errno.EIO, "Input/output error"), "a file: Input/output error"),
    (OSError(errno.EINVAL, "Invalid argument"), None),
    (OSError("without a number"), None),
    (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"),
     "the device is out of memory; use a smaller batch (RESOURCE_EXHAUSTED: "
     "Out of memory)"),
    (ValueError("a bug"), None), (AssertionError(), None)])
def test_disks_and_devices(error, message):
  assert in_one_line(error) == message


@pytest.mark.parametrize("error, no_answer", [
    (ValueError("UNAVAILABLE: the server hung up"), True),
    (ValueError("PERMISSION_DENIED: not yours"), True),
    (ValueError("DATA_LOSS: half a manifest"), False),
    (FileNotFoundError("_METADATA"), False), (PermissionError("x"), True),
    (ConnectionResetError(), True), (CheckpointError("checksum"), False)])
def test_no_answer_is_not_damage(error, no_answer):
  assert is_no_answer(error) == no_answer
  wrapped = CheckpointError("the note cannot be read")
  wrapped.__cause__ = error
  assert is_no_answer(wrapped) == no_answer


def test_what_a_bucket_does_not_have_is_missing():
  assert not is_no_answer(raised_in("gcsfs.core", FileNotFoundError("x")))
