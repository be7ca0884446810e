"""From a file to a model that runs: `vit_jax.load`, and the start of training.

    vit = vit_jax.load("model.npz")
    vit.predict(["cat.jpg"])
"""

from collections.abc import Sequence
import os
import pathlib
from typing import Any

from absl import logging
from etils import epath
import jax
import numpy as np

from vit_jax.config.sections import InitConfig, ModelConfig
from vit_jax.data.preprocess import Preprocess
from vit_jax.errors import CheckpointError, UsageError
from vit_jax.models.network import Network
from vit_jax.models.posemb import WITHOUT_ARRAYS
from vit_jax.models.variants import compute_dtype
from vit_jax.paths import absolute, in_bucket
from vit_jax.weights import architecture, described
from vit_jax.weights.adapt import AdaptReport, adapt, refuse_other_parts
from vit_jax.weights.follow import refuse_other_sizes
from vit_jax.weights.formats.detect import detect_format
from vit_jax.weights.hub import released
from vit_jax.weights.loaded import Loaded, whole_number
from vit_jax.weights.read import WeightsFile, read_weights

RESULT = "model.npz"
_SUFFIXES = (".npz", ".safetensors")
IN_FOLDERS = ("model.safetensors", "model.safetensors.index.json",
              "open_clip_model.safetensors")


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
    path: a file, the --workdir of a run, a released name, hf:OWNER/MODEL,
      timm:NAME, a URL, or what `read_weights` returned.
    image_size: side, or (height, width), in pixels of the images that the
      model will see; None for the size that the file was trained on.
    num_classes: None for the file's head, 0 for features, else a head of zeros
      where the number differs.
    head: "auto", "keep" or "reset", see `adapt.adapt`.
    pre_logits: "keep" or "drop" the hidden layer of pre-training; "auto" keeps
      it with the file's own head only.
    method: of resizing positions: "auto" for the file's own, `resize_posemb`.
    old_grid: (rows, columns) of the file's position embedding, where it is
      not square and no .json has the size.
    num_heads: for files whose arrays and description do not show it.
    posemb: "none", "sincos2d", "rope2d" ..., for files that show none.
    preprocess: evaluation pipeline; None for the one stored with the file,
      else the one published for it, else a plain resize.
    dtype: compute dtype: "auto" (bfloat16 on TPU and GPU), "float32", ...
    attention: implementation of attention, see `models.attention`.
    scan: stacked blocks, compiled once.

  Raises:
    CheckpointError: the file is missing, damaged, of another kind, or misfits.
    UsageError: an unknown name or value.
  """
  wanted = None if image_size is None else _size_pair(image_size)
  file, row = _open(path, num_heads, old_grid=old_grid, posemb=posemb,
                    wanted_size=wanted)
  network = _adapted_architecture(file, num_classes, head, pre_logits)
  model = architecture.build_network(
      network, dtype=compute_dtype(dtype), attention=attention, scan=scan)
  size = _image_size(file, image_size)
  tree, report = _fit(file, model, size, head, pre_logits, method)
  text = preprocess or described.pipeline_of(file, row, size)
  return Loaded(
      model, jax.device_put(tree), Preprocess(text, size),
      described.class_names_of(file, row) if report.head == "kept" else None,
      dict(architecture=network, image_size=size, preprocess=text,
           loss=described.loss_of(file, row, report), dialect=file.dialect,
           source=file.source, report=report, metadata=file.metadata))


def _open(
    path: str | os.PathLike | WeightsFile, num_heads: int | None,
    **said: Any,
) -> tuple[WeightsFile, dict[str, Any] | None]:
  """Returns the file, and its row of the released table if it has one."""
  if isinstance(path, WeightsFile):
    return path, None
  if num_heads is not None:
    num_heads = whole_number("num_heads", num_heads)
  local, row = find_weights(path)
  return read_weights(local, num_heads=num_heads, **said), row


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
    network["num_classes"] = whole_number("num_classes", num_classes, 0)
  keeps_head = (head != "reset" and num_classes != 0
                and network["num_classes"] == file.architecture["num_classes"])
  if "pre_logits" in network and (
      pre_logits == "drop" or (pre_logits == "auto" and not keeps_head)):
    network["pre_logits"] = 0
  return network


def init_params(
    path: str | os.PathLike | WeightsFile,
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
    CheckpointError: as `load`; the file is of a network of other sizes, or
      arrays do not fit, all of which are named.
  """
  own = getattr(model, "posemb", None)
  if not isinstance(path, WeightsFile):
    path, _ = find_weights(path)
  file = path if isinstance(path, WeightsFile) else read_weights(
      path, num_heads=getattr(model, "num_heads", None),
      posemb=own if own in WITHOUT_ARRAYS else "none",
      wanted_size=_size_pair(image_size))
  refuse_other_sizes(model, file)
  refuse_other_parts(file.architecture, model, file.source)
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
  return _fit(file, model, _size_pair(image_size), head, pre_logits, method)


