"""Runs a network over images; writes what it attends to and has learned."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import itertools
import math
import pathlib
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, UInt8
import numpy as np
import scipy.special

from vit_jax.analysis import attention, embeddings, page, plots
from vit_jax.errors import DataError, UsageError
from vit_jax.models.vit import VisionTransformer
from vit_jax.weights.formats.atomic import write_whole

if TYPE_CHECKING:
  from vit_jax.weights.loaded import Loaded

MAX_ROLLOUTS = 32  # images in rollout.png
_TOP_K = 3  # classes shown for an image


@dataclasses.dataclass(frozen=True)
class Analysis:
  """A network, and its attention over the images that could be read.

  Attributes:
    model, params: the network.
    image_size: (height, width) of its images in pixels.
    class_names: None if they are not known.
    names: of the images.
    images: the first of them as the network saw them, for page and figures.
    distance: mean attention distance in pixels.
    rollout: share of each patch in what the head sees.
    probabilities: of the classes; None without a trained head.
    errors: (name, error) of the images that could not be read.
  """

  model: VisionTransformer
  params: Any
  image_size: tuple[int, int]
  class_names: Sequence[str] | None
  names: tuple[str, ...]
  images: UInt8[np.ndarray, "i h w 3"]
  distance: Float[np.ndarray, "n layers heads"]
  rollout: Float[np.ndarray, "n rows cols"]
  probabilities: Float[np.ndarray, "n k"] | None
  errors: tuple[tuple[str, str], ...]


def analyze_images(
    loaded: "Loaded", contents: Iterable[tuple[str, Any]], batch_size: int = 8
) -> Analysis:
  """Runs the network over images, `batch_size` at a time.

  Args:
    loaded: see `vit_jax.load`.
    contents: (name, what `loaded.preprocess` takes); read when needed.
    batch_size: the last batch is filled up, so that one compile is enough.

  Raises:
    DataError: no image could be read.
    UsageError: the network is a ResNet.
  """
  model, size = loaded.model, loaded.config["image_size"]
  if not isinstance(model, VisionTransformer):
    raise UsageError(
        f"{loaded.config['source']} is a ResNet: it has no attention and no "
        "positions to show; pass a ViT or a hybrid")
  summarize = attention.make_summarize(model, size)
  names: list[str] = []
  images: list[np.ndarray] = []
  errors: list[tuple[str, str]] = []
  parts: dict[str, list[np.ndarray]] = {
      "distance": [], "rollout": [], "logits": []}
  readable = _readable(loaded, contents, errors)
  while batch := list(itertools.islice(readable, batch_size)):
    pixels = np.zeros((batch_size, *size, 3), np.float32)
    pixels[:len(batch)] = [image for _, image in batch]
    for key, values in summarize(loaded.params, pixels).items():
      parts[key].append(np.asarray(values)[:len(batch)])
    for name, image in batch:
      if len(images) < max(page.MAX_IMAGES, MAX_ROLLOUTS):
        images.append(_bytes(image))
      names.append(name)
  if not names:
    raise DataError(
        "no image could be read" + (f"; the first: {errors[0][1]}"
                                    if errors else ": there are none"))
  results = {key: np.concatenate(values) for key, values in parts.items()}
  probabilities = None
  if model.num_classes and not loaded.config["report"].head_is_zero:
    logits = results["logits"].astype(np.float64)
    probabilities = (
        scipy.special.expit(logits) if loaded.config["loss"] == "sigmoid"
        else scipy.special.softmax(logits, axis=1))
  return Analysis(
      model, loaded.params, size, loaded.class_names, tuple(names),
      np.stack(images), results["distance"], results["rollout"], probabilities,
      tuple(errors))


def _readable(
    loaded: "Loaded", contents: Iterable[tuple[str, Any]],
    errors: list[tuple[str, str]],
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields (name, pixels in [-1, 1]); appends unreadable images to `errors`."""
  for name, content in contents:
    try:
      yield name, loaded.preprocess(content)[0]
    except DataError as error:
      text = str(error)
      errors.append((name, text if name in text else f"{name}: {text}"))


