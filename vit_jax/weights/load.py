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

from vit_jax.data.class_names import class_names, readable
from vit_jax.data.preprocess import DEFAULT, Preprocess
from vit_jax.errors import UsageError
from vit_jax.models.variants import Network, compute_dtype
from vit_jax.weights import adapt, architecture, read
from vit_jax.weights.adapt import AdaptReport
from vit_jax.weights.formats import detect
from vit_jax.weights.hub import augreg_index, released

_SUFFIXES = (".npz", ".safetensors")
# Details of the computation that no shape of an array shows.
_NUMERICS = ("gelu", "ln_eps", "stem_eps")


@dataclasses.dataclass(frozen=True)
class Loaded:
  """A model with its parameters and all that is known of it.

  Attributes:
    model: `model.apply({"params": params}, images)` returns (logits, aux).
    params: the parameter tree, float32, on the default device.
    preprocess: pictures (paths, bytes, arrays) to float32 (b, h, w, 3) in
      [-1, 1].
    class_names: one name a class, or None where nothing says; WordNet ids
      are translated, see `data.class_names`.
    config: "architecture", "image_size", "preprocess", "dialect", "source",
      "report" (what was changed to fit) and "metadata" (model.json).
  """

  model: Network
  params: dict[str, Any]
  preprocess: Preprocess
  class_names: tuple[str, ...] | None
  config: dict[str, Any]


def load(
    path: str | os.PathLike | read.WeightsFile,
    *,
    image_size: int | Sequence[int] | None = None,
    num_classes: int | None = None,
    head: str = "auto",
    pre_logits: str = "auto",
    method: str = "corner_aligned",
    old_grid: tuple[int, int] | None = None,
    num_heads: int | None = None,
    preprocess: str | None = None,
    dtype: str = "auto",
    attention: str = "auto",
    scan: bool = False,
) -> Loaded:
  """Loads any weights file; the architecture is read off its arrays.

  Args:
    path: an .npz or .safetensors file, a released name or a URL; or what
      `files.read` returned.
    image_size: side, or (height, width), in pixels of the pictures to come;
      None for those that the file was trained on.
    num_classes: None for the file's head, 0 for features, else a head of zeros
      where the number differs.
    head: "auto", "keep" or "reset", see `adapt.adapt`.
    pre_logits: "keep" or "drop" the hidden layer of pre-training; "auto" keeps
      it with the file's own head only.
    method: how position embeddings are resized, see `adapt.resize_posemb`.
    old_grid: (rows, columns) of the file's position embedding, where it is
      not square and no .json says it.
    num_heads: for timm files of unusual width without a description.
    preprocess: evaluation pipeline; None for the one stored with the file,
      else the one published for it, else a plain resize.
    dtype: compute dtype: "auto" (bfloat16 on TPU and GPU), "float32", ...
    attention: implementation of attention, see `models.attention`.
    scan: stacked blocks, compiled once.

  Raises:
    CheckpointError: no such file, another kind of file, a damaged one, or one
      that does not fit; one line.
    UsageError: an unknown name or value.
  """
  if isinstance(path, read.WeightsFile):
    file, row = path, None
  else:
    path, row = find(path)
    file = read.read(path, num_heads=num_heads, old_grid=old_grid)
  network = dict(file.architecture)
  if num_classes is not None:
    network["num_classes"] = num_classes
  keeps_head = (head != "reset" and num_classes != 0
                and network["num_classes"] == file.architecture["num_classes"])
  if "pre_logits" in network and (
      pre_logits == "drop" or (pre_logits == "auto" and not keeps_head)):
    network["pre_logits"] = 0
  model = architecture.build(
      network, dtype=compute_dtype(dtype), attention=attention, scan=scan)
  size = _pair(image_size) or file.image_size
  if size is None:
    raise UsageError(
        f"{file.source}: nothing in it tells the size of its pictures; say "
        "image_size=SIDE, or --image_size=SIDE on the command line")
  tree, report = adapt.adapt(
      file.flat, model, size, head=head, pre_logits=pre_logits, method=method,
      old_grid=file.grid(), source=file.source)
  text = (preprocess or file.metadata.get("preprocess")
          or _published(row, size) or DEFAULT)
  names = file.metadata.get("class_names") or _released_classes(row)
  keeps_names = names and report.head == "kept"
  return Loaded(
      model, jax.device_put(tree), Preprocess(text, size),
      readable(names) if keeps_names else None,
      dict(architecture=network, image_size=size, preprocess=text,
           dialect=file.dialect, source=file.source, report=report,
           metadata=file.metadata))


def init_params(
    path: str | os.PathLike,
    model: Network,
    image_size: int | Sequence[int],
    *,
    head: str = "reset",
    pre_logits: str = "drop",
    method: str = "corner_aligned",
) -> tuple[dict[str, np.ndarray], AdaptReport]:
  """Returns parameters of a file, fitted to a model that is to be trained.

  The arguments are those of `load` and `adapt.adapt`. The tree is of numpy
  arrays, to be put where the training wants them.

  Raises:
    CheckpointError: as `load`; arrays that do not fit are named, all of them.
  """
  path, _ = find(path)
  file = read.read(path, num_heads=getattr(model, "num_heads", None))
  unlike = [
      f"model.{key}={getattr(model, key)!r}, the file's is {value!r}"
      for key, value in file.architecture.items()
      if key in _NUMERICS and value != getattr(model, key, value)]
  if unlike:
    logging.warning("%s: trained with another network: %s; say --config.model."
                    "KEY to begin with its own", file.source,
                    "; ".join(unlike))
  return adapt.adapt(
      file.flat, model, _pair(image_size), head=head, pre_logits=pre_logits,
      method=method, old_grid=file.grid(), source=file.source)


def find(
    path: str | os.PathLike
) -> tuple[pathlib.Path, dict[str, Any] | None]:
  """Returns the local file of a path, URL or released name, and its row.

  Raises:
    CheckpointError: a path that does not exist.
    UsageError: neither a path nor a released name.
  """
  try:
    return released.resolve_checkpoint(path)
  except UsageError:
    if "://" not in os.fspath(path) and os.fspath(path).endswith(_SUFFIXES):
      detect.kind(path)  # says that there is no such file
    raise


def _published(row: dict[str, Any] | None, size: tuple[int, int]) -> str | None:
  """Returns a released file's pipeline, which is for its own resolution."""
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


def _pair(size: int | Sequence[int] | None) -> tuple[int, int] | None:
  """Returns (height, width) of a side or a pair."""
  if size is None:
    return None
  if isinstance(size, int):
    return size, size
  height, width = size
  return int(height), int(width)
