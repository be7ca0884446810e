"""Data sets prepared by TFDS, read as raw records without TensorFlow."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import operator
from typing import Any

from jaxtyping import UInt8
import numpy as np

from vit_jax.data import splits
from vit_jax.data.sources import storage
from vit_jax.data.sources.source import Example, Source
from vit_jax.errors import DataError, UsageError, suggest

# Example number -> image, label, name of the file it was published as or "".
Reader = Callable[[int], tuple[bytes | UInt8[np.ndarray, "h w c"], int, str]]
# An example as TFDS decodes it, images left encoded -> label.
LabelFn = Callable[[Mapping[str, Any]], int]


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A prepared data set on disk: its feature specification, and readers.

  Attributes:
    full_name: with config and version.
    sizes: number of examples of each split.
    class_names: one name per label, None where classes are only numbered.
    num_classes: labels are 0..num_classes - 1.
    reader: split name -> function that reads one of its examples.
  """

  full_name: str
  sizes: dict[str, int]
  class_names: tuple[str, ...] | None
  num_classes: int
  reader: Callable[[str], Reader]


def open_tfds(source: str, split: str, data_dir: str = "") -> Source:
  """Opens a part of a prepared data set.

  TFDS shuffles when it writes, so a slice is a random sample; the papers'
  splits are such slices, and mean the same examples here.

  Args:
    source: "tfds:NAME"; see `open_prepared` for the name.
    split: such as "train[:98%]"; see splits.py.
    data_dir: TFDS's own default where empty.

  Raises:
    UsageError, DataError: see `open_prepared` and `splits.resolve_split`.
  """
  data = open_prepared(source.removeprefix("tfds:"), data_dir)
  return prepared_source(source, split, split, data)


def prepared_source(
    source: str, split: str, parts_text: str, data: Prepared) -> Source:
  """Returns the part of a prepared data set that `parts_text` names.

  Args:
    source: name of the data set, for messages.
    split: name of the part, for messages.
    parts_text: see `splits.resolve_split`.
    data: the data set.
  """
  parts = splits.resolve_split(parts_text, data.sizes)
  # Example i of a split is number first[split] + i of the whole data set.
  starts = np.cumsum([0, *data.sizes.values()])
  first = {name: int(start)
           for name, start in zip(data.sizes, starts, strict=False)}
  readers = {first[name]: (name, data.reader(name))
             for name in dict(parts)}
  return Source(
      name=f"{source}, {split}", class_names=data.class_names,
      num_classes=data.num_classes,
      read=functools.partial(_read_example, source, readers),
      indices=np.concatenate(
          [first[name] + np.array(part, np.int64) for name, part in parts]),
      origin=f"tfds {data.full_name}")


def _read_example(
    source: str, readers: dict[int, tuple[str, Reader]],
    index: int) -> Example:
  start = max(first for first in readers if first <= index)
  split, read = readers[start]
  image, label, file = read(index - start)
  return {"image": image, "label": label,
          "id": f"{source} {split} {index - start}", "file": file}


def open_prepared(
    name: str, data_dir: str = "", *, label: LabelFn | None = None,
    num_classes: int = 0) -> Prepared:
  """Opens a data set that was prepared in array_record format.

  Only the files are read, never the code that wrote them, which for most data
  sets would need TensorFlow.

  Args:
    name: NAME, NAME/CONFIG or NAME:VERSION, as TFDS writes them.
    data_dir: TFDS's own default where empty.
    label: derives the label of "image" from the example's other features,
      for data sets without labels; with num_classes.
    num_classes: of such labels.

  Raises:
    DataError: not prepared, prepared in another format, or its examples do
      not have exactly one image and one label.
    UsageError: not a name that TFDS accepts.
  """
  builder = _builder(name, data_dir)
  features = builder.info.features
  if label:
    return Prepared(
        full_name=builder.info.full_name, sizes=_sizes(builder),
        class_names=None, num_classes=num_classes,
        reader=functools.partial(_reader, builder, name, "image", label))
  image_key, label_key = _keys(name, builder.info)
  labels = features[label_key]
  # TFDS names unnamed classes by their numbers, which tells people nothing.
  named = labels.names and list(labels.names) != [
      str(label) for label in range(labels.num_classes)]
  return Prepared(
      full_name=builder.info.full_name,
      sizes=_sizes(builder),
      class_names=tuple(labels.names) if named else None,
      num_classes=int(labels.num_classes),
      reader=functools.partial(
          _reader, builder, name, image_key, operator.itemgetter(label_key)))


