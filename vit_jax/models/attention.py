"""What attention computes, and which implementation does (paper, appendix A).

Without parameters: these are in `block.MultiHeadAttention`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.models.checks import check_choice

IMPLEMENTATIONS = ("auto", "einsum", "einsum_f32", "cudnn")


def scaled(query: Float[Array, "b q h k"]) -> Float[Array, "b q h k"]:
  """Returns q / sqrt(d_h)."""
  return query / jnp.sqrt(query.shape[-1]).astype(query.dtype)


def attention_weights(
    query: Float[Array, "b q h k"],
    key: Float[Array, "b s h k"],
    *,
    bias: Float[Array, "b h q s"] | None = None,
    softmax_dtype: Any = None,
) -> Float[Array, "b h q s"]:
  """Returns softmax(q kᵀ / sqrt(d_h) + bias), each row summing to one.

  `softmax_dtype` None keeps the dtype of the query: in bfloat16 that saves
  about a fifth of the memory traffic of a training step; float32, in which
  the logits are then never rounded, is the careful form. (Paper, equation 6.)
  """
  logits = jnp.einsum(
      "bqhk,bshk->bhqs", scaled(query), key,
      preferred_element_type=softmax_dtype)
  if bias is not None:
    logits = logits + bias.astype(logits.dtype)
  return jax.nn.softmax(logits, axis=-1).astype(query.dtype)


def attend(
    query: Float[Array, "b q h k"],
    key: Float[Array, "b s h k"],
    value: Float[Array, "b s h k"],
) -> Float[Array, "b q h k"]:
  """Returns softmax(q kᵀ / sqrt(d_h)) v, divided by the sums at the end.

  The numbers of `attention_weights` times v, in fewer steps: the division is
  over d_h numbers a query and not over s, the sums are float32, and keys stand
  before queries because that is how both products of the backward pass want
  them. For B/16 at 384 on v5e the compiler counts 7 % fewer cycles and a tenth
  less memory traffic for a whole training step. (Paper, equations 6 and 7.)
  """
  logits = jnp.einsum("bqhk,bshk->bhsq", scaled(query), key)
  # Any shift gives the same result; that of the maximum never overflows.
  shift = jax.lax.stop_gradient(jnp.max(logits, axis=2, keepdims=True))
  powers = jnp.exp(logits - shift)
  sums = jnp.sum(powers, axis=2, dtype=jnp.float32)
  heads = jnp.einsum("bhsq,bshk->bqhk", powers, value)
  return heads / sums.swapaxes(1, 2)[..., None].astype(heads.dtype)


def choose_implementation(
    name: str, *, dtype: Any, head_dim: int, needs_weights: bool
) -> str:
  """Resolves "auto": cuDNN's fused kernel on a GPU in 16 bits, else einsum.

  Args:
    name: one of IMPLEMENTATIONS.
    dtype: compute dtype.
    head_dim: width of one head; cuDNN wants a multiple of 8, at most 128.
    needs_weights: True where the weights themselves are used (captured, or
      under attention dropout), which no fused kernel returns, or changed
      (relative positions).

  Raises:
    UsageError: the name is unknown.
  """
  check_choice("attention", name, IMPLEMENTATIONS)
  if needs_weights and name in ("auto", "cudnn"):
    return "einsum"
  if name == "auto":
    fits = head_dim % 8 == 0 and head_dim <= 128
    half = jnp.dtype(dtype).itemsize == 2
    on_gpu = jax.default_backend() == "gpu"
    return "cudnn" if on_gpu and half and fits else "einsum"
  return name
