"""The 19 tasks of VTAB-1k as data: source, labels, splits.

Zhai et al., "A Large-scale Study of Representation Learning with the Visual
Task Adaptation Benchmark", and its code, google-research/task_adaptation, for
what makes a label and for the 800 + 200 training examples; BiT, appendix F,
for the tasks that cannot be mirrored or cropped.

The data sets are TFDS's own. Some hold no label; it is derived from the other
features of the example.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any

from jaxtyping import UInt8
import numpy as np

from vit_jax.data import decode
from vit_jax.data.sources import tfds
from vit_jax.data.sources.source import Source
from vit_jax.data.sources.tfds import LabelFn, Reader
from vit_jax.errors import DataError, UsageError, suggest

NATURAL, SPECIALIZED, STRUCTURED = GROUPS = (
    "natural", "specialized", "structured")
# 800 examples for training and 200 for choosing hyper-parameters; both, for
# the reported score; and all examples.
SPLITS = ("train800", "val200", "train800val200", "train", "val", "trainval",
          "test")

Features = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Task:
  """One task.

  Attributes:
    group: natural, specialized or structured.
    data: TFDS's name of the data set, with its config.
    classes: number of labels.
    validation: (split, from, to) in percent of the split's examples, rounded
      down; the examples before it in "train" are for training.
    test: split to be scored; "" for the examples after the validation ones.
    label: derives the label; None for the data set's own.
    flip: False where mirroring an image would change its label.
    crop: False where cropping an image would.
    scale: factor of the stored grey levels.
  """

  group: str
  data: str
  classes: int
  validation: tuple[str, int, int] = ("validation", 0, 100)
  test: str = "test"
  label: LabelFn | None = None
  flip: bool = True
  crop: bool = True
  scale: int = 1


def bucket(value: float, thresholds: Sequence[float]) -> int:
  """Returns the last position whose threshold lies below the value."""
  below = np.flatnonzero(np.asarray(thresholds) < value)
  return int(below[-1])


def clevr_count(example: Features) -> int:
  """Returns the number of objects, 3 to 10, counted from 0."""
  return len(example["objects"]["size"]) - 3


def clevr_distance(example: Features) -> int:
  """Returns which of six ranges the distance of the nearest object is in."""
  depth = np.asarray(example["objects"]["pixel_coords"])[:, 2]
  return bucket(depth.min(), (0.0, 8.0, 8.5, 9.0, 9.5, 10.0))


def kitti_distance(example: Features) -> int:
  """Returns which range the nearest car, van or truck is in; 3 for none.

  The ranges, in metres before the camera: up to 8, 8 to 20, beyond.
  """
  objects = example["objects"]
  depth = np.asarray(objects["location"]).reshape(-1, 3)[:, 2]
  vehicles = depth[np.asarray(objects["type"]) < 3]
  return bucket(min([*vehicles, 1000.0]), (-100.0, 8.0, 20.0, 999.0))


def coarse(example: Features, *, feature: str, factor: float) -> int:
  """Returns a class number divided by a factor, rounded down."""
  return int(np.float32(example[feature]) // np.float32(factor))


def _dsprites(feature: str, values: int, **changes: Any) -> Task:
  label = functools.partial(coarse, feature=feature, factor=values / 16)
  return Task(STRUCTURED, "dsprites", 16, ("train", 80, 90), "", label,
              scale=255, **changes)


def _smallnorb(feature: str, classes: int, **changes: Any) -> Task:
  label = functools.partial(coarse, feature=feature, factor=1)
  return Task(STRUCTURED, "smallnorb", classes, ("test", 0, 50), "", label,
              **changes)


# In the order of the paper's Table 9.
TASKS: dict[str, Task] = {
    "caltech101": Task(NATURAL, "caltech101", 102, ("train", 90, 100)),
    "cifar100": Task(NATURAL, "cifar100", 100, ("train", 90, 100)),
    "dtd": Task(NATURAL, "dtd", 47),
    "flowers102": Task(NATURAL, "oxford_flowers102", 102),
    "pets": Task(NATURAL, "oxford_iiit_pet", 37, ("train", 80, 100)),
    "sun397": Task(NATURAL, "sun397/tfds", 397),
    "svhn": Task(NATURAL, "svhn_cropped", 10, ("train", 90, 100)),
    "camelyon": Task(SPECIALIZED, "patch_camelyon", 2),
    "eurosat": Task(SPECIALIZED, "eurosat/rgb", 10, ("train", 60, 80), ""),
    "resisc45": Task(SPECIALIZED, "resisc45", 45, ("train", 60, 80), ""),
    "retinopathy": Task(
        SPECIALIZED, "diabetic_retinopathy_detection/btgraham-300", 5),
    "clevr_count": Task(
        STRUCTURED, "clevr", 8, ("train", 90, 100), "validation", clevr_count,
        crop=False),
    "clevr_distance": Task(
        STRUCTURED, "clevr", 6, ("train", 90, 100), "validation",
        clevr_distance, crop=False),
    "dmlab": Task(STRUCTURED, "dmlab", 6, crop=False),
    "dsprites_location": _dsprites(
        "label_x_position", 32, flip=False, crop=False),
    "dsprites_orientation": _dsprites("label_orientation", 40, flip=False),
    "kitti_distance": Task(
        STRUCTURED, "kitti", 4, label=kitti_distance, crop=False),
    "smallnorb_azimuth": _smallnorb("label_azimuth", 18, flip=False),
    "smallnorb_elevation": _smallnorb("label_elevation", 9),
}


def split_text(task: Task, split: str, sizes: Mapping[str, int]) -> str:
  """Returns one of SPLITS as a text that splits.resolve_split reads.

  Args:
    task: one of TASKS.
    split: one of SPLITS.
    sizes: number of examples of each split of the data set.

  Raises:
    UsageError: another split.
    DataError: the data set lacks the split of the validation examples.
  """
  where, low, high = task.validation
  if where not in sizes:
    raise DataError(f"tfds:{task.data}: no split {where!r}, which VTAB's "
                    f"examples are taken from; there are {', '.join(sizes)}")
  start, stop = (sizes[where] * percent // 100 for percent in (low, high))
  texts = {
      "train": f"train[:{start}]" if where == "train" else "train",
      "val": f"{where}[{start}:{stop}]",
      "test": task.test or f"{where}[{stop}:]",
      "train800": "train[:800]",
      "val200": f"{where}[{start}:{min(start + 200, stop)}]"}
  texts["trainval"] = f"{texts['train']}+{texts['val']}"
  texts["train800val200"] = f"{texts['train800']}+{texts['val200']}"
  if split not in texts:
    raise UsageError(f"split {split!r}: a VTAB task has "
                     f"{', '.join(SPLITS)}{suggest(split, SPLITS)}")
  return texts[split]


def find_task(name: str) -> Task:
  """Returns the task of this name; UsageError lists the names."""
  if name not in TASKS:
    raise UsageError(f"vtab:{name}: no such task{suggest(name, TASKS)}; known: "
                     f"{', '.join(TASKS)}")
  return TASKS[name]


def open_vtab(source: str, split: str, data_dir: str = "") -> Source:
  """Opens a split of a task.

  Args:
    source: "vtab:TASK".
    split: one of SPLITS.
    data_dir: TFDS's own default where empty.

  Raises:
    UsageError: no such task or split.
    DataError: the data set is not prepared.
  """
  name = source.removeprefix("vtab:")
  task = find_task(name)
  data = tfds.open_prepared(
      task.data, data_dir, label=task.label, num_classes=task.classes)
  data = dataclasses.replace(data, full_name=f"{data.full_name} as {name}")
  if task.scale != 1:
    data = dataclasses.replace(data, reader=functools.partial(
        _scaled_reader, data.reader, task.scale))
  return tfds.prepared_source(
      source, split, split_text(task, split, data.sizes), data)


def _scaled_reader(
    reader: Callable[[str], Reader], scale: int, split: str) -> Reader:
  return functools.partial(_scaled, reader(split), scale)


def _scaled(
    read: Reader, scale: int, index: int
) -> tuple[UInt8[np.ndarray, "h w 3"], int, str]:
  """Makes an image visible whose grey levels are stored as 0 and 1."""
  image, label, file = read(index)
  return decode.decode(image) * np.uint8(scale), label, file
