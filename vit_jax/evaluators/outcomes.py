"""What a model said of each example, and the scores that follow from it.

A row an example is small (16 bytes), so one pass over the data is enough for
accuracy by class, the confusion matrix, calibration and the list of mistakes.
"""

from collections.abc import Mapping, Sequence
from concurrent import futures
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from vit_jax.data.sources import Source
from vit_jax.evaluators.passes import Batch

BINS = 15
MOST_CLASSES = 100  # of a matrix that is written out
MOST_CONFUSIONS = 1000  # pairs of classes that are written out


@dataclasses.dataclass(frozen=True)
class Outcomes:
  """The examples of a split that were scored, in its order.

  Attributes:
    source: the split.
    num_classes: k, of the model's head.
    class_names: of these classes, if known.
    index: number of each example in the split.
    label: its true class.
    predicted: the class with the largest logit.
    probability: of the predicted class, by the softmax of the logits.
  """

  source: Source
  num_classes: int
  class_names: Sequence[str] | None
  index: Int[np.ndarray, " n"]
  label: Int[np.ndarray, " n"]
  predicted: Int[np.ndarray, " n"]
  probability: Float[np.ndarray, " n"]

  @property
  def hits(self) -> Bool[np.ndarray, " n"]:
    """Whether each prediction is right."""
    return self.predicted == self.label

  def counts(self) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Returns how many examples each class has, and how many are right."""
    return (np.bincount(self.label, minlength=self.num_classes),
            np.bincount(self.label[self.hits], minlength=self.num_classes))

  def scores(self) -> dict[str, float]:
    """Returns what a record of a run keeps beside accuracy and loss.

    ece is the calibration error; accuracy_class_mean and accuracy_class_min are
    the mean and the least of the accuracies of the classes in the split.
    """
    examples, right = self.counts()
    by_class = right[examples > 0] / examples[examples > 0]
    return {"accuracy_class_mean": float(by_class.mean()),
            "accuracy_class_min": float(by_class.min()),
            "ece": calibration_error(self.probability, self.hits)}

  def mistakes(self) -> Int[np.ndarray, " m"]:
    """Returns the rows of the wrong predictions, the surest first."""
    wrong = np.flatnonzero(~self.hits)
    return wrong[np.argsort(-self.probability[wrong], kind="stable")]

  def confusion_matrix(self) -> Int[np.ndarray, "k k"]:
    """Returns how many examples of class i were taken for class j."""
    pairs = self.label.astype(np.int64) * self.num_classes + self.predicted
    return np.bincount(pairs, minlength=self.num_classes**2).reshape(
        self.num_classes, self.num_classes)

  def confusions(self) -> list[tuple[int, int, int]]:
    """Returns (true class, predicted class, how often), most frequent first."""
    wrong = ~self.hits
    pairs, counts = np.unique(
        np.stack([self.label[wrong], self.predicted[wrong]]), axis=1,
        return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(i), int(j), int(count)) for i, j, count in zip(
        *pairs[:, order], counts[order], strict=True)]

  def name(self, label: int) -> str:
    """Returns a class's name, or "class 123" where it has none."""
    return self.class_names[label] if self.class_names else f"class {label}"

  def to_json(self, most_mistakes: int) -> dict[str, Any]:
    """Returns the details of the scores as plain data.

    Args:
      most_mistakes: how many are listed. Their files are read for their names.

    Returns:
      accuracy_by_class: label, name, accuracy and examples of each class in the
        split.
      confusion_matrix: rows are true classes, columns predicted ones; None with
        more than MOST_CLASSES classes.
      confusions: label, predicted, count and the names of confused classes, the
        most frequent first.
      mistakes: file, index, label, predicted, their names, and the probability
        of the prediction, the surest first.
      confusions_left_out, mistakes_left_out: how many are not in the lists.
    """
    examples, right = self.counts()
    confusions, mistakes = self.confusions(), self.mistakes()
    listed = mistakes[:most_mistakes]
    with futures.ThreadPoolExecutor() as pool:
      files = list(pool.map(
          lambda row: self.source[int(self.index[row])]["id"], listed))
    return {
        "accuracy_by_class": [
            {"label": k, "name": self.name(k), "examples": int(examples[k]),
             "accuracy": float(right[k] / examples[k])}
            for k in np.flatnonzero(examples).tolist()],
        "confusion_matrix": (
            self.confusion_matrix().tolist()
            if self.num_classes <= MOST_CLASSES else None),
        "confusions": [
            self._pair(i, j) | {"count": count}
            for i, j, count in confusions[:MOST_CONFUSIONS]],
        "confusions_left_out": max(0, len(confusions) - MOST_CONFUSIONS),
        "mistakes": [
            {"file": file, "index": int(self.index[row]),
             **self._pair(int(self.label[row]), int(self.predicted[row])),
             "probability": float(self.probability[row])}
            for file, row in zip(files, listed, strict=True)],
        "mistakes_left_out": len(mistakes) - len(listed)}

  def _pair(self, label: int, predicted: int) -> dict[str, Any]:
    return {"label": label, "name": self.name(label), "predicted": predicted,
            "predicted_name": self.name(predicted)}


def outcome_rows(logits: jax.Array, batch: Batch) -> Batch:
  """Returns what `make_outcomes` needs of a batch, row by row."""
  logits = logits.astype(jnp.float32)
  predicted = jnp.argmax(logits, axis=-1).astype(jnp.int32)
  return {"index": batch["index"], "label": batch["label"],
          "real": batch["mask"] > 0, "predicted": predicted,
          "probability": jnp.max(jax.nn.softmax(logits), axis=-1)}


def make_outcomes(
    rows: Mapping[str, np.ndarray], source: Source, num_classes: int,
    class_names: Sequence[str] | None,
) -> Outcomes:
  """Returns the outcomes of a pass, without padding and unread images.

  Args:
    rows: of all batches, see `outcome_rows`.
    source: what was read.
    num_classes: of the model's head.
    class_names: of these classes, if known.
  """
  real = rows["real"]
  return Outcomes(source, num_classes, class_names, **{
      key: rows[key][real]
      for key in ("index", "label", "predicted", "probability")})


def calibration_error(
    confidence: Float[np.ndarray, " n"], hits: Bool[np.ndarray, " n"]
) -> float:
  """Returns the expected calibration error with BINS bins of equal width.

  As in Guo et al., "On Calibration of Modern Neural Networks" (2017, equation
  3): bin m holds the examples whose confidence is in ((m - 1)/15, m/15],

    ECE = sum of n_m / n * |accuracy of bin m - mean confidence of bin m|

  Args:
    confidence: probability of the predicted class.
    hits: whether the prediction is right.

  Returns:
    The error in 0..1; NaN if a probability is.
  """
  if np.isnan(confidence).any():
    return float("nan")
  number = np.ceil(confidence * BINS).astype(int)
  gaps = np.bincount(number, hits - confidence.astype(np.float64))
  return float(np.abs(gaps).sum() / len(hits))
