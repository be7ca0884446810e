"""Our input's pace beside that of others: JPEG files to crops of 224x224.

Contestants take turns over the same files. What counts is the time of the
processor, of all threads together: images a second of one core.
"""

from collections.abc import Sequence
import dataclasses
import functools
import io
import itertools
import statistics
import time

import cv2
from jaxtyping import UInt8
import numpy as np
from PIL import Image
import simplejpeg
from sklearn import datasets

from vit_jax.benchmark.peers import SIZE, Turn, ratio_of, take_turns
from vit_jax.data import decode, image_ops
from vit_jax.data.geometry import InceptionCrop
from vit_jax.data.loader import train_batches
from vit_jax.data.sources.source import Example, Source
from vit_jax.data.transforms import make_transforms
from vit_jax.errors import UsageError, one_line

HEIGHT, WIDTH, QUALITY = 375, 500, 90  # ImageNet's most frequent size
PIPELINE = "inception_crop({size})|flip_lr"
RANDAUGMENT = f"{PIPELINE}|randaugment(2, 15)"
OURS = "vit_jax"
CROP = InceptionCrop(SIZE)  # with the official code's areas and aspects


@dataclasses.dataclass(frozen=True)
class InputPace:
  """One contestant.

  Attributes:
    name: for tables.
    images: of a turn.
    seconds: of the processor, of each turn.
  """

  name: str
  images: int
  seconds: list[float]

  @property
  def pace(self) -> float:
    """Images a second of a core, of the median turn."""
    return self.images / statistics.median(self.seconds)

  def ratio(self, other: "InputPace") -> tuple[float, float, float]:
    """How many times as fast as another it is, see `ratio_of`."""
    return ratio_of(self.seconds, other.seconds)


def make_files(count: int = 64) -> list[bytes]:
  """Returns JPEG files of 500x375 pixels, quality 90, cut from photographs.

  They are the two photographs of scikit-learn, at `count` places.
  """
  rng = np.random.default_rng(0)
  photographs = datasets.load_sample_images().images
  files = []
  for i in range(count):
    photograph = photographs[i % len(photographs)]
    top = rng.integers(photograph.shape[0] - HEIGHT + 1)
    left = rng.integers(photograph.shape[1] - WIDTH + 1)
    files.append(simplejpeg.encode_jpeg(
        np.ascontiguousarray(
            photograph[top:top + HEIGHT, left:left + WIDTH]),
        QUALITY, colorsubsampling="420"))
  return files


def compare_input(files: Sequence[bytes], turns: int) -> list[InputPace]:
  """Compares crops of JPEG files.

  Contestants are this package's training input, with and without RandAugment;
  decoding and resizing alone, by libjpeg-turbo and OpenCV; Pillow's crop and
  resize, which torchvision's transforms call, too; and tf.data, decoding whole
  files as the official code does, and decoding the crop only.

  Args:
    files: see `make_files`.
    turns: of each contestant, after one that is not timed.

  Raises:
    UsageError: TensorFlow is not installed.
  """
  cv2.setNumThreads(0)
  contestants: dict[str, Turn] = {
      OURS: _ours(files, PIPELINE),
      f"{OURS}, RandAugment": _ours(files, RANDAUGMENT),
      "decode and resize alone": lambda: [_bare(data) for data in files],
      "Pillow": _pillow(files),
      "tf.data, as the official code": _tf_data(files, fused=False),
      "tf.data, the crop decoded alone": _tf_data(files, fused=True)}
  times = take_turns(list(contestants.values()), turns, time.process_time)
  return [InputPace(name, len(files), seconds)
          for name, seconds in zip(contestants, times, strict=True)]


def loader_pace(
    files: Sequence[bytes], *, workers: int, threads: int, batches: int = 40,
) -> float:
  """Returns images a second of the clock from the loader of training.

  Args:
    files: the data set.
    workers: processes, 0 for threads of this one.
    threads: of all of them.
    batches: of 64 images, after eight that are not timed.
  """
  source = Source(
      "files", None, 2, functools.partial(_example, tuple(files)),
      np.arange(len(files)), "benchmark")
  stream = train_batches(
      source, preprocess=PIPELINE, image_size=SIZE, batch_size=64, seed=0,
      num_threads=threads, num_workers=workers)
  try:
    for _ in range(8):
      next(stream)
    begin = time.perf_counter()
    count = sum(len(batch["label"])
                for batch in itertools.islice(stream, batches))
    return count / (time.perf_counter() - begin)
  finally:
    stream.close()  # type: ignore[attr-defined]


def _example(files: Sequence[bytes], index: int) -> Example:
  return {"image": files[index], "label": index % 2, "id": str(index),
          "file": ""}


def _ours(files: Sequence[bytes], pipeline: str) -> Turn:
  transforms = make_transforms(pipeline, SIZE)
  rng = np.random.default_rng(0)
  return lambda: [image_ops.to_uint8(transforms(decode.decode(data), rng))
                  for data in files]


def _bare(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
  return cv2.resize(simplejpeg.decode_jpeg(data), (SIZE, SIZE))


def _pillow(files: Sequence[bytes]) -> Turn:
  """Returns our crops, cut, resized and flipped by Pillow."""
  rng = np.random.default_rng(0)

  def one(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    image = Image.open(io.BytesIO(data), formats=("JPEG",)).convert("RGB")
    top, left, height, width = image_ops.sample_crop(
        (image.height, image.width), CROP.area, CROP.aspect, rng)
    image = image.crop((left, top, left + width, top + height)).resize(
        (SIZE, SIZE), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
      image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image)

  return lambda: [one(data) for data in files]


def _tf_data(files: Sequence[bytes], *, fused: bool) -> Turn:
  """Returns the pipeline of the official code, in one thread.

  Args:
    files: the data set.
    fused: only the part of a file that the crop needs is decoded.
  """
  try:
    import tensorflow as tf
  except ImportError as error:
    raise UsageError(
        f"--peers=tf.data needs TensorFlow ({one_line(error)}): pip install "
        "tensorflow-cpu") from None
  tf.config.set_visible_devices([], "GPU")

  def one(data: "tf.Tensor") -> "tf.Tensor":
    shape = tf.io.extract_jpeg_shape(data)
    begin, size, _ = tf.image.sample_distorted_bounding_box(
        shape, tf.zeros([0, 0, 4], tf.float32), area_range=CROP.area,
        aspect_ratio_range=CROP.aspect, min_object_covered=0,
        use_image_if_no_bounding_boxes=True)
    if fused:
      image = tf.io.decode_and_crop_jpeg(
          data, tf.concat([begin[:2], size[:2]], 0), channels=3)
    else:
      image = tf.slice(tf.io.decode_jpeg(data, channels=3), begin, size)
    image = tf.image.resize(image, (SIZE, SIZE))
    return tf.cast(tf.image.random_flip_left_right(image), tf.uint8)

  options = tf.data.Options()
  options.threading.private_threadpool_size = 1
  options.threading.max_intra_op_parallelism = 1
  dataset = tf.data.Dataset.from_tensor_slices(list(files)).map(
      one, num_parallel_calls=1).with_options(options)

  def turn() -> None:
    for _ in dataset.as_numpy_iterator():
      pass

  return turn
