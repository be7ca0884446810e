"""One picture to one record, as TFDS stores an example."""

from collections.abc import Callable, Iterator
from typing import Any

import cv2
from jaxtyping import Int
import numpy as np
import simplejpeg

from vit_jax.data.decode import decode
from vit_jax.data.image_ops import small_side
from vit_jax.data.prepare.contents import Contents, Split
from vit_jax.errors import DataError

QUALITY = 95
# As much is read at a time by each worker, in the order of the archive: a
# shard's pictures come from all over it, and disks dislike going to and fro.
CHUNK_BYTES = 128 << 20


def features(contents: Contents) -> Any:  # noqa: ANN401
  """Returns TFDS's description of an example."""
  import tensorflow_datasets as tfds

  labels = {"label": contents.class_names, **contents.extra_names}
  return tfds.features.FeaturesDict({
      "image": tfds.features.Image(shape=(None, None, 3)),
      contents.name_feature: tfds.features.Text(),
      **{key: tfds.features.ClassLabel(names=list(names))
         for key, names in labels.items()}})


def encoder(
    contents: Contents, short_side: int
) -> Callable[[Split, int, bytes], bytes]:
  """Returns the function from (split, example, bytes in file) to a record."""
  from tensorflow_datasets.core import example_serializer

  described = features(contents)
  serializer = example_serializer.ExampleSerializer(
      described.get_serialized_info())

  def encode(split: Split, index: int, data: bytes) -> bytes:
    picture = contents.picture(data)
    if isinstance(picture, np.ndarray):
      picture = _png(picture)
    elif short_side:
      picture = shrink(picture, short_side)
    return serializer.serialize_example(described.encode_example({
        "image": picture,
        contents.name_feature: split.names[index].decode(
            "utf-8", "surrogateescape"),
        "label": int(split.labels[index]),
        **{key: int(values[index]) for key, values in split.extra.items()}}))

  return encode


def read_records(
    contents: Contents, split: str, indices: Int[np.ndarray, " n"],
    encode: Callable[[Split, int, bytes], bytes]) -> Iterator[bytes]:
  """Yields the records of some examples, in the order of `indices`.

  Raises:
    DataError: a picture is empty, not all there or cannot be decoded.
  """
  rows = contents.splits[split]
  for chunk in _chunks(indices, rows.sizes[indices]):
    data = _read(contents.paths, rows, chunk)
    for index in chunk.tolist():
      content = data.pop(index)
      if not content or len(content) != rows.sizes[index]:
        raise DataError(f"{_where(contents, rows, index)}: has "
                        f"{len(content)} of {rows.sizes[index]} bytes")
      try:
        yield encode(rows, index, content)
      except DataError as error:
        raise DataError(
            f"{_where(contents, rows, index)}: {error}") from error


def shrink(data: bytes, short_side: int) -> bytes:
  """Returns a picture whose smaller side is at most `short_side` pixels.

  A larger one is turned upright (EXIF), averaged over the area of each new
  pixel, which blurs nothing and aliases nothing, and stored as JPEG of
  quality 95 with colours at half resolution. Others stay as they are.

  Raises:
    DataError: it cannot be decoded.
  """
  pixels = decode(data)
  if min(pixels.shape[:2]) <= short_side:
    return data
  height, width = small_side(pixels.shape, short_side)
  small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
  return simplejpeg.encode_jpeg(
      small, quality=QUALITY, colorspace="RGB", colorsubsampling="420",
      fastdct=False)


def _png(pixels: Any) -> bytes:  # noqa: ANN401
  """Returns RGB pixels as a PNG file."""
  return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def _chunks(
    indices: Int[np.ndarray, " n"], sizes: Int[np.ndarray, " n"]
) -> Iterator[Int[np.ndarray, " k"]]:
  """Cuts into runs of about CHUNK_BYTES."""
  places = (np.cumsum(sizes) - sizes) // CHUNK_BYTES
  cuts = np.flatnonzero(np.diff(places)) + 1
  yield from np.split(indices, cuts)


def _read(
    paths: tuple[str, ...], rows: Split, chunk: Int[np.ndarray, " k"]
) -> dict[int, bytes]:
  """Reads examples file by file, from the front to the back of each."""
  found: dict[int, bytes] = {}
  places = chunk[np.lexsort((rows.offsets[chunk], rows.files[chunk]))]
  file, current = None, -1
  try:
    for index in places.tolist():
      if rows.files[index] != current:
        if file:
          file.close()
        current = int(rows.files[index])
        file = open(paths[current], "rb")
      file.seek(int(rows.offsets[index]))
      found[index] = file.read(int(rows.sizes[index]))
  except OSError as error:
    raise DataError(
        f"{paths[current]}: cannot be read: {error.strerror}") from error
  finally:
    if file:
      file.close()
  return found


def _where(contents: Contents, rows: Split, index: int) -> str:
  name = rows.names[index].decode("utf-8", "replace")
  return f"{contents.paths[rows.files[index]]}: {name}"
