"""Random streams of a run: no two of them see the same random numbers.

A stream's key is that of the run (or of a step) with the stream's number folded
in. The numbers must be distinct, and must never change: a run that is resumed
by a newer version ends with the same bits.
"""

import jax

STREAMS = {
    "init": 0x696E69,
    "dropout": 0x6F7264,  # also stochastic depth
    "mixup": 0x6D6978,
    "cutmix": 0x637574,  # also the choice between mixup and cutmix
    "corruption": 0x6D7070,  # of masked patch prediction
}


def fold_in_stream(key: jax.Array, stream: str) -> jax.Array:
  """Returns the key of a stream.

  Args:
    key: of the run or of a step, shared by all streams.
    stream: a name in STREAMS.

  Raises:
    ValueError: there is no such stream (it is missing in this file).
  """
  if stream not in STREAMS:
    raise ValueError(
        f"no random stream is called {stream!r}; known: {', '.join(STREAMS)}; "
        "add it to vit_jax.objectives.streams.STREAMS with a number of its own")
  return jax.random.fold_in(key, STREAMS[stream])
