"""A page to explore attention: pick an image, a layer, a head and a patch.

One file with everything in it, which opens from a disk without a server. It
holds each attention weight in one byte (see `attention.quantise`), compressed.
"""

import base64
from collections.abc import Mapping, Sequence
import gzip
import html
import io
import json
import pathlib
import re
from typing import Any

from jaxtyping import Float, UInt8
import numpy as np
from PIL import Image

MAX_IMAGES = 48
_LOSSLESS = 96  # largest side, in pixels, of an image stored without loss
_TEMPLATE = pathlib.Path(__file__).with_name("page.html")


def images_and_layers(
    *, layers: int, heads: int, tokens: int, images: int, megabytes: float
) -> tuple[int, list[int]]:
  """Returns how many images and which layers fit on a page.

  All layers of as many images as fit; if one image alone is too large, some of
  its layers, evenly spread, with the first and the last among them.
  """
  budget = megabytes * 1e6
  layer_bytes = heads * tokens * (tokens + 4)
  count = int(budget // (layer_bytes * layers))
  if count:
    return min(count, images, MAX_IMAGES), list(range(layers))
  num_layers = max(1, int(budget // layer_bytes))
  if num_layers == 1:
    return min(1, images), [layers - 1]
  spread = np.linspace(0, layers - 1, num_layers).round().astype(int)
  return min(1, images), sorted(set(spread.tolist()))


def image_data(
    name: str,
    image: UInt8[np.ndarray, "h w 3"],
    attention: Sequence[tuple[np.ndarray, np.ndarray]],
    rollout: Float[np.ndarray, "rows cols"],
    classes: Sequence[tuple[str, float]] = (),
    label: str = "",
) -> dict[str, Any]:
  """Returns one image of the page, with its attention, as plain data.

  Args:
    name: of the image.
    image: as the network saw it.
    attention: (levels (h n n), largest (h n)) of each layer on the page, see
      `attention.quantise`.
    rollout: attention rollout.
    classes: the predicted classes, with probabilities.
    label: the true class, "" if it is not known.
  """
  return {
      "name": name, "image": _data_url(image), "label": label,
      "classes": [[label, round(float(p), 4)] for label, p in classes],
      "rollout": [
          round(float(x), 4) for x in (rollout / rollout.max()).ravel()],
      "attention": [_packed(*layer) for layer in attention]}


def _packed(
    levels: UInt8[np.ndarray, "h n n"], largest: Float[np.ndarray, "h n"]
) -> str:
  """Returns `largest` as float32, then `levels`, compressed, as base64."""
  content = np.asarray(largest, "<f4").tobytes() + levels.tobytes()
  return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def _data_url(image: UInt8[np.ndarray, "h w 3"]) -> str:
  """Returns an image as a data: URL; small ones without loss."""
  kind = "png" if max(image.shape[:2]) <= _LOSSLESS else "jpeg"
  buffer = io.BytesIO()
  Image.fromarray(image).save(
      buffer, kind, **({"quality": 90} if kind == "jpeg" else {}))
  data = base64.b64encode(buffer.getvalue()).decode()
  return f"data:image/{kind};base64,{data}"


def render_page(
    *, title: str, facts: Sequence[str], image_size: Sequence[int],
    grid: tuple[int, int], stride: tuple[int, int], tokens: int,
    layers: Sequence[int], distance: Float[np.ndarray, "layers heads"],
    averaged: int, images: Sequence[Mapping[str, Any]], axial: bool = False,
) -> str:
  """Returns the whole document.

  Args:
    title: heading.
    facts: lines below it.
    image_size: (height, width) of the images.
    grid: rows and columns of patches.
    stride: pixels from one patch to the next, down and to the right.
    tokens: n, including those before the patches.
    layers: numbers of the layers on the page.
    distance: mean attention distance of all layers, in pixels.
    averaged: number of images that it is the mean of.
    images: see `image_data`.
    axial: whether the attention of a layer combines that of rows and columns.
  """
  content = json.dumps({
      "size": list(image_size), "grid": list(grid), "stride": list(stride),
      "tokens": tokens, "layers": list(layers), "axial": axial,
      "distance": np.asarray(distance).round(2).tolist(),
      "averaged": averaged, "images": list(images),
  }, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
  lines = "".join(f"<p>{html.escape(line)}</p>" for line in facts)
  values = {"TITLE": html.escape(title), "FACTS": lines, "DATA": content}
  # In one pass: an @DATA@ inside of a value is text.
  return re.sub("@(TITLE|FACTS|DATA)@", lambda match: values[match[1]],
                _TEMPLATE.read_text(encoding="utf-8"))
