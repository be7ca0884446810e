"""The loader: batches are a function of seed, step and row, and no more."""

from collections import Counter
import dataclasses
import itertools
import logging as std_logging
import threading
import time

import numpy as np
import pytest

from vit_jax.data import loader
from vit_jax.data.loader import eval_batches, train_batches
from vit_jax.data.sources import Source, make_source
from vit_jax.data.transforms import make_transforms
from vit_jax.errors import DataError, UsageError

AUGMENT = "random_crop({size}, pad=2)|flip_lr"


def numbered(count, broken=()):
  """A source whose picture number i is black but for i, in two digits."""
  return Source(
      name="numbered, all", class_names=None, num_classes=count,
      read=Numbered(frozenset(broken)), indices=np.arange(count), origin="n")


@dataclasses.dataclass(frozen=True)
class Numbered:
  broken: frozenset

  def __call__(self, index):
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0], image[..., 1] = divmod(index, 256)
    return {"image": b"" if index in self.broken else image, "label": index,
            "id": f"folder/{index}.jpg"}


def numbers(batch):
  """The examples in a batch, read off the pictures themselves."""
  pixels = batch["image"][:, 0, 0].astype(int)
  return (pixels[:, 0] * 256 + pixels[:, 1]).tolist()


def take(count, source, **options):
  options = {"preprocess": "", "image_size": 4, "batch_size": 8, "seed": 0,
             "num_threads": 2} | options
  batches = train_batches(source, **options)
  try:
    return list(itertools.islice(batches, count))
  finally:
    batches.close()


def evaluate(source, **options):
  options = {"preprocess": "", "image_size": 4, "batch_size": 8,
             "num_threads": 2} | options
  return list(eval_batches(source, **options))


def assert_equal(left, right):
  assert len(left) == len(right) > 0
  for one, other in zip(left, right, strict=True):
    assert one.keys() == other.keys()
    for key in one:
      np.testing.assert_array_equal(one[key], other[key])


def same_images(left, right):
  return all(np.array_equal(one["image"], other["image"])
             for one, other in zip(left, right, strict=True))


@pytest.fixture(scope="module")
def digits():
  return make_source("digits", split="train[:100]")


# Training.


def test_batches_are_what_the_device_wants(digits):
  batch, = take(1, digits, preprocess="resize({size})", image_size=(10, 12))
  assert batch.keys() == {"image", "label"}
  assert batch["image"].shape == (8, 10, 12, 3)
  assert batch["image"].dtype == np.uint8
  assert batch["image"].flags.c_contiguous
  assert batch["label"].shape == (8,)
  assert batch["label"].dtype == np.int32


def test_each_epoch_has_every_example_once_in_a_new_order():
  batches = take(42, numbered(21))  # 42 batches of 8: 16 epochs of 21.
  stream = sum(map(numbers, batches), [])
  assert sum((batch["label"].tolist() for batch in batches), []) == stream
  epochs = [stream[i:i + 21] for i in range(0, len(stream), 21)]
  assert len(epochs) == 16
  for epoch in epochs:
    assert sorted(epoch) == list(range(21))
  assert len(set(map(tuple, epochs))) == 16
  assert list(range(21)) not in epochs


def test_orders_are_well_mixed():
  stream = sum(map(numbers, take(250, numbered(1000))), [])
  first, second = np.array(stream).reshape(2, 1000)
  for order in (first, second):
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1
  assert abs(np.corrcoef(np.argsort(first), np.argsort(second))[0, 1]) < 0.1


def test_seed_decides_order_and_augmentation(digits):
  options = {"preprocess": AUGMENT, "image_size": 8}
  one, again, other = (
      take(3, digits, seed=seed, **options) for seed in (1, 1, 2))
  assert_equal(one, again)
  assert not same_images(one, other)


@pytest.mark.parametrize("processes", [2, 4])
def test_any_number_of_processes_sees_the_same_batches(digits, processes):
  options = {"preprocess": AUGMENT, "image_size": 8, "batch_size": 24}
  whole = take(15, digits, **options)  # 3.6 epochs.
  share = 24 // processes
  parts = [take(15, digits, rows=range(start, start + share), **options)
           for start in range(0, 24, share)]
  joined = [{key: np.concatenate([part[step][key] for part in parts])
             for key in whole[0]} for step in range(15)]
  assert_equal(whole, joined)
  strided = [take(15, digits, rows=range(i, 24, processes), **options)
             for i in range(processes)]
  assert_equal(whole, [
      {key: np.stack([part[step][key] for part in strided], axis=1).reshape(
          whole[0][key].shape) for key in whole[0]} for step in range(15)])
  parts.reverse()  # The comparison can fail.
  assert not same_images(whole, [
      {key: np.concatenate([part[step][key] for part in parts])
       for key in whole[0]} for step in range(15)])


