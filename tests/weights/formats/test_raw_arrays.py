import ml_dtypes
import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats import raw_arrays
from vit_jax.weights.formats.raw_arrays import Span


def test_read_spans_are_aligned_and_in_native_order(tmp_path):
  path = tmp_path / "file"
  want = np.arange(12, dtype=">f4").reshape(3, 4)
  path.write_bytes(b"??" + want.tobytes() + want.tobytes("F"))
  got = raw_arrays.read_spans(path, {
      "c": Span(2, want.dtype, (3, 4)),
      "f": Span(50, want.dtype, (3, 4), fortran_order=True),
      "scalar": Span(6, want.dtype, ())})
  np.testing.assert_array_equal(got["c"], want)
  np.testing.assert_array_equal(got["f"], want)
  assert got["scalar"] == 1 and got["c"].dtype.isnative
  native = raw_arrays.read_spans(path, {"x": Span(2, np.dtype("<f4"), (3, 4))})
  assert native["x"].ctypes.data % 64 == 0


def test_read_spans_says_which_arrays_are_cut(tmp_path):
  path = tmp_path / "file"
  path.write_bytes(bytes(8))
  spans = {"whole": Span(0, np.dtype("<f4"), (2,)),
           "cut": Span(4, np.dtype("<f4"), (2,))}
  with pytest.raises(CheckpointError, match=r"damaged: cut cannot"):
    raw_arrays.read_spans(path, spans)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_arrays_are_named(dtype, value):
  good = np.ones((3, 5), dtype)
  bad = good.copy()
  bad[1, 2] = value
  raw_arrays.refuse_non_finite("f", {"good": good})
  with pytest.raises(CheckpointError, match="f: NaN or infinity in bad;"):
    raw_arrays.refuse_non_finite("f", {"good": good, "bad": bad})


def test_a_sum_that_overflows_is_no_infinity():
  raw_arrays.refuse_non_finite(
      "f", {"large": np.full(4, 3e38, np.float32), "ints": np.arange(3)})
