"""The tables that the verb `evaluate` prints for people."""

from collections.abc import Mapping
import re
from typing import Any

from vit_jax.cli import output

MOST_CLASSES = 20
_NAMES = {"ece": "calibration error",
          "accuracy_class_mean": "accuracy, mean of classes",
          "accuracy_class_min": "accuracy, weakest class"}


def print_scores(
    facts: Mapping[str, Any], scores: Mapping[str, float],
    details: Mapping[str, Any], images_per_second: float | None,
) -> None:
  """Prints every score and the speed, then classes and mistakes.

  Args:
    facts, scores, details, images_per_second: see
      `vit_jax.cli.evaluate.Evaluation`.
  """
  rows = [*_about(facts), ["data", f"{facts['source']}, {facts['split']}"],
          *_score_rows(scores, facts.get("images_in_source", 0))]
  if images_per_second is not None:
    rows.append(["speed", f"{images_per_second:,.1f} img/s"])
  output.print_table(rows)
  if details:
    print()
    _print_classes(details)
    if details["mistakes"]:
      print()
      _print_mistakes(details)


def _about(facts: Mapping[str, Any]) -> list[list[str]]:
  """Returns the rows about the model."""
  return [
      ["checkpoint", facts["checkpoint"]],
      ["model", f"{facts['model']} at {output.by(facts['image_size'])}, "
       f"{facts['preprocess']}" + (
           ", and mirrored" if "flip" in facts else "")]]


def _score_rows(
    scores: Mapping[str, float], images_in_source: int
) -> list[list[str]]:
  """Returns a row for each score."""
  rows = []
  for key, value in scores.items():
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
    if "accuracy" in key or key == "ece":
      text = f"{value:.2%}"
    if key == "accuracy":
      examples = scores["examples"]
      text += f"  ({round(value * examples):,} of {examples:,})"
    if key == "examples" and images_in_source > value:
      text += f" of {images_in_source:,}; --split=all scores every image"
    name = _NAMES.get(key, key.replace("_top5", ", top 5").replace("_", " "))
    rows.append([name, text])
  return rows


def _print_classes(details: Mapping[str, Any]) -> None:
  """Prints the accuracy of each class, of many only of the weakest."""
  classes, taken_for = details["accuracy_by_class"], {}
  for pair in details["confusions"][::-1]:  # The most frequent comes last.
    taken_for[pair["label"]] = f"{pair['predicted_name']} ({pair['count']})"
  shown, title = classes, "class"
  if len(classes) > MOST_CLASSES:
    shown = sorted(classes, key=lambda x: x["accuracy"])[:MOST_CLASSES]
    title = f"weakest {MOST_CLASSES} of {len(classes):,} classes"
  output.print_table(
      [[x["name"], f"{x['accuracy']:.2%}", f"{x['examples']:,}",
        output.shorten(taken_for.get(x["label"], ""), 30)] for x in shown],
      [title, "accuracy", "examples", "most often taken for"], right=(1, 2))


def _print_mistakes(details: Mapping[str, Any]) -> None:
  """Prints the files of mistakes."""
  mistakes, more = details["mistakes"], details["mistakes_left_out"]
  total = len(mistakes) + more
  output.print_table(
      [[x["file"], output.shorten(x["name"], 24),
        output.shorten(x["predicted_name"], 24), f"{x['probability']:.1%}"]
       for x in mistakes],
      [f"surest {len(mistakes)} of {total:,} mistakes" if more else
       f"{total} mistake{'s' if total > 1 else ''}, the surest first",
       "true", "predicted", "sure"], right=(3,))


def print_few_shot(
    facts: Mapping[str, Any], scores: Mapping[str, float]
) -> None:
  """Prints the accuracy for each number of shots."""
  splits = f"{facts['train_split']} -> {facts['split']}"
  output.print_table([*_about(facts), [
      "data", f"{facts['source']}, {splits} ({scores['examples']:,} examples)"
  ]])
  print()
  rows = []
  for key, value in scores.items():
    if match := re.fullmatch(r"accuracy_(\d+)shot", key):
      std = scores.get(f"{key}_std")
      spread = "" if std is None else f" +- {std:.2%}"
      rows.append([match[1], f"{value:.2%}{spread}"])
  output.print_table(rows, ["shots", "accuracy"], right=(0,))
