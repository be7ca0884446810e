"""Names of classes, read out of the packages that ship them.

No list is copied into this package. TensorFlow Datasets, which is always
installed, has ImageNet-1k and most transfer sets; timm, where installed, has
ImageNet-21k. Nothing is imported: label files are read as text, and lists in
source files as literals, so that neither TensorFlow nor PyTorch gets loaded.
"""

import ast
from collections import Counter
from collections.abc import Sequence
import functools
import importlib.util
import pathlib
import re

_TFDS, _TIMM = "tensorflow_datasets", "timm"
_INFO = "data/_info"
_VALIDATION = "datasets/imagenet2012/validation_labels.txt"
_LEMMAS = f"{_INFO}/imagenet_synset_to_lemma.txt"

# The released heads have two rows more than fall11 has classes: they are in
# WordNet's hierarchy, but ImageNet has no image of them.
EMPTY_ROWS = ("n03931044", "n09859684")

# Data set -> (package, file, "" for one name a line or else the variable that
# holds the list in that source file), in the order of the labels.
_LISTS = {
    "imagenet2012": (_TFDS, "datasets/imagenet2012/labels.txt", ""),
    "imagenet21k": (_TIMM, f"{_INFO}/imagenet21k_goog_synsets.txt", ""),
    "imagenet21k_fall11": (_TIMM, f"{_INFO}/imagenet22k_synsets.txt", ""),
    "imagenette": (_TFDS, "image_classification/imagenette_labels.txt", ""),
    "oxford_iiit_pet": (
        _TFDS, "datasets/oxford_iiit_pet/oxford_iiit_pet_dataset_builder.py",
        "_LABEL_CLASSES"),
    "oxford_flowers102": (
        _TFDS,
        "datasets/oxford_flowers102/oxford_flowers102_dataset_builder.py",
        "_NAMES"),
    "caltech101": (_TFDS, "image_classification/caltech101_labels.txt", ""),
    "dtd": (_TFDS, "image_classification/dtd_key_attributes.txt", ""),
    "eurosat": (_TFDS, "image_classification/eurosat.py", "_LABELS"),
    "food101": (_TFDS, "image_classification/food-101_classes.txt", ""),
    "resisc45": (
        _TFDS, "datasets/resisc45/resisc45_dataset_builder.py", "_LABELS"),
    "sun397": (_TFDS, "image_classification/sun397_labels.txt", ""),
}
_IMAGENET_NAMES = (
    _TFDS, "datasets/siscore/labels.py", "IMAGENET_LABELS_LIST")
_WNID = re.compile(r"n\d{8}")


def class_names(dataset: str, num_classes: int) -> tuple[str, ...] | None:
  """Returns one readable name per label of a data set.

  Args:
    dataset: a name such as "imagenet2012", "imagenet21k" (the 21,843 rows of
      the released heads), "imagenet21k_fall11", "oxford_iiit_pet"; also as
      in "tfds:imagenet2012_256" and "imagenette/320px-v2:1.0.0".
    num_classes: None is returned if the list has another length.

  Returns:
    The names, all distinct; WordNet ids (n01440764) where no installed package
    translates them; None where no package has a list.
  """
  ids = class_ids(dataset)
  if ids is None or len(ids) != num_classes:
    return None
  return readable(ids)


def class_ids(dataset: str) -> tuple[str, ...] | None:
  """Returns one name per label as data sets store it (such as WordNet ids)."""
  stem = re.split("[/:]", dataset.removeprefix("tfds:"))[0]
  for name in (stem, re.sub(r"_\d+$", "", stem)):
    if name in _LISTS:
      return _read_list(*_LISTS[name])
  return None


def readable(names: Sequence[str]) -> tuple[str, ...]:
  """Translates WordNet ids; other names stay as they are.

  An id without a translation stays too. Classes whose names would be equal
  (there are two cranes) get their ids appended.
  """
  if not any(_WNID.fullmatch(name) for name in names):
    return tuple(names)
  lemmas = _lemmas()
  texts = [lemmas.get(name, name) for name in names]
  counts = Counter(texts)
  return tuple(
      text if counts[text] == 1 or text == name else f"{text} ({name})"
      for text, name in zip(texts, names, strict=True))


def validation_ids() -> tuple[str, ...] | None:
  """Returns the WordNet ids of ImageNet-1k's 50,000 validation images."""
  return _read_list(_TFDS, _VALIDATION, "")


def released_rows(ids: Sequence[str]) -> list[int] | None:
  """Returns the row of the released 21,843-class heads for each WordNet id.

  The rows follow the sorted ids of fall11's 21,841 classes and of the two
  in EMPTY_ROWS. All of fall11's classes therefore determine the rows; fewer
  (winter21, an incomplete copy) are looked up in timm's table.

  Returns:
    None if the rows cannot be determined: timm is not installed, or its table
    lacks an id.
  """
  rows = _read_list(*_LISTS["imagenet21k"])
  if rows is None:
    rows = tuple(sorted({*ids, *EMPTY_ROWS}))
    if len(set(ids)) != 21_841 or len(rows) != 21_843:
      return None
  places = {name: row for row, name in enumerate(rows)}
  if not places.keys() >= set(ids):
    return None
  return [places[name] for name in ids]


@functools.cache
def _lemmas() -> dict[str, str]:
  """Returns WordNet id -> words, from all installed packages."""
  path = _path(_TIMM, _LEMMAS)
  lines = path.read_text("utf-8").splitlines() if path else []
  words = dict(line.split("\t", 1) for line in lines if "\t" in line)
  ids = _read_list(*_LISTS["imagenet2012"])
  names = _read_list(*_IMAGENET_NAMES)
  if ids and names and len(ids) == len(names):
    words |= dict(zip(ids, names, strict=True))
  return words


@functools.cache
def _read_list(
    package: str, file: str, variable: str) -> tuple[str, ...] | None:
  """Returns the lines of a text file, or a list out of a source file."""
  path = _path(package, file)
  if path is None:
    return None
  text = path.read_text("utf-8")
  if not variable:
    return tuple(line.strip() for line in text.splitlines() if line.strip())
  for node in ast.parse(text).body:
    if (isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == variable):
      return tuple(ast.literal_eval(node.value))
  return None


def _path(package: str, file: str) -> pathlib.Path | None:
  """Returns a file of an installed package, without importing it."""
  spec = importlib.util.find_spec(package)
  for folder in (spec and spec.submodule_search_locations) or ():
    path = pathlib.Path(folder, file)
    if path.is_file():
      return path
  return None
