"""Runs a network over pictures and writes down where it looked."""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import itertools
import math
import pathlib
from typing import Any

from jaxtyping import Float, UInt8
import numpy as np

from vit_jax.analysis import attention, embeddings, page, plots
from vit_jax.errors import DataError, UsageError

MOST_ROLLOUTS = 32  # pictures in rollout.png
_CLASSES = 3


@dataclasses.dataclass(frozen=True)
class Study:
  """What was seen on the pictures that could be read.

  Attributes:
    names: of the pictures.
    images: the first of them as the network saw them, for the page.
    distance: mean attention distance in pixels.
    rollout: how much of what the head sees is due to each patch.
    probabilities: of the classes; None without a head that says anything.
    errors: (name, what is wrong) of the other pictures.
  """

  names: tuple[str, ...]
  images: UInt8[np.ndarray, "i h w 3"]
  distance: Float[np.ndarray, "n layers heads"]
  rollout: Float[np.ndarray, "n rows cols"]
  probabilities: Float[np.ndarray, "n k"] | None
  errors: tuple[tuple[str, str], ...]


def look(
    loaded: Any, pictures: Iterable[tuple[str, Any]], batch_size: int = 8
) -> Study:
  """Runs the network over pictures, `batch_size` at a time.

  Args:
    loaded: see `vit_jax.load`.
    pictures: (name, what `loaded.preprocess` takes); read as they are needed.
    batch_size: the last batch is filled up, so that one compile is enough.

  Raises:
    DataError: no picture could be read.
  """
  size = loaded.config["image_size"]
  summarize = attention.make_summarize(loaded.model, size)
  names, images, errors = [], [], []
  found = {"distance": [], "rollout": [], "logits": []}
  readable = _readable(loaded, pictures, errors)
  while batch := list(itertools.islice(readable, batch_size)):
    pixels = np.zeros((batch_size, *size, 3), np.float32)
    pixels[:len(batch)] = [values for _, values in batch]
    for key, values in summarize(loaded.params, pixels).items():
      found[key].append(np.asarray(values)[:len(batch)])
    for name, values in batch:
      if len(images) < max(page.MOST_PICTURES, MOST_ROLLOUTS):
        images.append(_bytes(values))
      names.append(name)
  if not names:
    raise DataError(
        "no picture could be read" + (f"; the first: {errors[0][1]}"
                                      if errors else ": there are none"))
  found = {key: np.concatenate(parts) for key, parts in found.items()}
  probabilities = None
  if loaded.model.num_classes and not loaded.config["report"].head_is_zero:
    logits = found["logits"].astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = odds / odds.sum(axis=1, keepdims=True)
  return Study(
      tuple(names), np.stack(images), found["distance"], found["rollout"],
      probabilities, tuple(errors))


