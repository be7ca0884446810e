"""The page of a training report: pieces of HTML, made from plain data."""

import base64
from collections.abc import Mapping, Sequence
import html
import io
import json
import pathlib
import shlex
import string
from typing import Any

from jaxtyping import UInt8
import numpy as np
from PIL import Image

_SIDE = 160  # pixels of a sample's longer side on the page


def document(title: str, body: Sequence[str], readouts: Any) -> str:
  """Returns the whole page, which refers to no other file.

  Args:
    title: of the window.
    body: pieces of HTML.
    readouts: JSON of what the curves show under the pointer.
  """
  template = pathlib.Path(__file__).with_name("page.html")
  data = json.dumps(readouts, separators=(",", ":")).replace("<", "\\u003c")
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
    numbers: bool = False, dots: bool = False, kinds: Sequence[str] = (),
) -> str:
  """Returns a table in a card; the first column names the row.

  Args:
    header: names of the columns; may be empty.
    rows: texts.
    numbers: aligns all but the first column to the right.
    dots: marks each row with the colour of its curve.
    kinds: of the columns instead: "n" for numbers, "v" for values, "" for text.
  """
  width = max(map(len, [header, *rows]), default=0)
  kinds = kinds or ["", *["n" if numbers else "v"] * (width - 1)]
  classes = [f' class="{kind}"' if kind else "" for kind in kinds]
  head = "".join(
      f"<th{classes[i] if kinds[i] == 'n' else ''}>{escape(cell)}</th>"
      for i, cell in enumerate(header))
  lines = [f"<tr>{head}</tr>"] if header else []
  for i, (first, *rest) in enumerate(rows):
    dot = (f'<span class="dot" style="background:var(--c{i % 8})"></span>'
           if dots else "")
    cells = "".join(f"<td{kind}>{escape(cell)}</td>"
                    for kind, cell in zip(classes[1:], rest, strict=False))
    lines.append(f"<tr><td>{dot}{escape(first)}</td>{cells}</tr>")
  return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def origin(line: str, command: str) -> str:
  """Returns where a run comes from: a line, and a command to copy."""
  parts = [f'<p class="origin">{escape(line)}</p>' if line else ""]
  if command:
    # A line breaks between words, not at the hyphens of one.
    words = " ".join(f"<span>{escape(shlex.quote(word))}</span>"
                     for word in shlex.split(command))
    parts.append(f'<pre class="command" tabindex="0">{words}</pre>')
  return "".join(parts)


def curves(
    drawings: Sequence[str], readouts: Sequence[Mapping[str, Any]], legend: bool
) -> str:
  """Returns the panels of curves; `legend` names the colours of several runs.

  Args:
    drawings: an <svg> for each panel.
    readouts: what each shows under the pointer.
    legend: whether there are several runs.
  """
  if not drawings:
    return card("no step has been logged yet")
  panels = "".join(f'<div class="curves">{drawing}</div>'
                   for drawing in drawings)
  runs = {curve["run"]: curve["color"] for panel in readouts
          for curve in panel["curves"]} if legend else {}
  names = "".join(
      f'<span><i class="dot" style="background:var(--c{color})"></i>'
      f"{escape(run)}</span>" for run, color in runs.items())
  return card(f'{f"""<div class="legend">{names}</div>""" if names else ""}'
              f'<div class="panels">{panels}</div>')


def note(text: str) -> str:
  """Returns a remark below what it is about."""
  return f'<p class="note">{escape(text)}</p>'


def card(content: str, kind: str = "") -> str:
  """Returns content on a card."""
  return f'<div class="card{f" {kind}" if kind else ""}">{content}</div>'


def embedded(image: UInt8[np.ndarray, "h w 3"]) -> str:
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
