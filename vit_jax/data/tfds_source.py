"""Data sets prepared by TFDS, read as raw records without TensorFlow."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

from vit_jax.errors import DataError, UsageError, suggest

Reader = Callable[[int], tuple[bytes, int]]  # example number -> image, label


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A data set on disk: what its feature specification says, and readers."""

  full_name: str  # With config and version.
  sizes: dict[str, int]  # Number of examples of each split.
  class_names: tuple[str, ...] | None
  num_classes: int
  reader: Callable[[str], Reader]


def open_prepared(name: str, data_dir: str = "") -> Prepared:
  """Opens a data set that was prepared in array_record format.

  Only the files are read, never the code that made them, which for most data
  sets would need TensorFlow.

  Args:
    name: NAME, NAME/CONFIG or NAME:VERSION, as TFDS writes them.
    data_dir: TFDS's own default where empty.

  Raises:
    DataError: not prepared, prepared in another format, or without one
      picture and one label in each example.
    UsageError: not a name that TFDS could read.
  """
  builder = _builder(name, data_dir)
  features = builder.info.features
  image_key, label_key = _keys(name, builder.info)
  labels = features[label_key]
  # Unnamed classes get their numbers as names; that says nothing to people.
  named = labels.names and list(labels.names) != [
      str(label) for label in range(labels.num_classes)]
  return Prepared(
      full_name=builder.info.full_name,
      sizes={split: int(info.num_examples)
             for split, info in builder.info.splits.items()},
      class_names=tuple(labels.names) if named else None,
      num_classes=int(labels.num_classes),
      reader=functools.partial(_reader, builder, name, image_key, label_key))


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
        f"tfds:{name}: not prepared in {where}{hint}; prepare it once with "
        f"the extra vit_jax[prepare]: python -m vit_jax prepare {name}"
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
    builder: Any, name: str, image_key: str, label_key: str,  # noqa: ANN401
    split: str) -> Reader:
  """Returns the function that reads one example of a split."""
  import tensorflow_datasets as tfds

  # Masks and other pictures are left encoded too: nobody looks at them.
  decoders = {key: tfds.decode.SkipDecoding()
              for key, feature in builder.info.features.items()
              if isinstance(feature, tfds.features.Image)}
  records = builder.as_data_source(split, decoders=decoders)
  return functools.partial(_read, records, f"tfds:{name} {split}",
                           image_key, label_key)


def _read(
    records: Any, where: str, image_key: str, label_key: str,  # noqa: ANN401
    index: int) -> tuple[bytes, int]:
  try:
    example = records[index]
  except Exception as error:  # The reader's errors have no common type.
    raise DataError(
        f"{where} {index}: cannot be read: {_first_line(error)}") from error
  return example[image_key], int(example[label_key])


def _first_line(error: Exception) -> str:
  lines = str(error).strip().splitlines()
  return lines[0] if lines else type(error).__name__