@pytest.mark.parametrize("start_step", [1, 7, 13])
def test_resumes_at_any_step(digits, start_step):
  options = {"preprocess": AUGMENT, "image_size": 8, "rows": range(2, 7)}
  whole = take(20, digits, **options)
  assert_equal(whole[start_step:], take(
      20 - start_step, digits, start_step=start_step, **options))
  assert not same_images(whole[start_step - 1:-1], whole[start_step:])


def test_resuming_far_away_costs_nothing(digits):
  start = time.monotonic()
  take(1, digits, start_step=10**12, batch_size=512, image_size=8)
  assert time.monotonic() - start < 5  # Reading so far would take years.


def test_augmentation_differs_by_epoch_and_example():
  """The same picture is cropped anew each time it comes."""
  source = numbered(1)
  source = dataclasses.replace(source, read=lambda i: {
      "image": np.arange(48, dtype=np.uint8).reshape(4, 4, 3), "label": 0,
      "id": "x"})
  images = np.concatenate([batch["image"] for batch in take(
      8, source, preprocess=AUGMENT)])
  assert len({image.tobytes() for image in images}) > 20


def test_threads_do_not_change_batches(digits):
  options = {"preprocess": "inception_crop({size})|flip_lr", "image_size": 8}
  none, two, many = (take(6, digits, num_threads=threads, **options)
                     for threads in (0, 2, 16))
  assert_equal(none, two)
  assert_equal(none, many)


@pytest.mark.multiprocess
def test_worker_processes_do_not_change_batches(digits):
  options = {"preprocess": AUGMENT, "image_size": 8, "start_step": 3}
  plain = take(7, digits, **options)
  workers = take(7, digits, num_workers=2, **options)
  assert_equal(plain, workers)
  assert type(workers[0]["image"]) is np.ndarray


@pytest.mark.slow
@pytest.mark.multiprocess
def test_errors_of_worker_processes_arrive_as_themselves(digits):
  with pytest.raises(UsageError, match="gives images of 9x9"):
    take(1, digits, preprocess="resize(9)", num_workers=1)
  with pytest.raises(DataError, match="folder/17.jpg: an empty file"):
    take(20, numbered(40, broken=[17]), num_workers=1)


def test_floats_are_rounded_to_the_nearest(digits):
  source = numbered(3)
  values = np.array([[0, 1], [254, 255]], np.uint8)[..., None].repeat(3, -1)
  source = dataclasses.replace(source, read=lambda i: {
      "image": values, "label": 0, "id": "x"})
  train, = take(1, source, preprocess="resize({size})")
  scored, = evaluate(source, preprocess="resize({size})")
  exact = make_transforms("resize({size})", (4, 4))(
      values, np.random.default_rng(0))
  for image in (train["image"][0], scored["image"][0]):
    np.testing.assert_array_equal(image, np.rint(exact))
    assert (np.floor(exact) != image).any()


def test_wrong_arguments_are_refused(digits):
  with pytest.raises(UsageError, match="gives images of 8x8, image_size is"):
    take(1, digits, image_size=9)
  for rows in (range(4, 9), (), (3, 2), (1, 1), (-1, 0)):
    with pytest.raises(UsageError, match=r"rows \[.*\] of a batch of 8"):
      take(1, digits, rows=rows)
  with pytest.raises(UsageError, match="batch of 0"):
    evaluate(digits, batch_size=0)
  with pytest.raises(UsageError, match="seed=-1: expected"):
    take(1, digits, seed=-1)
  with pytest.raises(UsageError, match="max_broken=-1: expected"):
    evaluate(digits, max_broken=-1)
  with pytest.raises(UsageError, match="no transform 'nothing'"):
    take(1, digits, preprocess="nothing(3)")


# Broken files.


def test_broken_file_stops_training_by_name():
  with pytest.raises(DataError) as error:
    take(20, numbered(40, broken=[17]))
  assert str(error.value) == (
      "folder/17.jpg: an empty file, not a picture (broken file number 1; "
      "max_broken allows 0)")


def test_broken_file_stops_at_a_definite_step():
  """Not when a thread happens to meet it."""
  order = sum(map(numbers, take(20, numbered(40))), [])
  step = order.index(17) // 8
  batches = train_batches(
      numbered(40, broken=[17]), preprocess="", image_size=4, batch_size=8,
      seed=0)
  for _ in range(step):
    next(batches)
  with pytest.raises(DataError):
    next(batches)


