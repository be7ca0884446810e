"""The part of a report about predictions: pictures, classes, confusions."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Bool, Float, Int, UInt8
import numpy as np

from vit_jax.report.page import card, embedded, escape, table

_GUESSES = 3
MOST_IN_MATRIX = 20  # classes; of more, a table of pairs is readable
MOST_ROWS = 20


def pictures(
    images: UInt8[np.ndarray, "n h w 3"], labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n k"],
    class_names: Sequence[str] | None,
    names: Sequence[str] | None = None,
    mistakes: Bool[np.ndarray, " n"] | None = None,
    note: str = "the surest first",
) -> str:
  """Returns the images with their predictions, mistakes first.

  Args:
    images, labels, probabilities: see `vit_jax.report.facts.RunFacts`.
    class_names: None if they are not known.
    names: of the images' files; None if they are not known.
    mistakes: the images that were chosen because they are wrong; None for none.
    note: on the mistakes.
  """
  wrong = probabilities.argmax(axis=1) != labels
  cards = [
      _picture(image, label, row, class_names,
               None if names is None else str(names[i]))
      for i, (image, label, row) in enumerate(
          zip(images, labels, probabilities, strict=True))]
  # Those that later weights get right are samples like others.
  chosen = wrong & (False if mistakes is None else mistakes)
  parts = []
  for title, small, kept in (
      ("Mistakes", note, np.flatnonzero(chosen)),
      ("Samples", "", np.flatnonzero(~chosen))):
    if not len(kept):
      continue
    # Of the images spread over the split, too, wrong ones come first.
    kept = kept[np.argsort(~wrong[kept], kind="stable")]
    small = small or f"{len(kept)} images, {int(wrong[kept].sum())} wrong"
    parts.append(
        f"<section><h2>{title}<small>{escape(small)}</small></h2>"
        f'<div class="samples">{"".join(cards[i] for i in kept)}</div>'
        "</section>")
  return "".join(parts)


def _picture(
    image: UInt8[np.ndarray, "h w 3"], label: int,
    row: Float[np.ndarray, " k"], class_names: Sequence[str] | None,
    file: str | None,
) -> str:
  """Returns an image, what it was taken for, and the next best classes."""
  def name(k: int) -> str:
    return escape(class_names[k] if class_names else f"class {k}")

  guesses = np.argsort(-row, kind="stable")[:_GUESSES]
  right = guesses[0] == label
  verdict = (f"✓ {name(label)}" if right
             else f"✗ {name(guesses[0])} (true: {name(label)})")
  bars = "".join(
      f'<div class="guess{" true" if guess == label else ""}">'
      f"<b>{name(guess)}</b><span>{row[guess]:.1%}</span>"
      f'<u style="--p:{row[guess]:.1%}"></u></div>' for guess in guesses)
  caption = "" if file is None else (
      f'<div class="file" title="{escape(file)}">'
      f"{escape(file.rpartition('/')[2])}</div>")
  return (f'<div class="card sample {"right" if right else "wrong"}">'
          f'{embedded(image)}<div class="prediction">'
          f'<div class="verdict">{verdict}</div>{bars}{caption}</div></div>')


def by_class(evaluation: str, details: Mapping[str, Any]) -> str:
  """Returns what an evaluation's eval/NAME.json says of its classes.

  A matrix for few classes; for many the pairs that are confused most often, and
  the weakest classes.
  """
  classes = details["accuracy_by_class"]
  few = len(classes) <= MOST_IN_MATRIX and details["confusion_matrix"]
  parts = [f"<h3>Accuracy by class</h3>{_bars(classes)}"]
  if few:
    parts.append("<h3>Confusion matrix</h3>" + _matrix(details))
  elif details["confusions"]:
    parts.append("<h3>Most often confused</h3>" + _pairs(details))
  return (f"<section><h2>Classes<small>{escape(evaluation)}: "
          f"{escape(details['data'])}</small></h2>"
          + card('<div class="classes">'
                 + "".join(f"<div>{part}</div>" for part in parts) + "</div>")
          + "</section>")


def _bars(classes: Sequence[Mapping[str, Any]]) -> str:
  """Returns a bar for each class; of many, for the weakest."""
  shown, note = classes, ""
  if len(classes) > MOST_IN_MATRIX:
    shown = sorted(classes, key=lambda x: x["accuracy"])[:MOST_ROWS]
    note = (f'<p class="hint">the {len(shown)} weakest of {len(classes):,} '
            "classes</p>")
  rows = "".join(
      f"<div class=guess><b>{escape(x['name'])}</b><span>{x['accuracy']:.1%} "
      f"of {x['examples']:,}</span>"
      f'<u style="--p:{x["accuracy"]:.1%}"></u></div>' for x in shown)
  return f'{note}<div class="bars">{rows}</div>'


def _matrix(details: Mapping[str, Any]) -> str:
  """Returns the confusion matrix; darker cells hold a larger share of a row."""
  # Classes of the split, and those that they were taken for.
  confused = {x["predicted"]: x["predicted_name"]
              for x in details["confusions"]}
  names = confused | {x["label"]: x["name"]
                      for x in details["accuracy_by_class"]}
  order, matrix = sorted(names), details["confusion_matrix"]
  head = "".join(
      f"<th><span>{escape(names[j])}</span></th>" for j in order)
  rows = []
  for i in order:
    total = sum(matrix[i])
    cells = "".join(
        _cell(matrix[i][j], total, i == j, f"{names[i]} taken for {names[j]}")
        for j in order)
    rows.append(f"<tr><th>{escape(names[i])}</th>{cells}</tr>")
  return ('<p class="hint">a row for each true class, a column for each '
          f'predicted class</p><div class="scroll"><table class="matrix"><tr>'
          f"<th></th>{head}</tr>{''.join(rows)}</table></div>")


def _cell(count: int, total: int, right: bool, title: str) -> str:
  if not count:
    return "<td></td>"
  # One mistake of a thousand is to be seen, too.
  share = 0.12 + 0.88 * count / total
  return (f'<td class="{"hit" if right else "miss"}" '
          f'style="--s:{share:.0%}" title="{escape(title)}: {count:,} of '
          f'{total:,}">{count}</td>')


def _pairs(details: Mapping[str, Any]) -> str:
  """Returns the most frequently confused pairs as a table."""
  pairs = details["confusions"]
  left_out = len(pairs) - MOST_ROWS + details["confusions_left_out"]
  more = (f'<p class="hint">and {left_out:,} more pairs</p>'
          if left_out > 0 else "")
  return table(
      ("true", "taken for", "times"),
      [(x["name"], x["predicted_name"], f"{x['count']:,}")
       for x in pairs[:MOST_ROWS]], kinds=("", "", "n")) + more
