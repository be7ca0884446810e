"""The page of a training report: pieces of HTML, made from plain data."""

import base64
from collections.abc import Mapping, Sequence
import html
import io
import json
import pathlib
import string
from typing import Any

from jaxtyping import Float, Int, UInt8
import numpy as np
from PIL import Image

_SIDE = 160  # pixels of a sample's longer side on the page
_GUESSES = 3


def document(title: str, body: Sequence[str], readouts: Any) -> str:
  """Returns the whole page, which refers to no other file.

  Args:
    title: of the window.
    body: pieces of HTML.
    readouts: JSON of what the curves show under the pointer.
  """
  template = pathlib.Path(__file__).with_name("page.html")
  data = json.dumps(readouts, separators=(",", ":")).replace("</", "<\\/")
  return string.Template(template.read_text(encoding="utf-8")).substitute(
      title=escape(title), body="\n".join(body), readouts=data)


def escape(text: Any) -> str:
  """Returns text as HTML."""
  return html.escape(str(text))


def tiles(values: Sequence[tuple[str, str, str]]) -> str:
  """Returns the row of large numbers: (name, value, what it is of)."""
  cells = "".join(
      f'<div class="card tile"><div class="name">{escape(name)}</div>'
      f'<div class="value">{escape(value)}</div>'
      f'<div class="more">{escape(more)}</div></div>'
      for name, value, more in values)
  return f'<div class="tiles">{cells}</div>'


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *,
    numbers: bool = False, dots: bool = False,
) -> str:
  """Returns a table in a card; the first column names the row.

  Args:
    header: names of the columns; may be empty.
    rows: texts.
    numbers: aligns all but the first column to the right.
    dots: marks each row with the colour of its curve.
  """
  kind = ' class="n"' if numbers else ' class="v"'
  head = "".join(
      f"<th{kind if numbers and i else ''}>{escape(cell)}</th>"
      for i, cell in enumerate(header))
  lines = [f"<tr>{head}</tr>"] if header else []
  for i, (first, *rest) in enumerate(rows):
    dot = (f'<span class="dot" style="background:var(--c{i % 8})"></span>'
           if dots else "")
    cells = "".join(f"<td{kind}>{escape(cell)}</td>" for cell in rest)
    lines.append(f"<tr><td>{dot}{escape(first)}</td>{cells}</tr>")
  return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def card(content: str, kind: str = "") -> str:
  """Returns content on a card."""
  return f'<div class="card {kind}">{content}</div>'


def samples(
    images: UInt8[np.ndarray, "n h w 3"], labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n k"],
    class_names: Sequence[str] | None,
) -> str:
  """Returns the images with their predictions; wrong ones are marked."""
  guesses = np.argsort(-probabilities, axis=1, kind="stable")[:, :_GUESSES]
  wrong = int(np.sum(guesses[:, 0] != labels))

  def name(label: int) -> str:
    return escape(class_names[label] if class_names else f"class {label}")

  cards = []
  for image, label, order, row in zip(
      images, labels, guesses, probabilities, strict=True):
    right = order[0] == label
    verdict = (f"✓ {name(label)}" if right
               else f"✗ {name(order[0])} (true: {name(label)})")
    bars = "".join(
        f'<div class="guess{" true" if guess == label else ""}">'
        f"<b>{name(guess)}</b><span>{row[guess]:.1%}</span>"
        f'<u style="--p:{row[guess]:.1%}"></u></div>' for guess in order)
    cards.append(
        f'<div class="card sample {"right" if right else "wrong"}">'
        f'{_embedded(image)}<div class="prediction">'
        f'<div class="verdict">{verdict}</div>{bars}</div></div>')
  only = ('<label class="only"><input type="checkbox"> wrong ones only'
          "</label>" if 0 < wrong < len(labels) else "")
  return (f"<section><h2>Samples<small>{len(labels)} images, {wrong} wrong"
          f'</small>{only}</h2><div class="samples">{"".join(cards)}</div>'
          "</section>")


def _embedded(image: UInt8[np.ndarray, "h w 3"]) -> str:
  """Returns an <img> with the image inside: JPEG, small ones as PNG."""
  thumbnail = Image.fromarray(image)
  tiny = max(thumbnail.size) < _SIDE // 2
  thumbnail.thumbnail((_SIDE * 2, _SIDE * 2))
  buffer = io.BytesIO()
  kind = "png" if tiny else "jpeg"
  thumbnail.save(buffer, kind, quality=85)  # PNG has no quality.
  data = base64.b64encode(buffer.getvalue()).decode()
  return (f'<img{" class=tiny" if tiny else ""} alt="" '
          f'src="data:image/{kind};base64,{data}">')


def config_tables(sections: Mapping[str, Any]) -> str:
  """Returns the config, one table for each section, collapsed."""
  parts = []
  for name, values in sections.items():
    flat = flatten(values if isinstance(values, Mapping) else {"": values})
    if flat:
      rows = [(key, json.dumps(value)) for key, value in flat.items()]
      parts.append(f"<div><h3>{escape(name)}</h3>{table((), rows)}</div>")
  return collapsible("Config", "resolved, every key",
                     f'<div class="columns">{"".join(parts)}</div>')


def collapsible(title: str, more: str, content: str) -> str:
  """Returns content that opens on a click."""
  return (f'<details class="card"><summary>{escape(title)}'
          f"<small>{escape(more)}</small></summary>{content}</details>")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns {"a.b": value} of nested dictionaries."""
  flat: dict[str, Any] = {}
  for key, value in values.items():
    if isinstance(value, Mapping):
      flat |= flatten(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat
