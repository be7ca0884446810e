"""Data sets prepared by TFDS, read as raw records without TensorFlow."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import operator
from typing import Any

from jaxtyping import UInt8
import numpy as np

from vit_jax.errors import DataError, UsageError, suggest

# Example number -> image, label, name of the file it was published as or "".
Reader = Callable[[int], tuple[bytes | UInt8[np.ndarray, "h w c"], int, str]]
# An example as TFDS decodes it, pictures left encoded -> label.
LabelFn = Callable[[Mapping[str, Any]], int]


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A data set on disk: what its feature specification says, and readers."""

  full_name: str  # With config and version.
  sizes: dict[str, int]  # Number of examples of each split.
  class_names: tuple[str, ...] | None
  num_classes: int
  reader: Callable[[str], Reader]


def open_prepared(
    name: str, data_dir: str = "", *, label: LabelFn | None = None,
    num_classes: int = 0) -> Prepared:
  """Opens a data set that was prepared in array_record format.

  Only the files are read, never the code that made them, which for most data
  sets would need TensorFlow.

  Args:
    name: NAME, NAME/CONFIG or NAME:VERSION, as TFDS writes them.
    data_dir: TFDS's own default where empty.
    label: derives the label of "image" from the example's other features,
      for data sets without labels; with num_classes.
    num_classes: of such labels.

  Raises:
    DataError: not prepared, prepared in another format, or without one
      picture and one label in each example.
    UsageError: not a name that TFDS could read.
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
  # Unnamed classes get their numbers as names; that says nothing to people.
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

  where = data_dir or tfds.core.constants.DATA_DIR
  try:
    builder = tfds.core.read_only_builder.builder_from_files(
        name, data_dir=data_dir or None)
  except tfds.core.DatasetNotFoundError as error:
    stem = name.partition("/")[0].partition(":")[0]
    known = tfds.list_builders(with_community_datasets=False)
    hint = "" if stem in known else suggest(stem, known)
    raise DataError(
        f"tfds:{name}: not prepared in {where}{hint}; prepare it once: "
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
  """Returns the names of the picture and of the label in each example."""
  import tensorflow_datasets as tfds

  supervised = info.supervised_keys or ()
  chosen = []
  for what, usual, kind in (
      ("picture", "image", tfds.features.Image),
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

  # Masks and other pictures are left encoded too: nobody looks at them.
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
        f"{where}: its label is made of the feature {error}, but there are "
        f"{', '.join(sorted(example))}") from None
  file = example.get("file_name", b"")
  return example[image_key], number, (
      file.decode() if isinstance(file, bytes) else str(file))


def _first_line(error: Exception) -> str:
  lines = str(error).strip().splitlines()
  return lines[0] if lines else type(error).__name__
