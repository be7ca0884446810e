"""The dialects of weights files, and which of them a file is in."""

from collections.abc import Collection

from vit_jax.errors import CheckpointError, UsageError, abbreviate, suggest
from vit_jax.weights.names import (
    families,
    google,
    hugging_face,
    open_clip,
    timm,
    torchvision,
)
from vit_jax.weights.names.codec import Codec

# In the order in which they are tried on a file; the first of a container is
# the one that is written to it by default.
CODECS: tuple[Codec, ...] = (
    timm.CODEC,
    hugging_face.CODEC,
    torchvision.CODEC,
    open_clip.CODEC,
    google.RELEASED,
    google.LINEN,
    google.BIG_VISION,
)


def recognise(names: Collection[str], source: str) -> Codec:
  """Returns the dialect that a file's arrays are named in.

  Raises:
    CheckpointError: none of CODECS.
  """
  for codec in CODECS:
    if codec.matches(names):
      return codec
  raise CheckpointError(
      f"{source}: no Vision Transformer that this package knows among its "
      f"{len(names)} arrays ({abbreviate(list(names))}); "
      f"{families.in_words(names, _is_known)}")


def wrapper(names: Collection[str]) -> str:
  """Returns the prefix that a wrapper put before every name, "" for none."""
  return families.wrapper(names, _is_known)


def _is_known(names: Collection[str]) -> bool:
  """Returns whether one of CODECS has these names."""
  return any(codec.matches(names) for codec in CODECS)


def codec_named(name: str, container: str | None = None) -> Codec:
  """Returns a dialect by its name.

  Args:
    name: its name.
    container: "npz" or "safetensors", to choose among the dialects that are
      written to it.

  Raises:
    UsageError: unknown; lists the dialects.
  """
  known = {codec.name: codec for codec in CODECS
           if container in (None, codec.container)}
  if name not in known:
    where = f" for .{container}" if container else ""
    raise UsageError(
        f"dialect {name!r} is unknown{where}{suggest(name, known)}; it is one "
        f"of {', '.join(known)}")
  return known[name]
