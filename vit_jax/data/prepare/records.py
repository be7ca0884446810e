"""One image to one record, as TFDS stores an example."""

from collections.abc import Callable, Iterator
import itertools
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
# Bytes that each worker reads at a time, in the order of the archive: a shard's
# images are scattered over it, and disks are slow at seeking.
CHUNK_BYTES = 128 << 20


def features(contents: Contents) -> Any:  # noqa: ANN401
  """Returns TFDS's description of an example."""
  import tensorflow_datasets as tfds

  labels = {"label": contents.class_names, **contents.extra_names}
  return tfds.features.FeaturesDict({
      "image": tfds.features.Image(shape=(None, None, contents.channels)),
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
    image = contents.to_image(data)
    if isinstance(image, np.ndarray):
      image = _png(image)
    elif short_side:
      image = shrink(image, short_side)
    example = serializer.get_tf_example(described.encode_example({
        "image": image,
        contents.name_feature: split.names[index].decode(
            "utf-8", "surrogateescape"),
        "label": int(split.labels[index]),
        **{key: int(values[index]) for key, values in split.extra.items()}}))
    # Else the features come in an order that differs from process to process,
    # and so do the bytes of the same data set.
    return example.SerializeToString(deterministic=True)

  return encode


def read_records(
    contents: Contents, split: str, indices: Int[np.ndarray, " n"],
    encode: Callable[[Split, int, bytes], bytes]) -> Iterator[bytes]:
  """Yields the records of some examples, in the order of `indices`.

  Raises:
    DataError: an image is empty, truncated or cannot be decoded.
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
  """Returns an image whose smaller side is at most `short_side` pixels.

  A larger one is turned upright (EXIF), resized by area averaging, and stored
  as JPEG of quality 95 with 4:2:0 chroma. Others are returned unchanged.

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
  """Returns RGB or grey pixels as a PNG file."""
  return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def _chunks(
    indices: Int[np.ndarray, " n"], sizes: Int[np.ndarray, " n"]
) -> Iterator[Int[np.ndarray, " k"]]:
  """Splits into chunks of about CHUNK_BYTES."""
  places = (np.cumsum(sizes) - sizes) // CHUNK_BYTES
  cuts = np.flatnonzero(np.diff(places)) + 1
  yield from np.split(indices, cuts)


def _read(
    paths: tuple[str, ...], rows: Split, chunk: Int[np.ndarray, " k"]
) -> dict[int, bytes]:
  """Reads examples file by file, each file from front to back."""
  contents: dict[int, bytes] = {}
  places = chunk[np.lexsort((rows.offsets[chunk], rows.files[chunk]))]
  for number, in_file in itertools.groupby(
      places.tolist(), lambda index: int(rows.files[index])):
    try:
      with open(paths[number], "rb") as file:
        for index in in_file:
          file.seek(int(rows.offsets[index]))
          contents[index] = file.read(int(rows.sizes[index]))
    except OSError as error:
      raise DataError(
          f"{paths[number]}: cannot be read: {error.strerror}") from error
  return contents


def _where(contents: Contents, rows: Split, index: int) -> str:
  name = rows.names[index].decode("utf-8", "replace")
  return f"{contents.paths[rows.files[index]]}: {name}"
