"""The figures are labelled, right side up, and in the paper's order."""

import io

import numpy as np
from PIL import Image

from vit_jax.analysis import plots


def texts(figure):
  """Returns all texts of a figure that are not empty."""
  import matplotlib.text

  return [t.get_text() for t in figure.findobj(matplotlib.text.Text)
          if t.get_text()]


def sheets(figure):
  """Returns the arrays that a figure shows, in order."""
  return [np.ma.filled(image.get_array(), np.nan)
          for axes in figure.axes for image in axes.get_images()]


def test_filters_are_laid_out_in_rows_of_seven():
  components = np.zeros((9, 4, 4, 3), np.float32)
  components[8, 0, 3] = [0.5, 0, -0.5]  # top right of the ninth
  figure = plots.side_by_side([(plots.filter_panel(
      components, np.full(9, 0.1), "Filters"), 6)])
  (sheet,) = sheets(figure)
  # Seven of 4 pixels with 1 between; the ninth is second in the second row.
  assert sheet.shape == (9, 34, 3)
  np.testing.assert_allclose(sheet[5, 8], [1, 0.5, 0])
  np.testing.assert_allclose(sheet[5:, 5:8], 0.5)
  assert "first 9 principal components, 90% of the variance" in texts(
      figure)[0]


def test_similarity_tiles_are_where_their_patches_are():
  similar = np.zeros((2, 3, 2, 3), np.float32)
  similar[1, 2, 0, 2] = 1  # the bottom right tile, its top right patch
  figure = plots.side_by_side([(plots.similarity_panel(similar), 6)])
  sheet = sheets(figure)[0]
  assert sheet.shape == (2 * 3 - 1, 3 * 4 - 1)
  assert np.isnan(sheet[2]).all()
  assert np.argwhere(sheet == 1).tolist() == [[3, 10]]
  assert figure.axes[0].yaxis_inverted()  # Row 0 is at the top.
  assert {"input patch row", "input patch column", "cosine similarity"} <= set(
      texts(figure))


def test_every_head_is_a_dot_at_its_layer():
  far = np.array([[1.0, 9.0], [5.0, 6.0], [8.0, 8.0]])
  figure = plots.side_by_side([(plots.distance_panel(far, "Tiny"), 6)])
  heads = figure.axes[0].collections
  np.testing.assert_allclose(
      heads[1].get_offsets(), [[0, 9], [1, 6], [2, 8]])
  assert figure.axes[0].get_ylim()[0] == 0
  assert {"head 0", "head 1", "network depth (layer)",
          "mean attention distance (pixels)"} <= set(texts(figure))


def test_rollouts_stand_right_of_their_images(tmp_path):
  images = np.full((5, 8, 16, 3), 200, np.uint8)
  images[:, :4] = 0
  masks = np.ones((5, 8, 16), np.float32)
  masks[3, 4:, 8:] = 0
  figure = plots.rollout_figure(images, masks, [f"image {i}" for i in range(5)])
  shown = sheets(figure)
  assert len(shown) == 10
  np.testing.assert_array_equal(shown[6], images[3])
  np.testing.assert_allclose(
      shown[7], images[3] / 255 * masks[3][..., None])
  boxes = [axes.get_position() for axes in figure.axes]
  assert boxes[7].x0 > boxes[6].x1
  assert boxes[8].y1 < boxes[0].y0  # The fifth begins a second row.
  assert boxes[8].x0 == boxes[0].x0
  assert all(box.y1 < 1 for box in boxes)
  assert texts(figure).count("Attention") == 4
  plots.save_png(figure, tmp_path / "rollout.png")
  pixels = np.asarray(Image.open(tmp_path / "rollout.png").convert("L"))
  top, bottom = (pixels[int(len(pixels) * (1 - y))][
      int(pixels.shape[1] * (boxes[0].x0 + boxes[0].x1) / 2)] for y in (
          boxes[0].y1 - 0.05, boxes[0].y0 + 0.05))
  assert top < 20
  assert 180 < bottom < 220


def test_figure_seven_has_three_panels_two_without_positions():
  components = np.random.default_rng(0).normal(size=(28, 4, 4, 3))
  parts = (components, np.full(28, 0.03)), "Filters"
  far = np.ones((2, 20))
  figure = plots.learned_figure(
      *parts, {"stem": np.eye(6).reshape(2, 3, 2, 3)}, far,
      "Attention distance")
  assert len(figure.subfigs) == 3
  # Twenty heads would be more legend than figure.
  assert "head 0" not in texts(figure)[-5:]
  assert figure.axes[-1].get_legend() is None
  assert len(plots.learned_figure(*parts, {}, far, "").subfigs) == 2
  buffer = io.BytesIO()
  plots.save_png(figure, buffer)
  assert Image.open(io.BytesIO(buffer.getvalue())).size[0] > 1500
