"""Dense layers whose kernels' gradients leave the matrix product in float32.

The compiler adds up the gradients of the devices where the product that makes
them ends, in the dtype that it has there: bfloat16 where the network computes
in bfloat16. Here the product keeps its float32 sums, and so does the addition
over the devices, at twice the traffic.
"""

from collections.abc import Sequence
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from vit_jax.models.checks import check_choice

GRAD_DTYPES = ("compute", "float32")
# Contracted dimensions of the inputs and of the kernel; no batch dimensions.
Contracted = tuple[tuple[int, ...], tuple[int, ...]]


def dense_options(grad_dtype: str) -> dict[str, Any]:
  """Returns the arguments that a Dense layer takes for a choice.

  Args:
    grad_dtype: one of GRAD_DTYPES.
  """
  check_choice("grad_dtype", grad_dtype, GRAD_DTYPES)
  if grad_dtype == "compute":
    return {}
  return {"dot_general": _dot_general, "promote_dtype": _keep_kernel}


def _keep_kernel(
    inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None, *,
    dtype: Any = None,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
  """Casts inputs and bias; the product casts the kernel, and differentiates."""
  dtype = dtype or inputs.dtype
  return (inputs.astype(dtype), kernel,
          None if bias is None else bias.astype(dtype))


def _dot_general(
    inputs: jax.Array, kernel: jax.Array,
    dimensions: tuple[tuple[Sequence[int], Sequence[int]], Any],
    precision: Any = None, **_: Any,
) -> jax.Array:
  """lax.dot_general for a Dense layer, which has no batch dimensions."""
  (of_inputs, of_kernel), _batch = dimensions
  contracted = (tuple(of_inputs), tuple(of_kernel))
  return _product(inputs, kernel, contracted, precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _product(
    inputs: jax.Array, kernel: jax.Array, contracted: Contracted,
    precision: Any,
) -> jax.Array:
  """Returns inputs times kernel, in the dtype of the inputs."""
  return lax.dot_general(
      inputs, kernel.astype(inputs.dtype), (contracted, ((), ())),
      precision=precision)


def _forward(
    inputs: jax.Array, kernel: jax.Array, contracted: Contracted,
    precision: Any,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _product(inputs, kernel, contracted, precision), (inputs, kernel)


def _backward(
    contracted: Contracted, precision: Any,
    saved: tuple[jax.Array, jax.Array], gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  inputs, kernel = saved
  of_inputs, of_kernel = contracted
  _, pull = jax.vjp(
      lambda x: lax.dot_general(
          x, kernel.astype(x.dtype), (contracted, ((), ())),
          precision=precision), inputs)
  # Contract what the inputs kept, which the gradient has first.
  kept = tuple(i for i in range(inputs.ndim) if i not in of_inputs)
  product = lax.dot_general(
      inputs, gradient, ((kept, tuple(range(len(kept)))), ((), ())),
      precision=precision, preferred_element_type=jnp.float32)
  # Its dimensions: those contracted before, by the inputs' order, then others.
  order = [of_kernel[of_inputs.index(i)] for i in sorted(of_inputs)] + [
      i for i in range(kernel.ndim) if i not in of_kernel]
  product = jnp.transpose(product, [order.index(i) for i in range(kernel.ndim)])
  return pull(gradient)[0], product.astype(kernel.dtype)


_product.defvjp(_forward, _backward)