def _sizes(builder: Any) -> dict[str, int]:  # noqa: ANN401
  return {split: int(info.num_examples)
          for split, info in builder.info.splits.items()}


def _builder(name: str, data_dir: str) -> Any:  # noqa: ANN401
  """Returns TFDS's read-only builder for the files on disk."""
  import tensorflow_datasets as tfds  # Slow to import, needed here only.

  folder = data_dir or str(tfds.core.constants.DATA_DIR)
  storage.check_reachable(folder)
  try:
    builder = tfds.core.read_only_builder.builder_from_files(
        name, data_dir=data_dir or None)
  except tfds.core.DatasetNotFoundError as error:
    stem = name.partition("/")[0].partition(":")[0]
    known = tfds.list_builders(with_community_datasets=False)
    hint = "" if stem in known else suggest(stem, known)
    raise DataError(
        f"tfds:{name}: not prepared in {folder}{hint}; prepare it once: "
        f"python -m vit_jax prepare {name} (--help says what it needs)"
    ) from error
  except (ValueError, ImportError) as error:
    raise UsageError(f"tfds:{name}: {_first_line(error)}") from error
  formats = {format.value for format in builder.info.available_file_formats()}
  if "array_record" not in formats:
    raise DataError(
        f"tfds:{name}: prepared as {', '.join(sorted(formats))} in "
        f"{builder.data_dir}; expected array_record, which can be read in any "
        f"order; convert it with: python -m vit_jax prepare {name}")
  return builder


def _keys(name: str, info: Any) -> tuple[str, str]:  # noqa: ANN401
  """Returns the feature names of the image and the label of an example."""
  import tensorflow_datasets as tfds

  supervised = info.supervised_keys or ()
  chosen = []
  for what, usual, kind in (
      ("image", "image", tfds.features.Image),
      ("label", "label", tfds.features.ClassLabel)):
    keys = [key for key, feature in info.features.items()
            if type(feature) is kind]
    preferred = [key for key in keys if key in supervised] or [
        key for key in keys if key == usual] or keys
    if len(preferred) != 1:
      raise DataError(
          f"tfds:{name}: expected one {what} ({kind.__name__}) in each "
          f"example, found {', '.join(sorted(preferred)) or 'none'}; the "
          f"features are {', '.join(sorted(info.features))}")
    chosen.append(preferred[0])
  return chosen[0], chosen[1]


def _reader(
    builder: Any, name: str, image_key: str, label: LabelFn,  # noqa: ANN401
    split: str) -> Reader:
  """Returns the function that reads one example of a split."""
  import tensorflow_datasets as tfds

  # Masks and other images are left encoded too: they are never used.
  decoders = {key: tfds.decode.SkipDecoding()
              for key, feature in builder.info.features.items()
              if isinstance(feature, tfds.features.Image)}
  records = builder.as_data_source(split, decoders=decoders)
  return functools.partial(_read, records, f"tfds:{name} {split}",
                           image_key, label)


def _read(
    records: Any, where: str, image_key: str, label: LabelFn,  # noqa: ANN401
    index: int) -> tuple[bytes, int, str]:
  try:
    example = records[index]
  except Exception as error:  # The reader's errors have no common type.
    raise DataError(
        f"{where} {index}: cannot be read: {_first_line(error)}") from error
  try:
    number = int(label(example))
  except KeyError as error:
    raise DataError(
        f"{where}: the label is derived from feature {error}, but the features "
        f"are {', '.join(sorted(example))}") from None
  file = example.get("file_name", b"")
  return example[image_key], number, (
      file.decode() if isinstance(file, bytes) else str(file))


def _first_line(error: Exception) -> str:
  lines = str(error).strip().splitlines()
  return lines[0] if lines else type(error).__name__
