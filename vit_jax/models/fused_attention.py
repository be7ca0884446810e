"""Attention as one kernel for TPUs: scores never leave the fast memory.

XLA writes the weights of every head to HBM and reads them back several times;
at 577 tokens that takes twice as long as the arithmetic (docs/estimates.md).
ViT's rows are short, so a whole row of scores fits into fast memory (VMEM):
no running maximum is needed, no length is padded to a block, and the backward
pass forms the scores again from queries, keys and values, which is all that is
kept for it.

Operands stay as the projections write them, (b n h k) with the heads side by
side: no transposition. A program takes whole groups of 128 lanes: two heads of
64. A head is picked from its lanes by a mask on one factor of each product,
which is free where a matrix unit has 128 columns anyway.
"""

from collections.abc import Callable, Sequence
import functools
import math
from typing import Any

import chex
import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.models.fused_plan import LANES, Plan

_ROWS_BY_ROWS = (((1,), (1,)), ((), ()))  # a bᵀ
_COLUMNS_BY_ROWS = (((0,), (0,)), ((), ()))  # aᵀ b


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def fused_attend(
    query: Float[Array, "b n h k"],
    key: Float[Array, "b n h k"],
    value: Float[Array, "b n h k"],
    vector_dtype: Any = jnp.float32,
) -> Float[Array, "b n h k"]:
  """Returns softmax(q kᵀ / sqrt(d_h)) v of each head, on one device.

  Products take the operands' dtype and are summed in float32. (Paper,
  equations 6 and 7; `attention.attend` is the same in XLA.)

  Args:
    query, key, value: of the same tokens.
    vector_dtype: of the exponentials: float32, or bfloat16 on chips whose
      vector units compute in it.
  """
  return _forward(query, key, value, vector_dtype)


def _forward(
    query: jax.Array, key: jax.Array, value: jax.Array, vector_dtype: Any
) -> jax.Array:
  plan = Plan.of(query, vector_dtype)
  return _call(_forward_kernel, plan, (query, key, value), results=1,
               products=2)[0]


