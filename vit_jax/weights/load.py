"""From a file to a model that runs: `vit_jax.load`, and the start of training.

    vit = vit_jax.load("model.npz")
    logits, aux = vit.model.apply(
        {"params": vit.params}, vit.preprocess(["cat.jpg"]))
"""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
from typing import Any

from absl import logging
import jax
import numpy as np

from vit_jax.config.schema import InitConfig, ModelConfig
from vit_jax.data.class_names import class_names, readable
from vit_jax.data.preprocess import DEFAULT, Preprocess
from vit_jax.errors import UsageError
from vit_jax.models.network import Network
from vit_jax.models.posemb import WITHOUT_ARRAYS
from vit_jax.models.variants import compute_dtype
from vit_jax.weights import architecture
from vit_jax.weights.adapt import AdaptReport, adapt
from vit_jax.weights.formats.detect import detect_format
from vit_jax.weights.hub import augreg_index, released
from vit_jax.weights.read import WeightsFile, read_weights

_SUFFIXES = (".npz", ".safetensors")


@dataclasses.dataclass(frozen=True)
class Loaded:
  """A model with its parameters and everything that is known about it.

  Attributes:
    model: `model.apply({"params": params}, images)` returns (logits, aux).
    params: the parameter tree, float32, on the default device.
    preprocess: images (paths, bytes, arrays) to float32 (b, h, w, 3) in
      [-1, 1].
    class_names: one name for each class, None where they are not known;
      WordNet ids are translated, see `data.class_names`.
    config: "architecture", "image_size", "preprocess", "dialect", "source",
      "report" (what was changed to fit) and "metadata" (model.json).
  """

  model: Network
  params: dict[str, Any]
  preprocess: Preprocess
  class_names: tuple[str, ...] | None
  config: dict[str, Any]


def load(
    path: str | os.PathLike | WeightsFile,
    *,
    image_size: int | Sequence[int] | None = None,
    num_classes: int | None = None,
    head: str = "auto",
    pre_logits: str = "auto",
    method: str = InitConfig.method,
    old_grid: tuple[int, int] | None = None,
    num_heads: int | None = None,
    posemb: str | None = None,
    preprocess: str | None = None,
    dtype: str = ModelConfig.dtype,
    attention: str = ModelConfig.attention,
    scan: bool = ModelConfig.scan,
) -> Loaded:
  """Loads any weights file; the architecture is read off its arrays.

  Args:
    path: a file, a released name, a URL, or what `read_weights` returned.
    image_size: side, or (height, width), in pixels of the images that the
      model will see; None for the size that the file was trained on.
    num_classes: None for the file's head, 0 for features, else a head of zeros
      where the number differs.
    head: "auto", "keep" or "reset", see `adapt.adapt`.
    pre_logits: "keep" or "drop" the hidden layer of pre-training; "auto" keeps
      it with the file's own head only.
    method: how position embeddings are resized, see `resize_posemb`.
    old_grid: (rows, columns) of the file's position embedding, where it is
      not square and no .json has the size.
    num_heads: for files of unusual width without a description.
    posemb: "none", "sincos2d" or "rope2d", for files without a description
      whose position embedding has no arrays.
    preprocess: evaluation pipeline; None for the one stored with the file,
      else the one published for it, else a plain resize.
    dtype: compute dtype: "auto" (bfloat16 on TPU and GPU), "float32", ...
    attention: implementation of attention, see `models.attention`.
    scan: stacked blocks, compiled once.

  Raises:
    CheckpointError: the file is missing, damaged, of another kind, or misfits.
    UsageError: an unknown name or value.
  """
  file, row = _open(path, num_heads, old_grid, posemb)
  network = _adapted_architecture(file, num_classes, head, pre_logits)
  model = architecture.build_network(
      network, dtype=compute_dtype(dtype), attention=attention, scan=scan)
  size = _image_size(file, image_size)
  tree, report = adapt(
      file.flat, model, size, head=head, pre_logits=pre_logits, method=method,
      old_grid=file.grid(), source=file.source)
  text = (preprocess or file.metadata.get("preprocess")
          or _published(row, size) or DEFAULT)
  names = file.metadata.get("class_names") or _released_classes(row)
  return Loaded(
      model, jax.device_put(tree), Preprocess(text, size),
      readable(names) if names and report.head == "kept" else None,
      dict(architecture=network, image_size=size, preprocess=text,
           dialect=file.dialect, source=file.source, report=report,
           metadata=file.metadata))


