"""Rematerialisation: what the backward pass keeps and what it recomputes."""

from typing import Any

from flax import linen as nn
import jax

from vit_jax.models.checks import check_choice

POLICIES = ("none", "dots", "full")


def rematerialised(
    module: type[nn.Module], remat: str, *, products: Any, **options: Any
) -> Any:
  """Returns the class of a module, rematerialised as configured.

  Args:
    module: whose outputs alone are kept with "full".
    remat: one of POLICIES.
    products: policy of "dots"; it keeps the outputs of the module's products,
      see `jax.checkpoint_policies`.
    **options: of `flax.linen.remat`.

  Raises:
    UsageError: the policy is unknown.
  """
  check_choice("remat", remat, POLICIES)
  if remat == "none":
    return module
  policy = (products if remat == "dots"
            else jax.checkpoint_policies.nothing_saveable)
  return nn.remat(module, policy=policy, **options)