def _keep(
    query: jax.Array, key: jax.Array, value: jax.Array, vector_dtype: Any
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  return _forward(query, key, value, vector_dtype), (query, key, value)


def _backward(
    vector_dtype: Any, kept: tuple[jax.Array, ...], gradient: jax.Array
) -> tuple[jax.Array, ...]:
  plan = Plan.of(gradient, vector_dtype)
  sums = [pltpu.VMEM((plan.tokens, plan.lanes), jnp.float32)] * 2
  return _call(_backward_kernel, plan, (*kept, gradient), results=3,
               products=5, scratch=sums if plan.tile < plan.tokens else [])


fused_attend.defvjp(_keep, _backward)


def _call(
    kernel: Callable[..., None], plan: Plan, operands: tuple[jax.Array, ...],
    *, results: int, products: int, scratch: Sequence[Any] = (),
) -> tuple[jax.Array, ...]:
  """Runs a kernel over all images and heads.

  Args:
    kernel: (references to operands and results, plan).
    operands: each (b n h k).
    results: number of results, each (b n h k).
    products: matrix products of n x n x k a head, for the compiler's costs.
    scratch: fast memory of its own.
  """
  chex.assert_equal_shape(operands)
  flat = (plan.batch, plan.tokens, plan.heads * plan.dim)
  block = pl.BlockSpec((plan.images, plan.tokens, plan.lanes),
                       lambda image, group: (image, 0, group))
  scores = plan.batch * plan.heads * plan.tokens**2
  size = math.prod(flat) * jnp.dtype(plan.dtype).itemsize
  outs = pl.pallas_call(
      functools.partial(kernel, plan=plan),
      grid=(plan.batch // plan.images, plan.heads // plan.group),
      in_specs=[block] * len(operands), out_specs=[block] * results,
      scratch_shapes=scratch,
      out_shape=[jax.ShapeDtypeStruct(flat, plan.dtype)] * results,
      compiler_params=pltpu.CompilerParams(
          dimension_semantics=("parallel", "parallel")),
      cost_estimate=pl.CostEstimate(
          flops=2 * products * scores * plan.dim, transcendentals=scores,
          bytes_accessed=(len(operands) + results) * size),
      name=kernel.__name__.strip("_"),
  )(*(x.astype(plan.dtype).reshape(flat) for x in operands))
  shape = (plan.batch, plan.tokens, plan.heads, plan.dim)
  return tuple(x.reshape(shape) for x in outs)


def _forward_kernel(q_ref: Any, k_ref: Any, v_ref: Any, out_ref: Any, *,
                    plan: Plan) -> None:
  """Writes the outputs of some images and heads: a row of scores a query."""
  for image in range(plan.images):

    def attend(tile: Any, image: int = image) -> None:
      outputs = _Lanes()
      for first, window in plan.windows():
        query = _head(q_ref[image, tile, window], first, window, plan)
        scores = _product(plan.scaled(query), k_ref[image, :, window],
                          _ROWS_BY_ROWS)
        shifted = scores - jnp.max(scores, axis=1, keepdims=True)
        powers = jnp.exp(shifted.astype(plan.vector_dtype))
        sums = jnp.sum(powers, axis=1, keepdims=True, dtype=jnp.float32)
        value = _head(v_ref[image, :, window], first, window, plan)
        outputs.add(window, _product(powers.astype(plan.dtype), value) / sums)
      outputs.write(out_ref, image, tile)

    plan.for_each_tile(attend)


def _backward_kernel(
    q_ref: Any, k_ref: Any, v_ref: Any, gradient_ref: Any,
    dq_ref: Any, dk_ref: Any, dv_ref: Any, *sums: Any, plan: Plan,
) -> None:
  """Writes the gradients of some images and heads.

  Scores have keys as rows and queries as columns: of the five products only
  the queries' gradient then needs a transposed factor. `sums` are of the keys'
  and values' gradients over the tiles, where there are several.
  """
  for image in range(plan.images):
    for each in sums:
      each[...] = jnp.zeros_like(each)

    def differentiate(tile: Any, image: int = image) -> None:
      dq, dk, dv = _Lanes(), _Lanes(), _Lanes()
      for first, window in plan.windows():
        head = functools.partial(
            _head, first=first, window=window, plan=plan)
        query = plan.scaled(head(q_ref[image, tile, window]))
        gradient = head(gradient_ref[image, tile, window])
        scores = _product(k_ref[image, :, window], query, _ROWS_BY_ROWS)
        shifted = scores - jnp.max(scores, axis=0, keepdims=True)
        powers = jnp.exp(shifted.astype(plan.vector_dtype))
        total = jnp.sum(powers, axis=0, keepdims=True, dtype=jnp.float32)
        weights = powers * (1 / total).astype(plan.vector_dtype)
        dv.add(window, _product(weights.astype(plan.dtype), gradient))
        # Of the weights, then of the scores: dS = P (dP - sum P dP).
        dweights = _product(v_ref[image, :, window], gradient, _ROWS_BY_ROWS)
        mean = jnp.sum(weights * dweights, axis=0, keepdims=True)
        dscores = (weights * (dweights - mean).astype(plan.vector_dtype)
                   ).astype(plan.dtype)
        dk.add(window, _product(dscores, query))
        dq.add(window, _product(dscores, head(k_ref[image, :, window]),
                                _COLUMNS_BY_ROWS) / math.sqrt(plan.dim))
      dq.write(dq_ref, image, tile)
      for found, ref, summed in zip((dk, dv), (dk_ref, dv_ref),
                                    sums or (None, None), strict=True):
        if summed is None:
          found.write(ref, image, tile)
        else:
          found.write(summed, slice(None), add=True)

    plan.for_each_tile(differentiate)
    for each, ref in zip(sums, (dk_ref, dv_ref), strict=False):
      ref[image] = each[...].astype(ref.dtype)


def _head(x: jax.Array, first: int, window: slice, plan: Plan) -> jax.Array:
  """Returns a window of lanes with those of all other heads set to zero."""
  if plan.dim == window.stop - window.start:
    return x
  lane = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1) + window.start
  return jnp.where((lane >= first) & (lane < first + plan.dim), x,
                   jnp.zeros_like(x))


def _product(
    left: jax.Array, right: jax.Array,
    dimensions: Any = (((1,), (0,)), ((), ())),
) -> jax.Array:
  """Returns a matrix product, summed in float32.

  Of bfloat16 it is exact; the compiler refuses a higher precision there, which
  jax_default_matmul_precision may ask for.
  """
  precision = (jax.lax.Precision.DEFAULT if left.dtype == jnp.bfloat16
               else None)
  return jax.lax.dot_general(
      left, right, dimensions, precision=precision,
      preferred_element_type=jnp.float32)


class _Lanes:
  """Sums of windows that overlap, by groups of 128 lanes."""

  def __init__(self) -> None:
    self._sums: dict[tuple[int, int], jax.Array] = {}

  def add(self, window: slice, x: jax.Array) -> None:
    """Adds a window (rows, lanes)."""
    for start in range(window.start, window.stop, LANES):
      stop = min(start + LANES, window.stop)
      part = x[:, start - window.start:stop - window.start]
      lanes = (start, stop)
      self._sums[lanes] = self._sums[lanes] + part if (
          lanes in self._sums) else part

  def write(self, ref: Any, *index: Any, add: bool = False) -> None:
    """Writes all lanes of ref[index], or adds them to what is there."""
    for (start, stop), total in self._sums.items():
      where = (*index, slice(start, stop))
      ref[where] = total.astype(ref.dtype) + (ref[where] if add else 0)
