"""What the paper saw in trained networks, measured on one that all can get.

It is a DINOv2 ViT-S/14: trained without labels, by another recipe, on other
data than the paper's networks. What is seen in it holds for one trained Vision
Transformer; what is not seen there may still hold for the paper's.
"""

from collections.abc import Mapping
import importlib.util
import pathlib
from typing import Any

from jaxtyping import Float
import numpy as np

from vit_jax.analysis import attention, embeddings
from vit_jax.analysis.analyze import analyze_images, write_analysis
from vit_jax.errors import UsageError
from vit_jax.models.vit import VisionTransformer
from vit_jax.paper import dinov2
from vit_jax.weights.load import load
from vit_jax.weights.loaded import Loaded

# Photographs of one object or scene that the packages ship.
PHOTOGRAPHS = {
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
    "skimage": ("data", ("astronaut.png", "chelsea.png", "coffee.png",
                         "rocket.jpg", "motorcycle_left.png"))}
COMPONENTS = 28  # as in Figure 7


def trained_vit(out: pathlib.Path) -> dict[str, Any]:
  """Measures the network, and writes the figures of `analyze`.

  Args:
    out: folder; the weights go to its folder dinov2.

  Returns:
    "photographs" (names), "files" (paths), and the numbers of `measure`.

  Raises:
    UsageError: the packages of network or photographs are not installed.
  """
  pictures = photographs()
  loaded = load(dinov2.write_folder(dinov2.onnx_file(), out / "dinov2"),
                image_size=224)
  analysis = analyze_images(loaded, pictures.items(), batch_size=1)
  written = write_analysis(analysis, out, name="DINOv2 S/14")
  return {"photographs": list(pictures), "files": written["files"],
          **measure(loaded, pictures)}


def photographs() -> dict[str, bytes]:
  """Returns the photographs' files by name.

  Raises:
    UsageError: a package that holds some is not installed.
  """
  found = {}
  for package, (folder, names) in PHOTOGRAPHS.items():
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    if not places:
      raise UsageError(
          "the photographs are not here: pip install scikit-learn scikit-image")
    for name in names:
      found[name] = (pathlib.Path(places[0]) / folder / name).read_bytes()
  return found


def measure(loaded: Loaded, pictures: Mapping[str, bytes]) -> dict[str, Any]:
  """Returns the numbers behind Figure 7.

  Returns:
    "positions": mean cosine similarity of position embeddings; "components":
    the share of the variance of the patch embedding's filters that the first 28
    principal components explain; "distance" and "distance_with_class_token":
    mean attention distance in pixels by layer and head, without the class token
    (see `attention.mean_distance`), and with its share of the attention counted
    as a distance of zero.
  """
  model, size = loaded.model, loaded.config["image_size"]
  assert isinstance(model, VisionTransformer)
  table, = embeddings.position_tables(model, loaded.params, size).values()
  _, shares = embeddings.filter_components(
      embeddings.pixel_filters(model, loaded.params), COMPONENTS)
  grid, stride = model.grid(size), attention.stride(model)
  both: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
  for content in pictures.values():
    image = np.asarray(loaded.preprocess(content)[0])[None]
    _, aux = model.apply({"params": loaded.params}, image,
                         capture_attention=range(model.depth))
    for distances, rescaled in zip(both, (True, False), strict=True):
      distances.append(np.stack([
          np.asarray(attention.mean_distance(
              aux[f"attention{i}"], grid, stride, rescaled=rescaled))[0]
          for i in range(model.depth)]))
  without, with_token = (np.mean(distances, axis=0) for distances in both)
  return {
      "positions": position_means(embeddings.position_similarity(table)),
      "components": float(shares.sum()),
      "distance": without.tolist(),
      "distance_with_class_token": with_token.tolist()}


def position_means(
    similarity: Float[np.ndarray, "rows cols rows cols"]
) -> dict[str, float]:
  """Returns the mean similarity of neighbours, of a row, a column, and others.

  Neighbours share a side. A position is compared with others only; those of its
  row and column include the neighbours.
  """
  rows, cols = similarity.shape[:2]
  place = np.stack(np.meshgrid(
      np.arange(rows), np.arange(cols), indexing="ij"), -1).reshape(-1, 2)
  apart = np.abs(place[:, None] - place[None])
  flat = similarity.reshape(rows * cols, rows * cols)
  same_row, same_col = apart[..., 0] == 0, apart[..., 1] == 0
  groups = {
      "neighbours": apart.sum(-1) == 1, "same row": same_row & ~same_col,
      "same column": same_col & ~same_row,
      "elsewhere": ~same_row & ~same_col}
  return {name: float(flat[group].mean()) for name, group in groups.items()}
