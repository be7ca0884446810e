"""Reads a weights file of any kind: arrays, architecture and description."""

from collections.abc import Callable, Mapping
import dataclasses
import os
from typing import Any

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.models.network import Network
from vit_jax.models.posemb import WITHOUT_ARRAYS
from vit_jax.weights import (
    architecture,
    description,
    model_json,
    posemb_grid,
)
from vit_jax.weights.formats import shards
from vit_jax.weights.formats.detect import detect_format
from vit_jax.weights.formats.npz import npz_digest, read_note, read_npz
from vit_jax.weights.formats.safetensors import (
  read_safetensors,
  safetensors_digest,
)
from vit_jax.weights.names.codec import Codec, FileConfig
from vit_jax.weights.names.codecs import recognise, wrapper
from vit_jax.weights.names.pixel_statistics import absorb_pixel_statistics


@dataclasses.dataclass(frozen=True)
class WeightsFile:
  """The content of a weights file.

  Attributes:
    source: its path, for messages.
    flat: parameters under the model's names, float32, one entry for each block.
    architecture: keyword arguments of the network, VisionTransformer or
      BiTResNet.
    image_size: (height, width) in pixels of the images it was trained on;
      None where neither the arrays nor a description show it.
    dialect: the layout of the file, see `Codec.decode`.
    metadata: the description beside (or inside) the file, or that of the
      dialect's own library; {} if there is none.
    unprepared: why nothing says how its images are prepared, though its
      library does; "" if that is not so.
  """

  source: str
  flat: dict[str, np.ndarray]
  architecture: dict[str, Any]
  image_size: tuple[int, int] | None
  dialect: str
  metadata: dict[str, Any]
  unprepared: str = ""

  def model(self, **changes: Any) -> Network:
    """Returns the model of the file, with some attributes replaced."""
    return architecture.build_network(self.architecture, **changes)

  def grid(self) -> tuple[int, int] | None:
    """Returns the token grid of the file's position embedding."""
    return self.image_size and self.model().grid(self.image_size)


def read_weights(
    path: str | os.PathLike,
    *,
    num_heads: int | None = None,
    old_grid: tuple[int, int] | None = None,
    posemb: str | None = None,
    wanted_size: tuple[int, int] | None = None,
) -> WeightsFile:
  """Reads an .npz or .safetensors file and its description.

  Args:
    path: the file; its kind is detected by its first bytes.
    num_heads: for files whose arrays and description do not show it.
    old_grid: (rows, columns) of the position embedding, where it is not
      square and no description has the size.
    posemb: the kind of position embedding, where neither the arrays nor a
      description show it: "none", or one without parameters.
    wanted_size: (height, width) of the images that the model will see; the
      position embedding is taken to be for it where it fits exactly.

  Raises:
    CheckpointError: the file is of another kind or damaged, is not a ViT, its
      description and its arrays contradict each other, or nothing shows its
      kind of position embedding.
  """
  source = os.fspath(path)
  arrays, embedded = _read_arrays(path)
  _refuse_other_arrays(path)
  codec = recognise(arrays, source)
  stated, stated_in = description.own(path, embedded)
  config = _read_config(path, codec, arrays, stated, stated_in)
  sizes = (*filter(None, [wanted_size]), *config.likely_sizes)
  config = dataclasses.replace(
      config, num_heads=num_heads, old_grid=old_grid, likely_sizes=sizes)
  flat, dialect = codec.decode(arrays, config)
  _refuse_torn_layers(flat, source)
  flat = absorb_pixel_statistics(flat, config.mean, config.std, source)
  inferred, image_size = architecture.infer_architecture(
      flat, _image_size(flat, config), old_grid, source)
  unseen = {**codec.unseen, **config.architecture}
  if inferred.get("posemb") == "none" and not unseen.get("posemb"):
    unseen["posemb"] = _named_posemb(posemb, source)
  whole = architecture.add_unseen(inferred, unseen)
  metadata = config.metadata
  if config.foreign and (method := codec.resize_method(arrays)):
    metadata = {"posemb_resize": method, **metadata}
  if not inferred["num_classes"] and not stated.get("class_names"):
    # transformers keeps the names of a classifier in a model without one.
    metadata = {k: v for k, v in metadata.items() if k != "class_names"}
  file = WeightsFile(source, flat, whole, image_size, dialect, metadata,
                     config.unprepared)
  _refuse_contradictions(file, inferred, config.described_in)
  known = {**stated, **(stated.get("architecture") or {})}
  for key, note in config.notes.items():
    if known.get(key) is None:
      logging.warning("%s: %s", source, note)
  return file


def _image_size(
    flat: Mapping[str, np.ndarray], config: FileConfig
) -> tuple[int, int] | None:
  """Returns the size that the position embedding is for, if anything shows it.

  What the caller says of the grid goes before a description.
  """
  if config.old_grid:
    return None
  if config.image_size or not config.likely_sizes:
    return config.image_size
  patches = posemb_grid.num_patches(flat)
  if patches is None or "embedding/kernel" not in flat:
    return None
  _, likely = config.patches(architecture.token_stride(flat))
  return next((size for size, count in zip(
      config.likely_sizes, likely, strict=True) if count == patches), None)