def _open(
    path: str | os.PathLike | WeightsFile, num_heads: int | None,
    old_grid: tuple[int, int] | None, posemb: str | None,
) -> tuple[WeightsFile, dict[str, Any] | None]:
  """Returns the file, and its row of the released table if it has one."""
  if isinstance(path, WeightsFile):
    return path, None
  local, row = find_weights(path)
  return read_weights(local, num_heads=num_heads, old_grid=old_grid,
                      posemb=posemb), row


def _image_size(
    file: WeightsFile, image_size: int | Sequence[int] | None
) -> tuple[int, int]:
  """Returns (height, width): what is asked for, or else the file's."""
  size = file.image_size if image_size is None else _size_pair(image_size)
  if size is None:
    raise UsageError(
        f"{file.source}: nothing in it shows the size of its images; pass "
        "image_size=SIDE, or --image_size=SIDE on the command line")
  return size


def _adapted_architecture(
    file: WeightsFile, num_classes: int | None, head: str, pre_logits: str
) -> dict[str, Any]:
  """Returns the network's arguments with the head that is asked for."""
  network = dict(file.architecture)
  if num_classes is not None:
    network["num_classes"] = num_classes
  keeps_head = (head != "reset" and num_classes != 0
                and network["num_classes"] == file.architecture["num_classes"])
  if "pre_logits" in network and (
      pre_logits == "drop" or (pre_logits == "auto" and not keeps_head)):
    network["pre_logits"] = 0
  return network


def init_params(
    path: str | os.PathLike,
    model: Network,
    image_size: int | Sequence[int],
    *,
    head: str = InitConfig.head,
    pre_logits: str = InitConfig.pre_logits,
    method: str = InitConfig.method,
) -> tuple[dict[str, np.ndarray], AdaptReport]:
  """Returns the parameters of a file, fitted to a model to be trained.

  The arguments are those of `load` and `adapt`. The tree is of numpy arrays, to
  be placed where the training needs them.

  Raises:
    CheckpointError: as `load`; arrays that do not fit are named, all of them.
  """
  path, _ = find_weights(path)
  own = getattr(model, "posemb", None)
  file = read_weights(
      path, num_heads=getattr(model, "num_heads", None),
      posemb=own if own in WITHOUT_ARRAYS else "none")
  differences = [
      f"model.{key}={getattr(model, key)!r}, the file's is {value!r}"
      for key, value in file.architecture.items()
      if (key in architecture.NUMERICS
          or (key == "posemb" and value in WITHOUT_ARRAYS))
      and value != getattr(model, key, value)]
  if differences:
    logging.warning("%s: trained with another network: %s; set --config.model."
                    "KEY to begin with its own", file.source,
                    "; ".join(differences))
  return adapt(
      file.flat, model, _size_pair(image_size), head=head,
      pre_logits=pre_logits, method=method, old_grid=file.grid(),
      source=file.source)


def find_weights(
    path: str | os.PathLike
) -> tuple[pathlib.Path, dict[str, Any] | None]:
  """Returns the local file of a path, URL or released name, and its row.

  The row is that of `hub.released`, None for other files.

  Raises:
    CheckpointError: a path that does not exist.
    UsageError: neither a path nor a released name.
  """
  try:
    return released.resolve_checkpoint(path)
  except UsageError:
    if "://" not in os.fspath(path) and os.fspath(path).endswith(_SUFFIXES):
      detect_format(path)  # raises: no such file
    raise


def _published(row: dict[str, Any] | None, size: tuple[int, int]) -> str | None:
  """Returns a released file's pipeline, published for one resolution."""
  if row and size == (row["resolution"], row["resolution"]):
    return row["preprocess"]
  return None


def _released_classes(row: dict[str, Any] | None) -> tuple[str, ...] | None:
  """Returns the names of a released file's classes, if a package has them."""
  if row is None:
    return None
  settings = augreg_index.parse_filename(row["file"]) or {}
  dataset = settings.get("adapt_ds") or {
      1000: "imagenet2012", 21_843: "imagenet21k"}.get(row["classes"])
  return class_names(dataset, row["classes"]) if dataset else None


def _size_pair(size: int | Sequence[int]) -> tuple[int, int]:
  """Returns (height, width) of a side or a pair."""
  if isinstance(size, int):
    return size, size
  height, width = size
  return int(height), int(width)
