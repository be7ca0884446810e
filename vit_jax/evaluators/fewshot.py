"""Few-shot linear probe: ridge regression on frozen features, closed form.

As in the paper (section 4.1, figures 4, 8 and 9, table 8) and big_vision: a
few images of each class, their features standardised, targets -1 and 1, and
regularised least squares. Nothing is trained, so it is quick enough to be
watched during pre-training.
"""

from collections.abc import Sequence
from typing import Any

from absl import logging
import jax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float, Int
import numpy as np
import scipy.linalg

from vit_jax.data.sources.classes import check_labels
from vit_jax.devices.partition import over
from vit_jax.devices.sharding import batch_sharding
from vit_jax.errors import DataError, UsageError
from vit_jax.evaluators.context import EvalContext
from vit_jax.evaluators.passes import Pass
from vit_jax.models.inputs import normalize

# Value of the constant feature: so large that the bias is hardly regularised.
BIAS = 100.0
EPSILON = 1e-5


class FewShot:
  """Accuracy of a linear classifier fitted to a few examples of each class."""

  def __init__(
      self,
      context: EvalContext,
      *,
      train_split: str,
      shots: Sequence[int],
      num_seeds: int,
      l2: float,
  ) -> None:
    """Opens both splits; nothing is computed yet.

    Args:
      context: the input of its model's head ("pre_logits") is the feature; no
        head is needed. Its split is the one that the classifier is scored on.
        The usual preprocessing is "resize(256)|central_crop(224)".
      train_split: from which the examples are drawn. All of it is run through
        the model: for ImageNet "train[:65000]" has 25 of each class.
      shots: examples of each class; a probe is fitted for each number.
      num_seeds: draws, over which the accuracy is averaged.
      l2: weight of the squared norm of the classifier.

    Raises:
      UsageError: shots, num_seeds or l2 is not positive.
    """
    if not shots or min(shots) < 1 or num_seeds < 1 or l2 <= 0:
      raise UsageError(
          f"few-shot probe: shots={tuple(shots)}, num_seeds={num_seeds}, "
          f"l2={l2}; whole numbers from 1 and an l2 above 0 were expected")
    context.check_no_flip("fewshot")
    self._train = check_labels(context.open_source(train_split))
    self.source = check_labels(context.open_source())
    self._shots, self._seeds, self._l2 = tuple(shots), num_seeds, l2
    self.metrics = tuple(f"accuracy_{count}shot" for count in self._shots)
    self._passes = [
        context.make_pass(source) for source in (self._train, self.source)]
    model = context.model
    # Every process gets all features: the fit is done on the host.
    whole = NamedSharding(context.mesh, PartitionSpec())
    split_up = batch_sharding(context.mesh)

    def features(params: Any, images: Any, *rest: Any) -> Any:
      _, aux = model.apply(
          {"params": params}, normalize(images, model.dtype), train=False)
      return aux["pre_logits"].astype("float32"), *rest

    self._features = jax.jit(
        over(context.mesh, features),
        in_shardings=(context.shardings, split_up, split_up, split_up),
        out_shardings=whole)

  def run(self, params: Any) -> dict[str, float]:
    """Returns accuracy_Nshot and its spread over the draws, for each N.

    accuracy_Nshot_std is the sample standard deviation (with one draw there
    is none); examples is the number of images that were scored.
    """
    (x, y), (x_test, y_test) = (self._extract(p, params) for p in self._passes)
    classes = self.source.num_classes
    _warn_of_few(y, classes, max(self._shots), self._train.name)
    scores: dict[str, float] = {}
    for count in self._shots:
      accuracies = []
      for seed in range(self._seeds):
        chosen = draw(y, classes, count, seed)
        probe = fit(x[chosen], y[chosen], classes, self._l2)
        accuracies.append(float(np.mean(classify(probe, x_test) == y_test)))
      scores[f"accuracy_{count}shot"] = float(np.mean(accuracies))
      if self._seeds > 1:
        scores[f"accuracy_{count}shot_std"] = float(
            np.std(accuracies, ddof=1))
    return scores | {"examples": len(y_test)}

  def _extract(
      self, part: Pass, params: Any
  ) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
    """Returns the features and labels of every example that can be read."""
    xs, ys = [], []
    with part.bar() as bar:
      for batch in part:
        x, y, mask = jax.device_get(self._features(
            params, batch["image"], batch["label"], batch["mask"]))
        xs.append(x[mask > 0])
        ys.append(y[mask > 0])
        bar.update(min(part.batch_size, bar.total - bar.n))
    if not sum(map(len, ys)):
      raise DataError(f"{part.source.name}: no image could be read")
    return np.concatenate(xs), np.concatenate(ys)


def draw(
    labels: Int[np.ndarray, " n"], classes: int, shots: int, seed: int
) -> Int[np.ndarray, " m"]:
  """Returns the numbers of `shots` random examples of each class.

  The draws of one seed are nested: 5 shots are among its 10. A class with
  fewer examples gives all that it has.
  """
  rng = np.random.default_rng(seed)
  return np.concatenate([
      rng.permutation(np.flatnonzero(labels == label))[:shots]
      for label in range(classes)])


Probe = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean, std, weights


def fit(
    x: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], classes: int,
    l2: float,
) -> Probe:
  """Returns mean, standard deviation and weights (d + 1, k) of the probe.

  W = (XᵀX + l2 I)⁻¹ Xᵀ Y, or where there are fewer examples than features the
  same W = Xᵀ (XXᵀ + l2 I)⁻¹ Y, whose matrix is the smaller. X is standardised
  and has a constant feature at its end; Y is 1 for the label and -1 elsewhere.
  In float64: l2 is small beside the squares of the constant.
  """
  x = np.asarray(x, np.float64)
  mean, std = x.mean(axis=0), x.std(axis=0) + EPSILON
  x = _with_bias((x - mean) / std)
  y = 2.0 * np.eye(classes)[labels] - 1.0
  n, d = x.shape
  if n >= d:
    weights = _solve(x.T @ x, l2, x.T @ y)
  else:
    weights = x.T @ _solve(x @ x.T, l2, y)
  return mean, std, weights


def classify(
    probe: Probe, x: Float[np.ndarray, "n d"]
) -> Int[np.ndarray, " n"]:
  """Returns the class of each example."""
  mean, std, weights = probe
  x = _with_bias((x - mean) / std).astype(np.float32)
  return np.argmax(x @ weights.astype(np.float32), axis=-1)


def _with_bias(x: np.ndarray) -> np.ndarray:
  return np.pad(x, ((0, 0), (0, 1)), constant_values=BIAS)


def _solve(gram: np.ndarray, l2: float, right: np.ndarray) -> np.ndarray:
  """Solves (gram + l2 I) w = right; gram is positive semi-definite."""
  gram = gram + l2 * np.eye(len(gram))
  return scipy.linalg.solve(gram, right, assume_a="pos")


def _warn_of_few(
    labels: np.ndarray, classes: int, most: int, name: str
) -> None:
  """Says once how many classes have fewer examples than shots."""
  counts = np.bincount(labels, minlength=classes)
  few = int(np.sum(counts < most))
  if few:
    logging.log_first_n(
        logging.WARNING, "%s: %d of %d classes have fewer than %d examples "
        "(the smallest has %d); all of them are used", 1, name, few, classes,
        most, counts.min())


make = FewShot  # Its keyword arguments are the type's own keys.
