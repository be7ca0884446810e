"""One mesh with the axes data, fsdp and tensor, and who lies where on it.

A parameter's name decides by regular expression on which logical axes its
dimensions lie; logical axes map to mesh axes. Every parameter must be covered
by a rule. The same code runs on one CPU and on a pod.
"""

from collections.abc import Callable, Sequence
import contextvars
import functools
import math
import re
from typing import Any

from absl import logging
import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from vit_jax.errors import UsageError

AXES = ("data", "fsdp", "tensor")
BATCH = PartitionSpec(("data", "fsdp"))
# The mesh over which the function that is being traced splits its batch.
_MESH: contextvars.ContextVar[Mesh | None] = contextvars.ContextVar(
    "mesh", default=None)

# Logical axis -> mesh axis. "embed" is D: fully sharded data parallelism
# splits it; heads, MLP and classes are what tensor parallelism splits.
LOGICAL = {"embed": "fsdp", "heads": "tensor", "mlp": "tensor",
           "classes": "tensor", "channels": "fsdp"}

# First match wins; a rule without axes replicates. Stacked blocks (scan) have
# one more leading dimension, which stays whole.
RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"(query|key|value)/kernel$", ("embed", "heads", None)),
    (r"(query|key|value)/bias$", ("heads", None)),
    (r"out/kernel$", ("heads", None, "embed")),
    (r"MlpBlock_0/Dense_0/kernel$", ("embed", "mlp")),
    (r"MlpBlock_0/Dense_0/bias$", ("mlp",)),
    (r"MlpBlock_0/Dense_1/kernel$", ("mlp", "embed")),
    (r"(^|/)embedding/kernel$", (None, None, None, "embed")),
    (r"(conv_root|conv\d|conv_proj|standardized_conv2d)/kernel$",
     (None, None, None, "channels")),
    (r"pre_logits/kernel$", (None, "embed")),
    (r"head/kernel$", ("embed", "classes")),
    (r"head/bias$", ("classes",)),
    (r"(posembed_\w+|posemb\w*)/\w+$", ()),
    (r"(out|Dense_1|embedding|pre_logits)/bias$", ()),
    (r"(LayerNorm_\d|encoder_norm|gn\d|gn_root|gn_proj)/(scale|bias)$", ()),
    (r"(^|/)group_norm/(gamma|beta)$", ()),
    (r"(^|/)(cls|probe|mask_embedding)$", ()),
    (r"(^|/)(reconstruction|mean_colour)\w*/(kernel|bias)$", ()),
)


def path_name(path: Sequence[Any]) -> str:
  """Returns a tree path as "Transformer/encoderblock_0/..."."""
  return "/".join(
      str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k))))
      for k in path)


def make_mesh(
    *,
    data: int = -1,
    fsdp: int = 1,
    tensor: int = 1,
    devices: Sequence[Any] | None = None,
) -> Mesh:
  """Returns a mesh over all devices with the axes data, fsdp, tensor.

  Args:
    data: replicas of the parameters; -1 takes what the others leave.
    fsdp: ways in which parameters and optimiser state are split; the batch is
      split over data * fsdp.
    tensor: ways in which heads and MLP are split.
    devices: defaults to `jax.devices()`; over several TPU slices, data runs
      between the slices and the others within one.

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
  shape = tuple(sizes[axis] for axis in AXES)
  return Mesh(_arrange(devices, shape), AXES,
              axis_types=(AxisType.Auto,) * len(AXES))


def _arrange(devices: list[Any], shape: tuple[int, int, int]) -> np.ndarray:
  """Orders devices so that neighbours on the mesh are wired together."""
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
    # Where fsdp=8 is no side of the torus, such as 16x16, a side is cut.
    return mesh_utils.create_device_mesh(
        shape, devices, allow_split_physical_axes=True)
  return np.asarray(devices).reshape(shape)


def parameter_spec(
    name: str, shape: Sequence[int], mesh: Mesh
) -> PartitionSpec:
  """Returns how a parameter is split, from its name.

  A dimension that its mesh axis does not divide stays whole.

  Raises:
    ValueError: no rule covers the name (a rule is missing in this file).
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

  Optimiser moments and averages follow the parameter whose name ends their
  path; scalars are replicated.
  """

  def leaf(path: Sequence[Any], x: Any) -> NamedSharding:
    if x.ndim == 0:
      return NamedSharding(mesh, PartitionSpec())
    return NamedSharding(mesh, parameter_spec(path_name(path), x.shape, mesh))

  return jax.tree_util.tree_map_with_path(leaf, tree)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of a batch: its first axis over data and fsdp."""
  return NamedSharding(mesh, BATCH)


