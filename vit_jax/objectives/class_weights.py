"""What an example of each class counts in the loss.

The loss is the mean of weight * loss over the examples of a batch, with softmax
as with sigmoid; it is not divided by the sum of the weights. The weight is that
of the example's class, before smoothing, and where labels are mixed the mean of
the two, by their shares. Evaluations count every example once.
"""

from collections.abc import Sequence

from jaxtyping import Float
import numpy as np

from vit_jax.errors import UsageError


def example_weights(
    class_weights: str | Sequence[float], class_counts: Sequence[int] | None,
    num_classes: int,
) -> Float[np.ndarray, " k"] | None:
  """Returns what an example of each class counts, or None for evenly.

  Args:
    class_weights: () for evenly; a number for each class; or "balanced", which
      is n / (k n_c) for class c with n_c of the n examples, where k classes
      have examples: all classes count the same, and an example 1 on average.
    class_counts: n_c; None where the data are not at hand, as when a program
      is only compiled: "balanced" is then 1 for every class.
    num_classes: of the model.

  Raises:
    UsageError: another number of weights, or one that is negative, not finite
      or no number; or only zeros.
  """
  if isinstance(class_weights, str):
    if class_weights != "balanced":
      raise UsageError(
          f"objective.class_weights={class_weights!r}: 'balanced' or one "
          "number for each class was expected, such as (1, 2.5, 1)")
    counts = np.zeros(num_classes)
    given = np.ones(num_classes) if class_counts is None else class_counts
    counts[:len(given)] = given
    seen = counts > 0
    return np.where(seen, counts.sum() / np.maximum(
        seen.sum() * counts, 1), 0).astype(np.float32)
  weights = tuple(class_weights)
  if not weights:
    return None
  if len(weights) != num_classes:
    raise UsageError(
        f"objective.class_weights has {len(weights)} numbers, but there are "
        f"{num_classes} classes; give one for each class, in their order")
  if not all(isinstance(w, int | float) and 0 <= w < float("inf")
             for w in weights) or not any(weights):
    raise UsageError(
        f"objective.class_weights={weights}: numbers from 0 up were expected, "
        "not all of them 0")
  return np.asarray(weights, np.float32)