def _fit(
    file: WeightsFile, model: Network, size: tuple[int, int], head: str,
    pre_logits: str, method: str,
) -> tuple[dict[str, Any], AdaptReport]:
  """Returns `adapt` of a file, resized as its family where nobody says how."""
  return adapt(
      file.flat, model, size, head=head, pre_logits=pre_logits,
      method=described.resize_of(file, method), old_grid=file.grid(),
      source=file.source)


def find_weights(
    path: str | os.PathLike
) -> tuple[pathlib.Path, dict[str, Any] | None]:
  """Returns the local file of a path, URL or name, and its row.

  The --workdir of a run stands for its result. The row is that of
  `hub.released`, None for other files and for models of `hub.model_hub`.

  Raises:
    CheckpointError: a path that does not exist, or a run without a result.
    UsageError: neither a path nor a name.
  """
  if isinstance(path, str | os.PathLike):
    folder = pathlib.Path(os.path.expanduser(path))
    # Not folder.is_dir(), which raises for a name that no file can have.
    if os.fspath(path) and os.path.isdir(folder):
      return _result(folder), None
  else:
    raise UsageError(
        f"a checkpoint of type {type(path).__name__}; expected the path of a "
        "file or run, a released name or a URL")
  try:
    return released.resolve_checkpoint(_file_of_run(os.fspath(path)))
  except UsageError:
    if ":" not in os.fspath(path) and os.fspath(path).endswith(_SUFFIXES):
      detect_format(path)  # raises: no such file
    raise


def _file_of_run(path: str) -> str:
  """Returns the result of a run in a bucket; other paths as they are."""
  # A file may be in the cache, and then no bucket is asked.
  if in_bucket(path) and not path.endswith(_SUFFIXES) and epath.Path(
      absolute(path)).is_dir():
    return f"{path.rstrip('/')}/{RESULT}"
  return path


def _result(folder: pathlib.Path) -> pathlib.Path:
  """Returns the model.npz of a run or the weights of another library's folder.

  Raises:
    CheckpointError: the run has not finished.
  """
  for name in (RESULT, *IN_FOLDERS):
    if (folder / name).is_file():
      return folder / name
  steps = [int(entry.name) for entry in (folder / "checkpoints").glob("*")
           if entry.name.isdecimal()]
  if not steps and not (folder / "config.json").exists() or any(
      folder.glob("*.safetensors")):  # transformers' folders: config.json, too.
    return folder
  advice = "repeat its command to finish it"
  if steps:
    advice += (f", or write its checkpoint of step {max(steps)} to a file: "
               f"python -m vit_jax convert {folder} FILE.npz")
  raise CheckpointError(
      f"{folder}: this run has not finished, there is no {RESULT}; {advice}")


def _size_pair(size: int | Sequence[int]) -> tuple[int, int]:
  """Returns (height, width) of a side or a pair."""
  sides = [size] if isinstance(size, str) or not isinstance(
      size, Sequence | np.ndarray) or np.ndim(size) == 0 else list(size)
  if not 1 <= len(sides) <= 2:
    raise UsageError(f"image_size={size!r}; expected a side or (height, width)")
  height, width = (
      whole_number("image_size", side) for side in (sides[0], sides[-1]))
  return height, width