def _bytes(image: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
  """Returns pixels in [-1, 1] as 0..255."""
  return np.rint(np.clip(image * 127.5 + 127.5, 0, 255)).astype(np.uint8)


def write_analysis(
    analysis: Analysis, out: pathlib.Path, *, name: str, megabytes: float = 32,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
  """Writes analysis.npz, the figures as PNG, and attention.html.

  Args:
    analysis: see `analyze_images`.
    out: folder, made if necessary.
    name: of the network, for the titles.
    megabytes: upper bound on the size of the page, about.
    labels: the true class of an image by its name, where it is known.

  Returns:
    "files" (paths), "left_out" (sentences on what could not be shown), and
    "layers" and "pictures" (on the page).
  """
  out.mkdir(parents=True, exist_ok=True)
  left_out: list[str] = []
  components = embeddings.filter_components(
      embeddings.pixel_filters(analysis.model, analysis.params))
  similarities: dict[str, np.ndarray] = {}
  try:
    tables = embeddings.position_tables(
        analysis.model, analysis.params, analysis.image_size)
    similarities = {place: embeddings.position_similarity(table)
                    for place, table in tables.items()}
  except UsageError as error:
    left_out.append(f"no figure of position embeddings: {error}")
  arrays = _arrays(analysis, components, similarities)
  np.savez_compressed(out / "analysis.npz", allow_pickle=False, **arrays)
  figures = _figures(analysis, components, similarities, name)
  for file, figure in figures.items():
    plots.save_png(figure, out / file)
  shown = min(len(analysis.images), MAX_ROLLOUTS)
  if shown < len(analysis.names):
    left_out.append(f"rollout.png shows the first {shown} of "
                    f"{len(analysis.names)} images")
  document, layers, count = _page(
      analysis, name, megabytes, left_out, labels or {})
  write_whole(out / "attention.html", document.encode())
  files = ["analysis.npz", *figures, "attention.html"]
  return {"files": [str(out / file) for file in files], "left_out": left_out,
          "layers": layers, "pictures": count}


def _arrays(
    analysis: Analysis, components: tuple[np.ndarray, np.ndarray],
    similarities: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """Returns the arrays of analysis.npz by name."""
  arrays = {
      "names": np.asarray(analysis.names),
      "attention_distance": analysis.distance.mean(axis=0),
      "attention_distance_by_picture": analysis.distance,
      "rollout": analysis.rollout,
      "filter_components": components[0], "filter_variance": components[1],
      "stride": np.array(attention.stride(analysis.model)),
      "image_size": np.array(analysis.image_size)}
  for place, similarity in similarities.items():
    arrays[f"position_similarity{_suffix(place)}"] = similarity
  if analysis.probabilities is not None:
    arrays["probabilities"] = analysis.probabilities.astype(np.float32)
  return arrays


def _suffix(place: str) -> str:
  """Returns what a place adds to a name: "_block_0", "" for the stem."""
  return "" if place == "stem" else f"_{place.replace(' ', '_')}"


def _figures(
    analysis: Analysis, components: tuple[np.ndarray, np.ndarray],
    similarities: Mapping[str, np.ndarray], name: str,
) -> dict[str, plots.Figure]:
  """Returns the figures by file name."""
  model, size = analysis.model, analysis.image_size
  distance = analysis.distance.mean(axis=0)
  filters = ("RGB embedding filters" if model.resnet is None else
             "RGB filters of the ResNet's root")
  title = f"{name}, {len(analysis.names)} images of {size[0]}x{size[1]}"
  figures = {
      "learned.png": plots.learned_figure(
          components, filters, similarities, distance, "Attention distance"),
      "filters.png": plots.side_by_side(
          [(plots.filter_panel(*components, filters), 6.5)]),
      "attention_distance.png": plots.side_by_side(
          [(plots.distance_panel(distance, title), 6.5)])}
  for place, similarity in similarities.items():
    figures[f"position_similarity{_suffix(place)}.png"] = plots.side_by_side(
        [(plots.similarity_panel(similarity, place), 6.5)], height=5.8)
  count = min(len(analysis.images), MAX_ROLLOUTS)
  masks = np.stack([
      attention.rollout_mask(rollout, attention.stride(model), size)
      for rollout in analysis.rollout[:count]])
  labels = [_label(classes) for classes in _classes(analysis, count)]
  figures["rollout.png"] = plots.rollout_figure(
      analysis.images[:count], masks, labels)
  return figures


def _classes(
    analysis: Analysis, count: int
) -> list[list[tuple[str, float]]]:
  """Returns the most probable classes of the first `count` images."""
  if analysis.probabilities is None:
    return [[] for _ in range(count)]
  names = analysis.class_names
  return [
      [(names[i] if names else f"class {i}", float(row[i]))
       for i in np.argsort(-row, kind="stable")[:_TOP_K]]
      for row in analysis.probabilities[:count]]


def _label(classes: Sequence[tuple[str, float]]) -> str:
  """Returns the most probable class, shortened to fit under a small image."""
  if not classes:
    return ""
  name, probability = classes[0]
  name = name.split(",")[0]
  name = name if len(name) < 22 else f"{name[:20]}..."
  return f"{name} ({probability:.0%})"


def _page(
    analysis: Analysis, name: str, megabytes: float, left_out: list[str],
    labels: Mapping[str, str],
) -> tuple[str, list[int], int]:
  """Returns the page, and the layers and the number of images on it."""
  model, size = analysis.model, analysis.image_size
  grid = model.grid(size)
  tokens = math.prod(grid) + model.prefix_tokens
  count, layers = page.images_and_layers(
      layers=model.depth, heads=model.num_heads, tokens=tokens,
      images=len(analysis.names), megabytes=megabytes)
  capture = attention.make_capture(model, layers)
  images = []
  for i, classes in enumerate(_classes(analysis, count)):
    # The network sees the bytes that the page shows.
    weights = capture(analysis.params, analysis.images[i][None])
    images.append(page.image_data(
        analysis.names[i], analysis.images[i],
        [(np.asarray(levels[0]), np.asarray(largest[0]))
         for levels, largest in weights],
        analysis.rollout[i], classes, labels.get(analysis.names[i], "")))
  missing = []
  if count < len(analysis.names):
    missing.append(f"attention.html shows the first {count} of "
                   f"{len(analysis.names)} images")
  if len(layers) < model.depth:
    missing.append(
        f"attention.html shows layers {', '.join(map(str, layers))} of "
        f"{model.depth}, to stay below {megabytes:g} MB")
  left_out += missing
  facts = [
      f"{model.variant_name}: {model.depth} layers of {model.num_heads} heads;"
      f" images of {size[0]}x{size[1]} pixels in {grid[0]}x{grid[1]} patches.",
      "Pick an image, a layer and a head, and click a patch to see what it "
      "attends to.", *(f"{sentence}." for sentence in missing)]
  document = page.render_page(
      title=f"Where {name} looks", facts=facts, image_size=size, grid=grid,
      stride=attention.stride(model), tokens=tokens, layers=layers,
      distance=analysis.distance.mean(axis=0), averaged=len(analysis.names),
      images=images, axial=model.block == "axial")
  return document, layers, count
