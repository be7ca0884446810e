"""Builds networks: `make_model` from a name and what differs from it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vit_jax.config.schema import default_config
from vit_jax.errors import UsageError
from vit_jax.models import names
from vit_jax.models.bit_resnet import BiTResNet
from vit_jax.models.network import Network
from vit_jax.models.vit import VisionTransformer

# Families by the kind of their parsed names.
NETWORKS: dict[str, type[Network]] = {
    "vit": VisionTransformer,
    "bit_resnet": BiTResNet,
}
DTYPES = ("auto", "float32", "bfloat16", "float16")


def network_type(variant: str) -> type[Network]:
  """Returns the class of the network that a name means.

  Raises:
    UsageError: the name is unknown.
  """
  return NETWORKS[names.parse(variant).kind]


def network_of(architecture: Mapping[str, Any]) -> type[Network]:
  """Returns the class whose `architecture` has these keys.

  Raises:
    ValueError: there is none.
  """
  for network in NETWORKS.values():
    if set(architecture) <= set(network.architecture_keys()):
      return network
  raise ValueError(f"no network has all of {', '.join(architecture)}")


def compute_dtype(dtype: str) -> Any:
  """Resolves "auto": bfloat16 on TPU and GPU, float32 on CPU.

  Raises:
    UsageError: the dtype is unknown.
  """
  if dtype not in DTYPES:
    raise UsageError(
        f"model.dtype={dtype!r} is unknown; it is one of {', '.join(DTYPES)}")
  if dtype == "auto":
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
  return jnp.dtype(dtype).type


def make_model(
    variant: str, *, num_classes: int, **options: Any
) -> Network:
  """Builds any network from its name and what differs from it.

  Args:
    variant: see `vit_jax.models.names`.
    num_classes: width of the head, 0 for features.
    **options: keys of the section `model` of a config, which has the defaults
      and says what they mean. Those that are not among the network's own
      `options` must keep their default.

  Raises:
    TypeError: there is no such option.
    UsageError: a name or value is unknown, or the network does not take the
      option.
  """
  network = network_type(variant)
  defaults = default_config().model.to_dict()
  if unknown := set(options) - set(defaults):
    raise TypeError(f"make_model has no argument {', '.join(sorted(unknown))}")
  for key, value in options.items():
    if key not in network.options and value != defaults[key]:
      raise UsageError(
          f"model.{key}={value!r} is not an option of model.variant="
          f"{variant!r}, which takes {', '.join(network.options)}")
  chosen = {key: (defaults | options)[key] for key in network.options}
  chosen["dtype"] = compute_dtype(chosen["dtype"])
  return network.from_name(
      names.parse(variant), num_classes=num_classes, **chosen)
