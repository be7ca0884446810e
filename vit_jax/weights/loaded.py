"""A model that runs, as `vit_jax.load` returns it: predict, features, save."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import operator
import os
from typing import Any, NamedTuple

from absl import logging
import jax
from jaxtyping import Float
import numpy as np

from vit_jax.data.class_names import readable
from vit_jax.data.pictures import list_pictures
from vit_jax.data.preprocess import Preprocess
from vit_jax.errors import DataError, UsageError, UserError
from vit_jax.models.batches import in_batches
from vit_jax.models.features import features
from vit_jax.models.network import Network
from vit_jax.weights import convert

BATCH_SIZE = 8
_SHOWN_CLASSES = 3
_WIDTH = 80  # of repr, in characters


class Prediction(NamedTuple):
  """A class and how probable it is, 0 to 1."""

  name: str
  probability: float


@dataclasses.dataclass(frozen=True, repr=False)
class Loaded:
  """A model with its parameters and everything that is known about it.

  Attributes:
    model: `model.apply({"params": params}, images)` returns (logits, aux).
    params: the parameter tree, float32, on the default device.
    preprocess: images (paths, bytes, arrays) to float32 (b, h, w, 3) in
      [-1, 1].
    class_names: one name for each class, None where they are not known;
      WordNet ids are translated, see `data.class_names`.
    config: "architecture", "image_size", "preprocess", "loss" (of the
      training, "softmax" or "sigmoid"), "dialect", "source", "report" (what
      was changed to fit) and "metadata" (model.json).
  """

  model: Network
  params: dict[str, Any]
  preprocess: Preprocess
  class_names: tuple[str, ...] | None
  config: dict[str, Any]

  def predict(
      self, pictures: Any, top_k: int = 5, *, batch_size: int = BATCH_SIZE,
      progress: bool | None = None, flip: bool = False,
  ) -> list[list[Prediction]]:
    """Returns the most probable classes of each picture, best first.

    The probabilities of a model that was trained with a sigmoid for each class
    do not sum to 1.

    Args:
      pictures: one or many; see `vit_jax.data.pictures.list_pictures`.
      top_k: classes of each; all of them where there are fewer.
      batch_size: pictures at a time.
      progress: whether to show a bar; None: if there are several batches, on
        a terminal and in a notebook.
      flip: average the logits of each picture and of its mirror image.

    Raises:
      DataError: there is no picture, or one cannot be read.
      UsageError: the model has no head, or a number is out of range.
    """
    top_k = whole_number("top_k", top_k)
    self.check_has_choice()
    if not self.model.num_classes:
      raise UsageError(
          f"{self.config['source']}: without a head, a model has no classes; "
          "use vit.features(pictures), or fine-tune it (--config.init.path)")
    if self.config["report"].head_is_zero:
      logging.warning(
          "%s: the head is all zeros: every class has the same probability, "
          "and predictions mean nothing before fine-tuning",
          self.config["source"])
    return [
        [Prediction(self.class_name(label), float(row[label]))
         for label in top_classes(row, top_k)]
        for row in self._all(
            pictures, "probabilities", batch_size, progress, flip)]

  def check_has_choice(self) -> None:
    """Raises UsageError where there is one class, which is always "chosen"."""
    if self.model.num_classes == 1 and self.config["loss"] != "sigmoid":
      raise UsageError(
          f"{self.config['source']} has 1 output, but no classes to choose "
          'from; for the probability of that one, write "loss": "sigmoid" into '
          "the .json beside the file")

  def features(
      self, pictures: Any, at: str = "pooled", *,
      batch_size: int = BATCH_SIZE, progress: bool | None = None,
  ) -> Float[np.ndarray, "n ..."]:
    """Returns what the model computes of each picture at a place.

    Args:
      pictures: one or many; see `vit_jax.data.pictures.list_pictures`.
      at: "pooled", the input of the head (n, d); "cls", the class token after
        the last block (n, d); "patches", the patches there (n, rows, columns,
        d); "probabilities" (n, classes); or an entry of the model's `aux`,
        such as "block3" or "attention3".
      batch_size: pictures at a time.
      progress: whether to show a bar, see `predict`.

    Returns:
      float32, one row for each picture.

    Raises:
      DataError: there is no picture, or one cannot be read.
      UsageError: the model has nothing of that name.
    """
    return np.stack(list(self._all(pictures, at, batch_size, progress)))

  def rows(
      self, items: Sequence[Any], at: str,
      read: Callable[[Any], Float[np.ndarray, "h w 3"]] | None = None, *,
      batch_size: int = BATCH_SIZE, progress: bool | None = None,
      flip: bool = False,
  ) -> Iterator[tuple[Any, np.ndarray | DataError]]:
    """Yields each item with its features, or the error of a broken picture.

    Args:
      items: what `read` takes.
      at: see `features`.
      read: returns a picture as the model sees it; None: the items are what
        `vit_jax.data.pictures.list_pictures` returns.
      batch_size, progress, flip: see `predict`.

    Raises:
      UsageError: the model has nothing of that name, or a wrong batch size.
    """
    if not isinstance(at, str):
      raise UsageError(f"at={at!r}; expected one name, such as 'pooled'")
    function = functools.partial(
        features, self.model, self.params, at=at, loss=self.config["loss"],
        flip=bool(flip))
    return in_batches(
        function, items, read or self.preprocess.one,
        batch_size=whole_number("batch_size", batch_size), progress=progress)

  def _all(
      self, pictures: Any, at: str, batch_size: int, progress: bool | None,
      flip: bool = False,
  ) -> Iterator[np.ndarray]:
    """Yields the features of every picture; raises the first DataError."""
    items = list_pictures(pictures)
    if not items:
      raise DataError("there are no pictures: the list is empty; give one or "
                      "more")
    for _, row in self.rows(
        items, at, batch_size=batch_size, progress=progress, flip=flip):
      if isinstance(row, DataError):
        raise row
      yield row

  def class_name(self, label: int) -> str:
    """Returns a class's name, or "class 123" where it has none."""
    return self.class_names[label] if self.class_names else f"class {label}"

  def save(self, path: str | os.PathLike, dialect: str | None = None) -> None:
    """Writes the model to a file that `vit_jax.load` reads.

    The description is written beside it, for model.npz into model.json.

    Args:
      path: .npz or .safetensors; the suffix decides what is written.
      dialect: names of the arrays, as `python -m vit_jax convert` takes them;
        None keeps those of the file it came from where possible.

    Raises:
      UserError: an unknown suffix or dialect, or a file that cannot be
        written.
    """
    dialect = convert.choose_dialect(
        path, dialect, self.config["dialect"].split()[0])
    try:
      convert.write_weights(path, self.params, self._description(), dialect)
    except OSError as error:
      raise UserError(
          f"{os.fspath(path)}: cannot be written ({error.strerror or error}); "
          "give the path of a file") from None

  def _description(self) -> dict[str, Any]:
    """Returns what model.json says of the model as it is now."""
    described = dict(self.config["metadata"])
    if self.config["report"].messages:  # Another head or resolution.
      described = {key: value for key, value in described.items()
                   if key not in ("scores", "step")}
    names = described.get("class_names")
    if not names or readable(names) != self.class_names:
      names = self.class_names
    return described | {
        "variant": self.model.variant_name,
        "architecture": self.model.architecture(),
        "image_size": list(self.preprocess.image_size),
        "preprocess": self.preprocess.text, "value_range": [-1, 1],
        "class_names": list(names) if names else None,
        "loss": self.config["loss"]}

  def __repr__(self) -> str:
    """Returns a few lines for people."""
    size, config = self.preprocess.image_size, self.config
    count = sum(x.size for x in jax.tree.leaves(self.params))
    rows, cols = self.model.grid(size)
    # Of a long path the end tells most.
    source, dialect = str(config["source"]), config["dialect"]
    room = _WIDTH - len(dialect) - 20
    source = source if len(source) <= room else f"...{source[3 - room:]}"
    lines = [
        f"{self.model.variant_name}, {count:,} parameters",
        f"image size  {size[0]}x{size[1]}, {rows}x{cols} "
        f"{self.model.grid_unit}",
        f"preprocess  {self.preprocess.text}",
        f"classes     {self._classes()}",
        f"from        {source} ({dialect})"]
    if messages := config["report"].messages:
      lines.append(f"changed     {'; '.join(messages)}")
    return "\n  ".join(
        line if len(line) <= _WIDTH - 2 else f"{line[:_WIDTH - 5]}..."
        for line in lines)

  def _classes(self) -> str:
    """Returns the number of classes and the first names."""
    count = self.model.num_classes
    if not count:
      return "none: no head, features only"
    if not self.class_names:
      return f"{count:,}, names unknown"
    more = ", ..." if count > _SHOWN_CLASSES else ""
    return f"{count:,}: {', '.join(self.class_names[:_SHOWN_CLASSES])}{more}"


def top_classes(row: Float[np.ndarray, " k"], top_k: int) -> list[int]:
  """Returns the labels of the largest numbers, the largest first."""
  return np.argsort(-row, kind="stable")[:top_k].tolist()


def whole_number(name: str, value: Any, least: int = 1) -> int:
  """Returns an argument that is a whole number, of Python or NumPy.

  Raises:
    UsageError: it is something else, or less than `least`.
  """
  try:  # True is 1 to Python, but no number to people.
    number = least - 1 if isinstance(value, bool) else operator.index(value)
  except TypeError:
    number = least - 1
  if number < least:
    raise UsageError(
        f"{name}={value!r}; expected a whole number from {least}")
  return number
