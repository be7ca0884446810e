"""The device mesh (data, fsdp, tensor), and how arrays are split over it.

Regular expressions on a parameter's name give its dimensions logical axes, and
logical axes map to mesh axes. Every parameter must match a rule. The same code
runs on one CPU and on a pod.
"""

from collections.abc import Sequence
import math
import re
from typing import Any

from absl import logging
import chex
import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from vit_jax.config.sections import MeshConfig
from vit_jax.errors import UsageError

AXES = ("data", "fsdp", "tensor")
Index = tuple[slice, ...]
BATCH = PartitionSpec(("data", "fsdp"))

# Logical axis -> mesh axis. "embed" is D: fully sharded data parallelism
# splits it; heads, MLP and classes are what tensor parallelism splits.
LOGICAL = {"embed": "fsdp", "heads": "tensor", "mlp": "tensor",
           "classes": "tensor", "channels": "fsdp"}

# The first match counts; a rule without axes replicates. Stacked blocks (scan)
# have one more leading dimension, which is not split.
RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"(query|key|value)/kernel$", ("embed", "heads", None)),
    (r"(query|key|value)/bias$", ("heads", None)),
    (r"out/kernel$", ("heads", None, "embed")),
    (r"MlpBlock_0/(Dense_0|Gate)/kernel$", ("embed", "mlp")),
    (r"MlpBlock_0/(Dense_0|Gate)/bias$", ("mlp",)),
    (r"MlpBlock_0/Dense_1/kernel$", ("mlp", "embed")),
    (r"(^|/)embedding/kernel$", (None, None, None, "embed")),
    (r"(conv_root|conv\d|conv_proj|standardized_conv2d)/kernel$",
     (None, None, None, "channels")),
    (r"pre_logits/kernel$", (None, "embed")),
    (r"head(_dist)?/kernel$", ("embed", "classes")),
    (r"head(_dist)?/bias$", ("classes",)),
    (r"(posembed_\w+|posemb\w*)/\w+$", ()),
    (r"(out|Dense_1|embedding|pre_logits)/bias$", ()),
    (r"(LayerNorm_\d|LayerScale_\d|\w+_norm|\w+_ln|gn\w+)/(scale|bias)$", ()),
    (r"(^|/)group_norm/(gamma|beta)$", ()),
    (r"(^|/)(cls|registers|probe|mask_embedding)$", ()),
    (r"(^|/)(reconstruction|mean_colour)\w*/(kernel|bias)$", ()),
)


def path_name(path: Sequence[Any]) -> str:
  """Returns a tree path as "Transformer/encoderblock_0/..."."""
  return "/".join(
      str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k))))
      for k in path)


def make_mesh(
    *,
    data: int = MeshConfig.data,
    fsdp: int = MeshConfig.fsdp,
    tensor: int = MeshConfig.tensor,
    devices: Sequence[Any] | None = None,
) -> Mesh:
  """Returns a mesh over all devices with the axes data, fsdp, tensor.

  Args:
    data: number of replicas of the parameters; -1 takes all devices that the
      other axes leave.
    fsdp: number of parts into which parameters and optimiser state are split;
      the batch is split over data * fsdp.
    tensor: number of parts into which heads and MLP are split.
    devices: default to `jax.devices()`. Across several TPU slices, data runs
      between the slices and the other axes within one.

  Raises:
    UsageError: the sizes do not multiply to the number of devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  sizes = {"data": data, "fsdp": fsdp, "tensor": tensor}
  free = [axis for axis, size in sizes.items() if size == -1]
  fixed = math.prod(size for size in sizes.values() if size != -1)
  wrong = [axis for axis, size in sizes.items() if size != -1 and size < 1]
  count = len(devices)
  if wrong or len(free) > 1 or fixed < 1 or count % fixed or (
      not free and fixed != count):
    asked = ", ".join(f"config.mesh.{k}={v}" for k, v in sizes.items())
    raise UsageError(
        f"{asked} do not fit {count} devices: the product must be {count}, "
        "and at most one axis may be -1 (the rest)")
  if free:
    sizes[free[0]] = count // fixed
  shape = (sizes["data"], sizes["fsdp"], sizes["tensor"])
  return Mesh(_arrange(devices, shape), AXES,
              axis_types=(AxisType.Auto,) * len(AXES))


def _arrange(devices: list[Any], shape: tuple[int, int, int]) -> np.ndarray:
  """Orders devices so that neighbours on the mesh are physically linked."""
  slices = len({getattr(d, "slice_index", 0) for d in devices})
  if slices > 1:
    if shape[0] % slices:
      raise UsageError(
          f"config.mesh.data={shape[0]} must be a multiple of the {slices} "
          "slices: data parallelism runs between slices")
    return mesh_utils.create_hybrid_device_mesh(
        (shape[0] // slices, *shape[1:]), (slices, 1, 1), devices,
        allow_split_physical_axes=True)
  if devices[0].platform == "tpu":
    # With fsdp=8 on a torus of 16x16, an axis is part of a side.
    return mesh_utils.create_device_mesh(
        shape, devices, allow_split_physical_axes=True)
  return np.asarray(devices).reshape(shape)


def parameter_spec(
    name: str, shape: Sequence[int], mesh: Mesh
) -> PartitionSpec:
  """Returns how a parameter is split, by its name.

  A dimension that is not a multiple of its mesh axis is not split.

  Raises:
    ValueError: no rule matches the name (a rule is missing in this file).
  """
  logical = next((axes for p, axes in RULES if re.search(p, name)), None)
  if logical is None:
    raise ValueError(
        f"no sharding rule covers parameter {name!r} of shape {tuple(shape)}; "
        "add one to vit_jax.devices.sharding.RULES")
  if not logical:
    return PartitionSpec()
  stacked = len(shape) - len(logical)
  axes: list[str | None] = [None] * stacked
  for size, axis in zip(shape[stacked:], logical, strict=True):
    mesh_axis = LOGICAL.get(axis) if axis else None
    if mesh_axis and size % mesh.shape[mesh_axis]:
      logging.log_first_n(
          logging.WARNING, "%s: dimension of %d is not split over %s=%d", 1,
          name, size, mesh_axis, mesh.shape[mesh_axis])
      mesh_axis = None
    axes.append(mesh_axis)
  return PartitionSpec(*axes)


def tree_shardings(tree: Any, mesh: Mesh) -> Any:
  """Returns a NamedSharding for every leaf of a state or parameter tree.

  Optimiser moments and averages are split as the parameter whose name their
  path ends in; scalars are replicated.
  """

  def leaf(path: Sequence[Any], x: Any) -> NamedSharding:
    if x.ndim == 0:
      return NamedSharding(mesh, PartitionSpec())
    return NamedSharding(mesh, parameter_spec(path_name(path), x.shape, mesh))

  return jax.tree_util.tree_map_with_path(leaf, tree)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of a batch: the first axis over data and fsdp."""
  return NamedSharding(mesh, BATCH)


