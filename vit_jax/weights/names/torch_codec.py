"""The dialect of a library of PyTorch: a table of names, and what it lacks."""

from collections.abc import Collection, Mapping
import re
from typing import Any

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.models.names import SIZES
from vit_jax.weights import posemb_grid
from vit_jax.weights.architecture import token_stride
from vit_jax.weights.names import bit
from vit_jax.weights.names.codec import (
  RELEASED_NUMERICS,
  Codec,
  FileConfig,
  as_float32,
)
from vit_jax.weights.names.torch_names import NameTable
from vit_jax.weights.posemb_grid import POSEMB

_PROJECTIONS = re.compile(r"/(query|key|value)/kernel$")
_OTHER_DENSE = re.compile(r"encoderblock_\d+/\w+/(out|Dense_\d|Gate)/kernel$")


class TorchCodec(Codec):
  """A dialect that is a table of names.

  Attributes:
    table: the names.
    library: what messages call the library's models.
    prefixes: what may stand before the names of the body in a file.
    posembs: kinds of position embeddings that the library has.
  """

  container = "safetensors"
  table: NameTable
  library: str
  prefixes: tuple[str, ...] = ("",)
  posembs: tuple[str, ...] = ("1d",)

  @property
  def patch_kernels(self) -> tuple[str, ...]:
    """Returns the names by which the patch embedding's kernel is found."""
    return (self.table.patch_kernel,)

  def matches(self, names: Collection[str]) -> bool:
    """Returns whether the patch embedding is among them."""
    return self._find(names) is not None

  def decode(
      self, arrays: Mapping[str, np.ndarray], config: FileConfig
  ) -> tuple[dict[str, np.ndarray], str]:
    """Decodes with the heads of `config`, else those usual for the width."""
    found = self._find(arrays)
    prefix, kernel = found if found else ("", self.table.patch_kernel)
    heads = config.heads
    if not heads:
      heads = assumed_heads(arrays[prefix + kernel].shape[0], config.source)
    try:
      flat = as_float32(
          self.read_names(arrays).decode(arrays, heads, prefix),
          config.source)
      flat = self.place_tokens(flat, config)
    except ValueError as error:
      raise CheckpointError(
          f"{config.source}: its arrays are not those of a {self.name} ViT "
          f"with {heads} heads ({error}); pass num_heads=, "
          "--num_heads=") from None
    patches = flat.get("embedding/kernel")
    if patches is not None and patches.ndim == 4:
      if "embedding/bias" not in flat:
        flat["embedding/bias"] = np.zeros(patches.shape[-1:], np.float32)
      if config.foreign or "registers" in flat:
        flat = posemb_grid.complete_rows(
            flat, *config.patches(token_stride(flat)), config.source)
    return flat, self.name

  def place_tokens(
      self, flat: dict[str, np.ndarray], config: FileConfig
  ) -> dict[str, np.ndarray]:
    """Returns parameters whose tokens are those of the model.

    Called with our names, before positions of tokens are completed.
    """
    del config
    return flat

  def encode(
      self, flat: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
  ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Encodes; the architecture gets the numerics that it leaves out."""
    refuse_resnet(flat, self.name)
    if architecture.get("head_dim"):
      raise CheckpointError(
          f"{self.library} has no heads of a width of their own (head_dim="
          f"{architecture['head_dim']}): write .npz instead")
    self._refuse_positions(architecture)
    table = self.written_names(flat, architecture)
    return (table.encode(flat, self.library),
            RELEASED_NUMERICS | dict(architecture))

  def _refuse_positions(self, architecture: Mapping[str, Any]) -> None:
    """Raises CheckpointError for positions that the library does not have."""
    kind = architecture.get("posemb", "1d")
    place = architecture.get("posemb_at", "stem")
    if kind not in self.posembs or place != "stem":
      raise CheckpointError(
          f"{self.library} has no positions of the kind {kind!r}"
          f"{f' at {place!r}' if place != 'stem' else ''}: write .npz instead")

  def read_names(self, arrays: Mapping[str, np.ndarray]) -> NameTable:
    """Returns the names that arrays are read by."""
    del arrays
    return self.table

  def written_names(
      self, flat: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
  ) -> NameTable:
    """Returns the names that parameters are written under."""
    del flat, architecture
    return self.table

  def _find(self, names: Collection[str]) -> tuple[str, str] | None:
    """Returns prefix and name of the patch embedding's kernel, if there."""
    return next(((prefix, kernel) for prefix in self.prefixes
                 for kernel in self.patch_kernels if prefix + kernel in names),
                None)


def refuse_resnet(flat: Mapping[str, np.ndarray], dialect: str) -> None:
  """Raises CheckpointError for the parameters of a BiT ResNet."""
  if bit.matches(flat):
    raise CheckpointError(
        f"a ResNet has no names in {dialect}'s layout here; write an .npz with "
        "--dialect=released, which timm's load_pretrained reads")


def assumed_heads(width: int, source: str) -> int:
  """Returns the attention heads that named models of this width have.

  That they are assumed is logged.

  Raises:
    CheckpointError: no named model has this width.
  """
  for size, _, _, heads in SIZES.values():
    if size == width:
      logging.warning(
          "%s: %d attention heads assumed, as models of width %d have: neither "
          "the arrays nor a config beside them show it; pass num_heads=, "
          "--num_heads=, if it has another number", source, heads, width)
      return heads
  raise CheckpointError(
      f"{source}: the number of heads of a model of width {width} is "
      "neither in the arrays nor known; pass num_heads=, --num_heads=, or "
      "write it as architecture.num_heads into the .json beside the file")


def missing_biases(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns zeros for biases of queries, keys and values that are not there."""
  return {
      name.replace("/kernel", "/bias"): np.zeros(array.shape[1:], array.dtype)
      for name, array in flat.items()
      if _PROJECTIONS.search(name)
      and name.replace("/kernel", "/bias") not in flat}


def complete_biases(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns parameters in which all of a block's projections have biases.

  Of queries, keys and values only if one of them has.
  """
  new = dict(flat)
  if any(name.endswith(("/query/bias", "/key/bias", "/value/bias"))
         for name in flat):
    new |= missing_biases(flat)
  for name, array in flat.items():
    bias = name.replace("/kernel", "/bias")
    if _OTHER_DENSE.search(name) and bias not in flat:
      new[bias] = np.zeros(array.shape[-1:], array.dtype)
  return new


def fold_patch_bias(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns parameters whose positions contain the patch embedding's bias.

  The network is the same, and libraries whose patch embedding has no bias can
  have it.

  Raises:
    CheckpointError: there is no table of positions to put it into.
  """
  folded = dict(flat)
  bias = folded.pop("embedding/bias", None)
  if bias is None or not bias.any():
    return folded
  if POSEMB not in flat:
    raise CheckpointError(
        "a patch embedding before a LayerNorm has no bias in this dialect, and "
        "the model has no learned positions that could hold it: write .npz "
        "instead")
  posemb, prefix = flat[POSEMB], posemb_grid.num_prefix(flat)
  folded[POSEMB] = np.concatenate(
      [posemb[:, :prefix], posemb[:, prefix:] + bias], axis=1)
  return folded