def _readable(
    loaded: Any, pictures: Iterable[tuple[str, Any]],
    errors: list[tuple[str, str]],
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields (name, pixels in [-1, 1]), and notes what cannot be read."""
  for name, content in pictures:
    try:
      yield name, loaded.preprocess(content)[0]
    except DataError as error:
      text = str(error)
      errors.append((name, text if name in text else f"{name}: {text}"))


def _bytes(values: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
  """Returns pixels in [-1, 1] as 0..255."""
  return np.rint(np.clip(values * 127.5 + 127.5, 0, 255)).astype(np.uint8)


def write(
    loaded: Any, seen: Study, out: pathlib.Path, *, name: str,
    megabytes: float = 32,
) -> dict[str, Any]:
  """Writes analysis.npz, the PNG pictures and attention.html.

  Args:
    loaded: see `vit_jax.load`.
    seen: what `look` returned.
    out: folder, made if it is not there.
    name: what to call the checkpoint.
    megabytes: how large the page may become, about.

  Returns:
    "files" (paths), "left_out" (sentences: what could not be shown), "layers"
    and "pictures" (on the page).
  """
  out.mkdir(parents=True, exist_ok=True)
  model, size = loaded.model, loaded.config["image_size"]
  left_out = []
  components = embeddings.filter_components(
      embeddings.pixel_filters(model, loaded.params))
  similar = {}
  try:
    tables = embeddings.position_tables(model, loaded.params, size)
    similar = {where: embeddings.position_similarity(table)
               for where, table in tables.items()}
  except UsageError as error:
    left_out.append(f"no picture of position embeddings: {error}")
  np.savez_compressed(
      out / "analysis.npz", **_arrays(loaded, seen, components, similar))
  files = ["analysis.npz", *_draw(
      loaded, seen, components, similar, out, name, left_out)]
  document, layers, count = _page(loaded, seen, name, megabytes, left_out)
  (out / "attention.html").write_text(document, encoding="utf-8")
  files.append("attention.html")
  return {"files": [str(out / file) for file in files], "left_out": left_out,
          "layers": layers, "pictures": count}


def _arrays(
    loaded: Any, seen: Study, components: tuple[np.ndarray, np.ndarray],
    similar: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """Returns the arrays of analysis.npz by name."""
  arrays = {
      "names": np.asarray(seen.names),
      "attention_distance": seen.distance.mean(axis=0),
      "attention_distance_by_picture": seen.distance,
      "rollout": seen.rollout,
      "filter_components": components[0], "filter_variance": components[1],
      "stride": np.asarray(attention.stride(loaded.model)),
      "image_size": np.asarray(loaded.config["image_size"])}
  for where, values in similar.items():
    key = "" if where == "stem" else f"_{where.replace(' ', '_')}"
    arrays[f"position_similarity{key}"] = values
  if seen.probabilities is not None:
    arrays["probabilities"] = seen.probabilities.astype(np.float32)
  return arrays


def _draw(
    loaded: Any, seen: Study, components: tuple[np.ndarray, np.ndarray],
    similar: dict[str, np.ndarray], out: pathlib.Path, name: str,
    left_out: list[str],
) -> list[str]:
  """Draws the PNG pictures; returns their names."""
  model, size = loaded.model, loaded.config["image_size"]
  far = seen.distance.mean(axis=0)
  what = "RGB embedding filters"
  if model.resnet is not None:
    what = "RGB filters of the ResNet's root"
  title = f"{name}, {len(seen.names)} pictures of {size[0]}x{size[1]}"
  figures = {
      "learned.png": plots.learned(
          components, what, similar, far, "Attention distance"),
      "filters.png": plots.draw([(plots.filters(*components, what), 6.5)]),
      "attention_distance.png": plots.draw([(plots.distance(far, title), 6.5)])}
  for where, values in similar.items():
    place = "" if where == "stem" else f"_{where.replace(' ', '_')}"
    figures[f"position_similarity{place}.png"] = plots.draw(
        [(plots.similarity(values, where), 6.5)], 5.8)
  count = min(len(seen.images), MOST_ROLLOUTS)
  if count < len(seen.names):
    left_out.append(f"rollout.png shows the first {count} of "
                    f"{len(seen.names)} pictures")
  masks = np.stack([
      attention.rollout_mask(x, attention.stride(model), size)
      for x in seen.rollout[:count]])
  labels = [_label(classes) for classes in _classes(loaded, seen, count)]
  figures["rollout.png"] = plots.rollout(seen.images[:count], masks, labels)
  for file, figure in figures.items():
    plots.save(figure, out / file)
  return list(figures)


def _classes(
    loaded: Any, seen: Study, count: int
) -> list[list[tuple[str, float]]]:
  """Returns the most probable classes of the first pictures."""
  if seen.probabilities is None:
    return [[] for _ in range(count)]
  names = loaded.class_names
  return [
      [(names[i] if names else f"class {i}", float(row[i]))
       for i in np.argsort(-row, kind="stable")[:_CLASSES]]
      for row in seen.probabilities[:count]]


def _label(classes: Sequence[tuple[str, float]]) -> str:
  """Returns the first class for a small space."""
  if not classes:
    return ""
  name, probability = classes[0]
  name = name.split(",")[0]
  name = name if len(name) < 22 else f"{name[:20]}..."
  return f"{name} ({probability:.0%})"


def _page(
    loaded: Any, seen: Study, name: str, megabytes: float, left_out: list[str]
) -> tuple[str, list[int], int]:
  """Returns the page, and the layers and the number of pictures on it."""
  model, size = loaded.model, loaded.config["image_size"]
  grid = model.grid(size)
  tokens = math.prod(grid) + (model.pooling == "cls")
  count, layers = page.fitting(
      layers=model.depth, heads=model.num_heads, tokens=tokens,
      pictures=len(seen.names), megabytes=megabytes)
  capture = attention.make_capture(model, layers)
  pictures = []
  for i, classes in enumerate(_classes(loaded, seen, count)):
    # The network sees the bytes that the page shows.
    weights = capture(loaded.params, seen.images[i][None])
    pictures.append(page.picture(
        seen.names[i], seen.images[i],
        [(np.asarray(levels[0]), np.asarray(largest[0]))
         for levels, largest in weights],
        seen.rollout[i], classes))
  missing = []
  if count < len(seen.names):
    missing.append(
        f"attention.html shows the first {count} of {len(seen.names)} pictures")
  if len(layers) < model.depth:
    missing.append(
        f"attention.html shows layers {', '.join(map(str, layers))} of "
        f"{model.depth}, to stay below {megabytes:g} MB")
  left_out += missing
  facts = [
      f"{model.variant_name}: {model.depth} layers of {model.num_heads} heads;"
      f" pictures of {size[0]}x{size[1]} pixels in {grid[0]}x{grid[1]} "
      "patches.",
      "Pick a picture, a layer and a head, and click a patch to see where it "
      "looks.", *(f"{sentence}." for sentence in missing)]
  document = page.page(
      title=f"Where {name} looks", facts=facts, image_size=size, grid=grid,
      pixels=attention.stride(model), tokens=tokens, layers=layers,
      distance=seen.distance.mean(axis=0), averaged=len(seen.names),
      pictures=pictures, axial=model.block == "axial")
  return document, layers, count