def test_broken_files_are_replaced_named_and_counted(caplog):
  caplog.set_level(std_logging.WARNING, logger="absl")
  sound = sum(map(numbers, take(30, numbered(40))), [])
  for threads in (2, 0):
    found = sum(map(numbers, take(30, numbered(40, broken=[3, 17]),
                                  max_broken=2, num_threads=threads)), [])
    differ = [(was, now) for was, now in zip(sound, found, strict=True)
              if was != now]
    assert Counter(was for was, _ in differ) == {3: 6, 17: 6}  # 6 epochs.
    assert not {now for _, now in differ} & {3, 17}
    # Not always by the same one.
    assert len({now for _, now in differ}) > 4
  messages = [record.getMessage() for record in caplog.records
              if "broken" in record.getMessage()]
  assert len(messages) == 4  # Twice two: each is said once a run.
  assert "1 of at most 2" in messages[0]
  assert "folder/17.jpg: an empty file" in " ".join(messages[:2])


def test_broken_files_are_replaced_alike_by_any_process():
  options = {"max_broken": 9, "preprocess": "flip_lr"}
  source = numbered(40, broken=range(0, 40, 5))
  whole = take(30, source, **options)
  assert_equal(whole[9:], take(21, source, start_step=9, **options))
  half = take(30, source, rows=range(4, 8), **options)
  assert_equal([{key: batch[key][4:] for key in batch} for batch in whole],
               half)


def test_too_many_broken_files():
  source = numbered(40, broken=[3, 17, 20])
  with pytest.raises(DataError, match="broken file number 3; max_broken allo"):
    take(30, source, max_broken=2)
  with pytest.raises(DataError, match="8 broken files in a row"):
    take(1, numbered(8, broken=range(8)), max_broken=100)


def test_unreadable_file_and_small_picture_count_as_broken(tmp_path):
  (tmp_path / "train/a").mkdir(parents=True)
  for name in ("1.png", "2.png"):
    import cv2

    cv2.imwrite(str(tmp_path / "train/a" / name), np.zeros((3, 3, 3)))
  source = make_source(str(tmp_path), split="train")
  with pytest.raises(DataError, match=r"a/\d.png: a picture of 3x3 pixels"):
    take(1, source, preprocess="random_crop(4)")
  (tmp_path / "train/a/2.png").unlink()
  with pytest.raises(DataError, match=r"a/2.png: cannot be read: No such"):
    take(2, source, image_size=3)


# Evaluation.


@pytest.mark.parametrize("count", [1, 7, 8, 9, 37])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_every_example_exactly_once(count, processes):
  share = 8 // processes
  parts = [evaluate(numbered(count), rows=range(start, start + share))
           for start in range(0, 8, share)]
  assert {len(part) for part in parts} == {-(-count // 8)}
  seen = []
  for batch in itertools.chain(*parts):
    assert batch["image"].shape == (share, 4, 4, 3)
    real = batch["mask"] == 1
    assert (batch["mask"][~real] == 0).all()
    assert (batch["index"][~real] == -1).all()
    assert (batch["image"][~real] == 0).all()
    np.testing.assert_array_equal(batch["index"][real], batch["label"][real])
    assert np.array(numbers(batch))[real].tolist() == (
        batch["label"][real].tolist())
    seen += batch["index"][real].tolist()
  assert sorted(seen) == list(range(count))


def test_evaluation_types_and_order(digits):
  batches = evaluate(digits, preprocess="resize({size})", image_size=(6, 9))
  first = batches[0]
  assert {key: value.dtype for key, value in first.items()} == {
      "image": np.uint8, "label": np.int32, "mask": np.float32,
      "index": np.int32}
  assert first["image"].shape == (8, 6, 9, 3)
  assert 0 <= first["image"].min() < 1 < first["image"].max() <= 255
  order = np.concatenate([batch["index"] for batch in batches])
  assert order.tolist() == [*range(100), -1, -1, -1, -1]


def test_evaluation_masks_broken_files_out(caplog):
  caplog.set_level(std_logging.WARNING, logger="absl")
  batches = evaluate(numbered(20, broken=[3, 11]), max_broken=2)
  mask = np.concatenate([batch["mask"] for batch in batches])
  assert np.flatnonzero(mask == 0).tolist() == [3, 11, 20, 21, 22, 23]
  index = np.concatenate([batch["index"] for batch in batches])
  assert index[3] == 3
  assert "folder/3.jpg" in caplog.text
  assert "2 of at most 2" in caplog.text
  with pytest.raises(DataError, match=r"folder/11.jpg.*broken file number 2"):
    evaluate(numbered(20, broken=[3, 11]), max_broken=1)


def test_evaluation_does_not_draw_at_random(digits):
  with pytest.raises(UsageError, match="draws at random"):
    evaluate(digits, preprocess="inception_crop({size})")


# Threads.


def test_no_threads_are_left_over(digits):
  before = set(threading.enumerate())
  take(2, digits, preprocess="resize(4)", num_threads=16)
  evaluate(digits, preprocess="resize(4)")
  deadline = time.monotonic() + 10
  while set(threading.enumerate()) - before and time.monotonic() < deadline:
    time.sleep(0.01)
  assert not set(threading.enumerate()) - before


def test_prefetch_is_part_of_the_loader():
  assert loader.prefetch.__name__ == "prefetch"