def over(mesh: Mesh | None, function: Callable[..., Any]) -> Callable[..., Any]:
  """Returns `function`, to be jitted, whose `split_batch` is over `mesh`."""

  @functools.wraps(function)
  def inside(*args: Any) -> Any:
    token = _MESH.set(mesh)
    try:
      return function(*args)
    finally:
      _MESH.reset(token)

  return inside


def split_batch(x: jax.Array, *, only: bool = True) -> jax.Array:
  """Says that activations are split by examples, and in no other way.

  Without it XLA may prefer to move activations where parameters are split
  over fsdp: it then splits D, computes every example on every device and sums
  up. Said between the layers, it gathers the parameters instead, one layer at
  a time. Outside of `over` it does nothing.

  Args:
    x: the first axis is that of the examples.
    only: False leaves it to XLA how the other axes are split.
  """
  mesh = _MESH.get()
  if mesh is None or mesh.size == 1:
    return x
  rest = () if only else (PartitionSpec.UNCONSTRAINED,) * (x.ndim - 1)
  return jax.lax.with_sharding_constraint(
      x, NamedSharding(mesh, PartitionSpec(*BATCH, *rest)))


def process_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
  """Returns the numbers of this process's rows of a global batch, ascending.

  They need not be neighbours: a host of a 16x16 slice holds a square of it.

  Raises:
    UsageError: the devices do not divide the batch.
  """
  ways = mesh.shape["data"] * mesh.shape["fsdp"]
  if batch_size % ways:
    raise UsageError(
        f"batch_size={batch_size} must be a multiple of the {ways} ways in "
        f"which the mesh splits it (data={mesh.shape['data']} x "
        f"fsdp={mesh.shape['fsdp']})")
  index = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
  spans = {_span(s, batch_size) for (s,) in index.values()}
  return np.concatenate([np.arange(*span) for span in sorted(spans)])


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh,
              batch_size: int) -> dict[str, jax.Array]:
  """Places this process's rows as part of one global, sharded batch.

  Args:
    batch: arrays whose first axis are the rows of `process_rows`.
    mesh: over which they are split.
    batch_size: rows of the global batch.
  """
  sharding, rows = batch_sharding(mesh), process_rows(mesh, batch_size)

  def place(value: np.ndarray) -> jax.Array:
    def part(index: tuple[slice, ...]) -> np.ndarray:
      start, stop = _span(index[0], batch_size)
      first = int(np.searchsorted(rows, start))
      return value[first:first + stop - start]

    return jax.make_array_from_callback(
        (batch_size, *value.shape[1:]), sharding, part)

  return {key: place(np.asarray(value)) for key, value in batch.items()}


def _span(index: slice, size: int) -> tuple[int, int]:
  """Returns where a slice begins and ends."""
  return index.start or 0, size if index.stop is None else index.stop


def put_tree(tree: Any, shardings: Any) -> Any:
  """Places host arrays, the same on every process, under `shardings`."""
  return jax.tree.map(
      lambda x, s: jax.make_array_from_callback(
          np.shape(x), s, lambda index, x=x: np.asarray(x)[index]),
      tree, shardings)