def _read_arrays(
    path: str | os.PathLike
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Returns the arrays of the network, and the metadata of the container."""
  source, prefix = os.fspath(path), ""

  def select(names: list[str]) -> list[str]:
    nonlocal prefix
    prefix = wrapper(names)
    bare = [name.removeprefix(prefix) for name in names]
    chosen = recognise(bare, source).select(bare, source)
    return [prefix + name for name in chosen]

  arrays, embedded = read_arrays(path, select)
  if prefix:
    logging.warning("%s: %r before every name was removed", source, prefix)
  return {n.removeprefix(prefix): a for n, a in arrays.items()}, embedded


def read_arrays(
    path: str | os.PathLike, select: Callable[[list[str]], list[str]] = list
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Returns the arrays of any file, and the metadata of its container.

  Args:
    path: an .npz, a .safetensors, or the index of several of these.
    select: chooses names among those in the file; the others are not read.
  """
  if shards.is_index(path):
    return shards.read_shards(path, select), {}
  if detect_format(path) == "npz":
    return read_npz(path, select), description.embedded(read_note(path), path)
  shards.refuse_shard(path)
  return read_safetensors(path, select)


def _named_posemb(posemb: str | None, source: str) -> str:
  """Returns the position embedding that the caller names.

  Raises:
    CheckpointError: none is named, or one that has arrays.
  """
  if posemb not in WITHOUT_ARRAYS:
    kinds = ", ".join(map(repr, WITHOUT_ARRAYS))
    given = f"not {posemb!r}" if posemb else (
        "and no description says which kind it is")
    raise CheckpointError(
        f"{source}: its position embedding has no arrays, {given}; pass "
        f"posemb= one of {kinds} (--posemb on the command line), or put the "
        ".json that was written beside the file back there")
  return posemb


def _read_config(
    path: str | os.PathLike, codec: Codec, arrays: Mapping[str, np.ndarray],
    stated: Mapping[str, Any], stated_in: str,
) -> FileConfig:
  """Returns what is known of a file besides its arrays.

  Args:
    path: the weights file.
    codec: its dialect; what its library says holds where nothing is stated.
    arrays: those of the file.
    stated: our own description.
    stated_in: where it was read from.
  """
  source = os.fspath(path)
  # Who wrote the arrays decides which pixels they are for, not what else lies
  # beside them; what this package writes takes pixels in [-1, 1].
  if stated_in.endswith(f"({description.EMBEDDED})") or "value_range" in stated:
    return FileConfig(source, stated_in, dict(stated))
  config = codec.read_config(path, arrays)
  if not stated:
    return config
  places = [stated_in]
  if config.metadata and config.described_in != source:
    places.append(config.described_in)
  return dataclasses.replace(
      config, described_in=" and ".join(places),
      metadata=description.overlay(config.metadata, stated))


def digest_of(path: str | os.PathLike) -> str | None:
  """Returns what identifies a file's arrays; None where it has no checksums."""
  if detect_format(path) == "npz":
    return npz_digest(path)
  return safetensors_digest(path)


def _refuse_other_arrays(path: str | os.PathLike) -> None:
  """Raises CheckpointError if the description was written with other arrays."""
  written = model_json.read_model_json(path).get("digest")
  if written is None:
    return
  found = digest_of(path)
  # A .safetensors that others wrote over ours keeps no checksums.
  if found != written:
    raise CheckpointError(
        f"{model_json.model_json_path(path)} was written with other arrays "
        f"than those of {os.fspath(path)} (another digest): one of the two was "
        "replaced; bring both back, or remove the .json if the weights are "
        "right without it")


def _refuse_torn_layers(
    flat: Mapping[str, np.ndarray], source: str
) -> None:
  """Raises CheckpointError where half of a layer that may be absent is.

  Without it, the other half would be taken for a file without that layer.
  """
  for layer in ("head", "pre_logits"):
    halves = [f"{layer}/{half}" for half in ("kernel", "bias")]
    missing = [name for name in halves if name not in flat]
    if len(missing) == 1:
      there = next(name for name in halves if name in flat)
      raise CheckpointError(
          f"{source}: {there} is there and {missing[0]} is missing; get or "
          "write the file again")


def _refuse_contradictions(
    file: WeightsFile, inferred: Mapping[str, Any], described_in: str
) -> None:
  """Raises CheckpointError where a description and the arrays differ."""
  described = file.metadata
  wrong = architecture.contradictions(
      described.get("architecture") or {}, inferred)
  names = described.get("class_names")
  if names and len(names) != inferred["num_classes"]:
    wrong.append(f"class_names are {len(names)}, but "
                 f"{inferred['num_classes']} in the arrays")
  patches, grid = posemb_grid.num_patches(file.flat), file.grid()
  if not wrong and described.get("image_size") and grid:
    rows, cols = grid
    if patches not in (None, rows * cols):
      wrong.append(f"image_size is {list(file.image_size or ())}, which is "
                   f"{rows}x{cols} patches, but {patches} in the arrays")
  if wrong:
    raise CheckpointError(
        f"{described_in} contradicts the arrays of {file.source}: "
        f"{'; '.join(wrong)}; one of the two belongs to another model: move "
        "the .json away or correct it")
