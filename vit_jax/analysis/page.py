"""A page where a person picks a picture, layer, head and patch and looks.

One file with everything in it, which opens from a disk without a server.
Attention travels as one byte a weight (see `attention.quantise`), compressed.
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

MOST_PICTURES = 48
_SMALL = 96  # pixels up to which a picture is stored exactly
_TEMPLATE = pathlib.Path(__file__).with_name("page.html")


def fitting(
    *, layers: int, heads: int, tokens: int, pictures: int, megabytes: float
) -> tuple[int, list[int]]:
  """Returns how many pictures and which layers fit on a page.

  All layers of as many pictures as fit; where one picture alone is too large,
  layers of it, evenly spread, the first and the last among them.
  """
  budget = megabytes * 1e6
  layer = heads * tokens * (tokens + 4)
  count = int(budget // (layer * layers))
  if count:
    return min(count, pictures, MOST_PICTURES), list(range(layers))
  some = max(1, int(budget // layer))
  if some == 1:
    return min(1, pictures), [layers - 1]
  spread = np.linspace(0, layers - 1, some).round().astype(int)
  return min(1, pictures), sorted(set(spread.tolist()))


def picture(
    name: str,
    image: UInt8[np.ndarray, "h w 3"],
    attention: Sequence[tuple[np.ndarray, np.ndarray]],
    seen: Float[np.ndarray, "rows cols"],
    classes: Sequence[tuple[str, float]] = (),
) -> dict[str, Any]:
  """Returns one picture of the page as plain data.

  Args:
    name: of the picture.
    image: as the network saw it.
    attention: (levels (h n n), largest (h n)) of each layer on the page, see
      `attention.quantise`.
    seen: attention rollout.
    classes: what was predicted, with probabilities.
  """
  return {
      "name": name, "image": _data_url(image),
      "classes": [[label, round(float(p), 4)] for label, p in classes],
      "rollout": [round(float(x), 4) for x in (seen / seen.max()).ravel()],
      "attention": [_packed(*layer) for layer in attention]}


def _packed(
    levels: UInt8[np.ndarray, "h n n"], largest: Float[np.ndarray, "h n"]
) -> str:
  """Returns float32 `largest`, then `levels`, compressed, as base64."""
  content = np.asarray(largest, "<f4").tobytes() + levels.tobytes()
  return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def _data_url(image: UInt8[np.ndarray, "h w 3"]) -> str:
  """Returns a picture as text: small ones exactly."""
  kind = "png" if max(image.shape[:2]) <= _SMALL else "jpeg"
  buffer = io.BytesIO()
  Image.fromarray(image).save(
      buffer, kind, **({"quality": 90} if kind == "jpeg" else {}))
  data = base64.b64encode(buffer.getvalue()).decode()
  return f"data:image/{kind};base64,{data}"


def page(
    *, title: str, facts: Sequence[str], image_size: Sequence[int],
    grid: tuple[int, int], pixels: tuple[int, int], tokens: int,
    layers: Sequence[int], distance: Float[np.ndarray, "layers heads"],
    averaged: int, pictures: Sequence[Mapping[str, Any]], axial: bool = False,
) -> str:
  """Returns the whole document.

  Args:
    title: heading.
    facts: lines below it.
    image_size: (height, width) of the pictures.
    grid: rows and columns of patches.
    pixels: height and width of a patch in the picture.
    tokens: n, those before the patches included.
    layers: numbers of the layers on the page.
    distance: mean attention distance of all layers, in pixels.
    averaged: pictures that it is the mean of.
    pictures: see `picture`.
    axial: whether a layer's attention is that of rows and columns in one.
  """
  content = json.dumps({
      "size": list(image_size), "grid": list(grid), "pixels": list(pixels),
      "tokens": tokens, "layers": list(layers), "axial": axial,
      "distance": np.asarray(distance).round(2).tolist(),
      "averaged": averaged, "pictures": list(pictures),
  }, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
  lines = "".join(f"<p>{html.escape(line)}</p>" for line in facts)
  values = {"TITLE": html.escape(title), "FACTS": lines, "DATA": content}
  # In one go: a name with an @ in it is no mark.
  return re.sub("@(TITLE|FACTS|DATA)@", lambda mark: values[mark[1]],
                _TEMPLATE.read_text(encoding="utf-8"))