def process_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
  """Returns the indices of this process's rows of a global batch, ascending.

  They need not be contiguous: a host of a 16x16 slice holds a square of it.

  Raises:
    UsageError: the batch is not a multiple of the devices it is split over.
  """
  check_batch_size(mesh, batch_size)
  indices = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
  spans = {_span(index, batch_size) for index in indices.values()}
  return np.concatenate([np.arange(*span) for span in sorted(spans)])


def check_batch_size(mesh: Mesh, batch_size: int) -> None:
  """Raises UsageError if the mesh cannot split a batch evenly."""
  ways = mesh.shape["data"] * mesh.shape["fsdp"]
  if batch_size % ways:
    raise UsageError(
        f"batch_size={batch_size} must be a multiple of the {ways} ways in "
        f"which the mesh splits it (data={mesh.shape['data']} x "
        f"fsdp={mesh.shape['fsdp']})")


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh,
              batch_size: int) -> dict[str, jax.Array]:
  """Places this process's rows as part of one global, sharded batch.

  Args:
    batch: arrays (rows, ...) whose rows are those of `process_rows`.
    mesh: over which the batch is split.
    batch_size: rows of the global batch.

  Returns:
    Arrays (batch_size, ...), their first axis split over data and fsdp.

  Raises:
    AssertionError: an array has another number of rows than this process's.
  """
  sharding, rows = batch_sharding(mesh), process_rows(mesh, batch_size)

  def place(value: np.ndarray) -> jax.Array:
    chex.assert_axis_dimension(value, 0, len(rows))

    def part(index: Index | None) -> np.ndarray:
      start, stop = _span(index, batch_size)
      first = int(np.searchsorted(rows, start))
      return value[first:first + stop - start]

    return jax.make_array_from_callback(
        (batch_size, *value.shape[1:]), sharding, part)

  return {key: place(np.asarray(value)) for key, value in batch.items()}


def _span(index: Index | None, size: int) -> tuple[int, int]:
  """Returns the first and last row (exclusive) of a device's part."""
  rows = index[0] if index else slice(None)
  return rows.start or 0, size if rows.stop is None else rows.stop


def put_tree(tree: Any, shardings: Any) -> Any:
  """Places host arrays that are equal on every process under `shardings`.

  Args:
    tree: of whole host arrays.
    shardings: a tree of the same structure.

  Raises:
    AssertionError: the trees differ in structure, or an array lacks a dimension
      that its sharding splits.
  """
  chex.assert_trees_all_equal_structs(tree, shardings)

  def place(x: Any, sharding: NamedSharding) -> jax.Array:
    whole = np.asarray(x)
    for axis, mesh_axis in enumerate(sharding.spec):
      if mesh_axis is not None:
        chex.assert_axis_dimension_gteq(whole, axis, 1)
    return jax.make_array_from_callback(
        whole.shape, sharding, lambda index: whole[index or ...])

  return jax.tree.map(place, tree, shardings)
