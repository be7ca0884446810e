"""Attention without parameters, and its implementations (paper, appendix A).

  einsum      two products and a softmax in the compute dtype, which XLA fuses
  einsum_f32  the same with logits and softmax in float32
  cudnn       NVIDIA's fused kernel, 16 bits only
  fused       a kernel for TPUs, `vit_jax.models.fused_attention`
  auto        cudnn on a GPU in 16 bits where it fits, else einsum

`block.MultiHeadAttention` adds the projections.
"""

import functools
from typing import Any

from absl import logging
import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.devices.chips import tpu_by_device_kind
from vit_jax.devices.partition import by_heads, target
from vit_jax.errors import UsageError
from vit_jax.models.checks import check_choice
from vit_jax.models.fused_attention import fused_attend
from vit_jax.models.fused_plan import Plan

IMPLEMENTATIONS = ("auto", "einsum", "einsum_f32", "cudnn", "fused")
# Kernel -> the platform that has it.
KERNELS = {"cudnn": "gpu", "fused": "tpu"}


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

  `softmax_dtype` None keeps the dtype of the query, which in bfloat16 halves
  the weights. With float32 the logits are never rounded. (Paper, equation 6.)
  """
  _check_operands(query, key)
  logits = jnp.einsum(
      "bqhk,bshk->bhqs", scaled(query), key,
      preferred_element_type=softmax_dtype)
  if bias is not None:
    chex.assert_equal_shape([logits, bias])
    logits = logits + bias.astype(logits.dtype)
  return jax.nn.softmax(logits, axis=-1).astype(query.dtype)


def attend(
    query: Float[Array, "b q h k"],
    key: Float[Array, "b s h k"],
    value: Float[Array, "b s h k"],
) -> Float[Array, "b q h k"]:
  """Returns softmax(q kᵀ / sqrt(d_h)) v, divided by the sums at the end.

  Equal to `attention_weights` times v, in fewer steps: d_h numbers per query
  are divided, not s, the sums are float32, and keys come before queries in the
  logits because both products of the backward pass use that order. (Paper,
  equations 6 and 7.)
  """
  _check_operands(query, key)
  chex.assert_equal_shape([key, value])
  logits = jnp.einsum("bqhk,bshk->bhsq", scaled(query), key)
  # Any shift gives the same result; the maximum never overflows.
  shift = jax.lax.stop_gradient(jnp.max(logits, axis=2, keepdims=True))
  powers = jnp.exp(logits - shift)
  sums = jnp.sum(powers, axis=2, dtype=jnp.float32)
  heads = jnp.einsum("bhsq,bshk->bqhk", powers, value)
  return heads / sums.swapaxes(1, 2)[..., None].astype(heads.dtype)


def _check_operands(query: jax.Array, key: jax.Array) -> None:
  """Raises AssertionError unless all but the numbers of tokens agree."""
  chex.assert_rank([query, key], 4)
  chex.assert_equal_shape([query, key], dims=(0, 2, 3))


def choose_implementation(
    name: str, *, dtype: Any, head_dim: int, needs_weights: bool,
    same_tokens: bool = True,
) -> str:
  """Returns which of "einsum", "einsum_f32", "cudnn" and "fused" computes.

  A kernel that was asked for on devices that do not have it is "einsum", which
  is equal; a warning says so.

  Args:
    name: one of IMPLEMENTATIONS.
    dtype: compute dtype.
    head_dim: width of one head; cuDNN needs a multiple of 8, at most 128.
    needs_weights: the weights themselves are captured, dropped out or given a
      bias, which no fused kernel supports.
    same_tokens: queries and keys are of the same tokens.

  Raises:
    UsageError: the name is unknown, or the devices have the kernel but not for
      this dtype, this width of a head or this TPU.
  """
  check_choice("attention", name, IMPLEMENTATIONS)
  if name in ("einsum", "einsum_f32"):
    return name
  if needs_weights or (name == "fused" and not same_tokens):
    return "einsum"
  device = target()
  fits = (jnp.dtype(dtype).itemsize == 2 and head_dim % 8 == 0
          and head_dim <= 128)
  if name == "auto":
    return "cudnn" if device.platform == "gpu" and fits else "einsum"
  if device.platform != KERNELS[name]:
    logging.log_first_n(
        logging.WARNING, "attention=%s is a kernel for a %s; on %s attention "
        "is computed as einsum", 1, name, KERNELS[name].upper(),
        device.platform)
    return "einsum"
  if name == "cudnn" and not fits:
    raise UsageError(
        f"config.model.attention=cudnn needs 16 bits and heads of 8, 16, ... "
        f"128 features, not {jnp.dtype(dtype).name} and {head_dim}; use auto")
  chip = tpu_by_device_kind(device.device_kind)
  if chip and not chip.bfloat16_kernels:
    raise UsageError(
        f"config.model.attention=fused: no kernel can be compiled for "
        f"{chip.name}; use auto, einsum or einsum_f32")
  return name


def attend_by(
    implementation: str,
    query: Float[Array, "b q h k"],
    key: Float[Array, "b s h k"],
    value: Float[Array, "b s h k"],
) -> Float[Array, "b q h k"]:
  """Returns softmax(q kᵀ / sqrt(d_h)) v without forming the weights.

  Args:
    implementation: "einsum", "cudnn" or "fused", which needs the same tokens
      in queries and keys.
    query, key, value: of one dtype.
  """
  if implementation == "cudnn":
    return _attend_cudnn(query, key, value)
  if implementation == "fused":
    chip = tpu_by_device_kind(target().device_kind)
    # Exponentials in bfloat16 where the chip computes with it.
    dtype = jnp.bfloat16 if chip and chip.bfloat16_vectors else jnp.float32
    return by_heads(functools.partial(_attend_fused, vector_dtype=dtype),
                    query, key, value)
  return attend(query, key, value)


def _attend_fused(
    query: Float[Array, "b n h k"],
    key: Float[Array, "b n h k"],
    value: Float[Array, "b n h k"],
    *,
    vector_dtype: Any,
) -> Float[Array, "b n h k"]:
  """As `attend`, by the kernel for TPUs where its blocks fit."""
  if not Plan.of(query, vector_dtype).fits:
    logging.log_first_n(
        logging.WARNING, "attention=fused: %d tokens with heads of %d do not "
        "fit into a TPU's fast memory; attention is computed as einsum", 1,
        query.shape[1], query.shape[3])
    return attend(query, key, value)
  return fused_attend(query, key, value, vector_dtype)


def _attend_cudnn(
    query: Float[Array, "b q h k"],
    key: Float[Array, "b s h k"],
    value: Float[Array, "b s h k"],
) -> Float[Array, "b q h k"]:
  """As `attend`, by cuDNN's kernel.

  JAX refuses an odd number of tokens in training, as 14 x 14 patches and a
  class token are: one is added, and masked.
  """
  def even(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0)))

  def lengths(x: jax.Array) -> jax.Array:
    return jnp.full(len(x), x.shape[1], jnp.int32)

  queries, odd = query.shape[1], query.shape[1] % 2 or key.shape[1] % 2
  heads = jax.nn.dot_product_attention(
      even(query), even(key), even(value), implementation="cudnn",
      query_seq_lengths=lengths(query) if odd else None,
      key_value_seq_lengths=lengths(key) if odd else None)
  return heads[:, :queries]
