"""Random streams: independent of each other, and the same for ever."""

import jax
import numpy as np
import pytest

from vit_jax.objectives.streams import STREAMS, fold_in_stream
from vit_jax.training.state import stream_key


def bits(key):
  return jax.random.key_data(key).tolist()


def test_every_stream_has_a_key_of_its_own():
  assert len(set(STREAMS.values())) == len(STREAMS)
  keys = [bits(fold_in_stream(jax.random.key(0), name)) for name in STREAMS]
  assert len(np.unique(keys, axis=0)) == len(STREAMS)
  assert len(np.unique(
      [bits(stream_key(0, name, 3)) for name in STREAMS], axis=0)) == len(
          STREAMS)


@pytest.mark.parametrize("name, number", [
    ("init", 0x696E69), ("dropout", 0x6F7264), ("mixup", 0x6D6978),
    ("cutmix", 0x637574), ("corruption", 0x6D7070)])
def test_numbers_never_change(name, number):
  # Or a run that is resumed after an update would end with other bits.
  key = jax.random.key(5)
  expected = jax.random.fold_in(key, number)
  assert bits(fold_in_stream(key, name)) == bits(expected)
  assert bits(stream_key(5, name, 7)) == bits(jax.random.fold_in(expected, 7))


def test_an_unknown_stream_is_an_error():
  # "droppath" once shared the key of "dropout".
  with pytest.raises(ValueError, match="'droppath'; known: init, dropout"):
    stream_key(0, "droppath", 3)
