"""What the paper's models cost to train: Tables 2 and 6, by formula."""

import dataclasses
import math

import numpy as np

from vit_jax.devices.chips import peak_flops
from vit_jax.models.cost import exaflops
from vit_jax.models.variants import make_model
from vit_jax.paper.tables import average_5, read_table

# Images for training: 303 million in the paper's JFT-300M; ImageNet-21k without
# the 51,200 of its validation set.
JFT, IMAGENET_21K = 303e6, 14_145_922
_DAY = 24 * 60 * 60
# Rows of Table 2 that the formula covers: model, images, epochs.
TABLE_2 = {"H/14 JFT": ("H/14", JFT, 14), "L/16 JFT": ("L/16", JFT, 14),
           "L/16 I21k": ("L/16", IMAGENET_21K, 90)}
# The epochs of BiT-L are those of arXiv 1912.11370, section 3.3.
TABLE_2_CNNS = {"BiT-L R152x4": ("R152x4", JFT, 40)}
# An EfficientNet-L2, which is not in this package: nothing is computed.
NOT_COMPUTED = ("Noisy Student",)
# Table 6 gives 859 for 7 epochs of a model whose 14 epochs cost 1,668.
INCONSISTENT = (("R50+L/16", 7),)


@dataclasses.dataclass(frozen=True)
class Cost:
  """One row of a table.

  Attributes:
    name: of the row in the paper; epochs: of its training.
    paper: the printed number; ours: by formula.
  """

  name: str
  epochs: int
  paper: float
  ours: float

  @property
  def difference(self) -> float:
    """Ours relative to the paper's: their ratio less one."""
    return self.ours / self.paper - 1


def macs(variant: str) -> int:
  """Returns multiply-adds of a forward pass at 224, with 1,000 classes.

  The heads of pre-training are not counted: this reproduces the paper's
  numbers.
  """
  return make_model(variant, num_classes=1000).macs((224, 224))


def table_6() -> list[Cost]:
  """Returns the exaFLOPs of every row of Table 6.

  Those of the pure ResNets are 3 to 4 % above the paper's.
  """
  return [
      Cost(row["model"], row["epochs"], row["exaflops"],
           exaflops(macs(row["model"]), JFT, row["epochs"]))
      for row in read_table(6)]


def implied_mfu(name: str) -> float:
  """Returns the MFU that Table 2's core-days imply, as a share of the peak."""
  variant, images, epochs = (TABLE_2 | TABLE_2_CNNS)[name]
  flops = 1e18 * exaflops(macs(variant), images, epochs)
  # The paper counts cores, and so does JAX on v3.
  core_peak = peak_flops("TPU v3")
  assert core_peak is not None
  return flops / (core_days(name) * _DAY * core_peak)


def core_days(name: str) -> float:
  """Returns Table 2's TPUv3-core-days of a model."""
  return next(row["mean"] for row in read_table(2)
              if (row["model"], row["task"]) == (name, "TPUv3-core-days"))


def core_days_at(name: str, mfu: float) -> float:
  """Returns TPUv3-core-days at a share of the peak, by formula."""
  return core_days(name) * implied_mfu(name) / mfu


def table_2() -> list[Cost]:
  """Returns core-days of the three ViTs at one MFU, the median of theirs.

  With a single free parameter for three rows, the differences show how well
  the core-days follow from the FLOPs.
  """
  mfu = sorted(implied_mfu(name) for name in TABLE_2)[1]
  return [Cost(name, TABLE_2[name][2], core_days(name),
               core_days_at(name, mfu)) for name in TABLE_2]


# Columns of Table 6 that "equal accuracy" may mean.
MEASURES = {"ImageNet": lambda row: row["imagenet"], "mean": average_5}


def compute_ratios(measure: str) -> dict[str, float]:
  """Returns how much more compute each ResNet of Table 6 takes than a ViT.

  The ViT is one between the table's whose accuracy is the same: exaFLOPs are
  interpolated (their logarithm, linearly in accuracy) along the ViTs that no
  other ViT beats at less compute. ResNets better than all ViTs or worse than
  all are left out.

  Args:
    measure: key of MEASURES.

  Returns:
    "MODEL, EPOCHS epochs" -> exaFLOPs of the ResNet over those of the ViT.
  """
  points = [(row["model"], row["epochs"], math.log(row["exaflops"]),
             MEASURES[measure](row)) for row in read_table(6)]
  frontier: list[tuple[float, float]] = []
  for name, _, cost, score in sorted(points, key=lambda point: point[2]):
    if not name.startswith("R") and (not frontier or score > frontier[-1][1]):
      frontier.append((cost, score))
  costs, scores = zip(*frontier, strict=True)
  return {
      f"{name}, {epochs} epochs": math.exp(
          cost - float(np.interp(score, scores, costs)))
      for name, epochs, cost, score in points
      if name.startswith("R") and "+" not in name
      and scores[0] <= score <= scores[-1]}
