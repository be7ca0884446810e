"""How the attention kernel divides its work: programs, tiles and lanes."""

from collections.abc import Callable, Iterator
import dataclasses
import math
from typing import Any

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp

LANES = 128  # Of a vector register, and so of a block.
# Scores, weights and their gradients for one tile of queries: with the blocks
# it stays below the 16 MiB that the compiler grants a kernel.
_TILE_BYTES = 6 * 2**20
_BYTES_PER_SCORE = 16
_MOST_BYTES = 14 * 2**20
_LEAST_ROWS = 8  # Of a tile: the compiler stumbles over one of a single query.
# Written out one after another in a program: more of them hide the start of a
# program, and take longer to compile.
_MOST_HEADS = 16
_TOKENS = 1024


@dataclasses.dataclass(frozen=True)
class Plan:
  """How the work on (b n h k) is divided.

  Attributes:
    batch, tokens, heads, dim: b, n, h and k.
    images: that a program takes.
    group: heads that a program takes.
    tile: queries whose scores are in fast memory at a time.
    dtype: of operands and results.
    vector_dtype: see `fused_attend`.
  """

  batch: int
  tokens: int
  heads: int
  dim: int
  images: int
  group: int
  tile: int
  dtype: Any
  vector_dtype: Any

  @classmethod
  def of(cls, x: jax.Array, vector_dtype: Any) -> "Plan":
    """Returns the plan for operands such as x."""
    batch, tokens, heads, dim = x.shape
    group = LANES // math.gcd(LANES, dim)
    if heads % group:
      group = heads
    most = max(1, min(_TOKENS // tokens, _MOST_HEADS // group))
    images = max(n for n in range(1, most + 1) if batch % n == 0)
    rows = _TILE_BYTES // (_BYTES_PER_SCORE * tokens)
    tile = tokens if rows >= tokens else max(LANES, rows // LANES * LANES)
    return cls(batch, tokens, heads, dim, images, group, tile, x.dtype,
               jnp.dtype(vector_dtype) if x.dtype == jnp.bfloat16
               else jnp.dtype(jnp.float32))

  @property
  def lanes(self) -> int:
    """Width of a block."""
    return self.group * self.dim

  @property
  def fits(self) -> bool:
    """Whether the backward pass fits into 16 MiB of fast memory.

    It has seven blocks, twice each, two sums where there are several tiles,
    and the scores of one.
    """
    numbers = self.images * self.tokens * self.lanes
    blocks = 2 * 7 * numbers * jnp.dtype(self.dtype).itemsize
    sums = 2 * 4 * self.tokens * self.lanes * (self.tile < self.tokens)
    scores = _BYTES_PER_SCORE * self.tokens * self.tile
    return blocks + sums + scores <= _MOST_BYTES

  def scaled(self, x: jax.Array) -> jax.Array:
    """Returns x / sqrt(d_h), computed in float32 and rounded once."""
    return (x.astype(jnp.float32) / math.sqrt(self.dim)).astype(self.dtype)

  def for_each_tile(self, work: Callable[[Any], None]) -> None:
    """Calls work(queries) for each tile; the last may be shorter.

    Whole tiles are a loop, so that the program stays short.
    """
    whole, rest = divmod(self.tokens, self.tile)
    if 0 < rest < _LEAST_ROWS:
      whole, rest = whole - 1, rest + self.tile

    @pl.loop(0, whole if whole > 1 else 0)
    def _(index: Any) -> None:
      work(pl.ds(pl.multiple_of(index * self.tile, LANES), self.tile))

    if whole == 1:
      work(slice(0, self.tile))
    if rest:
      work(slice(whole * self.tile, self.tokens))

  def windows(self) -> Iterator[tuple[int, slice]]:
    """Yields (first lane, whole groups of lanes around it) of each head."""
    for head in range(self.group):
      first = head * self.dim
      start = first // LANES * LANES
      stop = -(-(first + self.dim) // LANES) * LANES
      yield first, slice(start, min(stop, self.lanes))
