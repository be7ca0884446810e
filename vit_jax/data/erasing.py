"""Random erasing (Zhong et al. 2020): a box of a picture is replaced by noise.

With a probability, a box is drawn by its area and aspect, drawn again where it
does not fit into the picture, and erased at a place where it lies inside. (In
the paper's algorithm 1 a place where it would stick out makes it start again.)
"""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from vit_jax.data import geometry
from vit_jax.data.geometry import Image

# After so many boxes that do not fit, the picture stays as it is.
_TRIES = 100
_MODES = ("noise", "zero")


@dataclasses.dataclass(frozen=True)
class RandomErasing:
  """Erases a box, with a probability; see the module.

  Put it last, behind the crop to the image size: the area is a share of the
  picture that it is given.

  Attributes:
    probability: that a picture loses a box.
    area: least and greatest share of the picture's area, drawn evenly.
    aspect: least and greatest height over width; its logarithm is drawn
      evenly, so that high and wide boxes are equally likely. (The paper draws
      the aspect itself, by which high ones are more likely.)
    mode: "noise", for every value of every pixel one of 0..255, each as likely
      (the paper's choice); or "zero", black.
  """

  probability: float = 0.25
  area: tuple[float, float] = (0.02, 0.4)
  aspect: tuple[float, float] = (0.3, 1 / 0.3)
  mode: str = "noise"
  random: ClassVar[bool] = True

  def __post_init__(self) -> None:
    geometry.check(
        geometry.is_number(self.probability) and 0 <= self.probability <= 1,
        "probability", self.probability, "0 to 1, as in random_erasing(0.25)")
    geometry.check(
        geometry.is_range(self.area) and self.area[1] <= 1, "area", self.area,
        "(least, greatest) share of the picture, such as (0.02, 0.4)")
    geometry.check(
        geometry.is_range(self.aspect), "aspect", self.aspect,
        "(least, greatest) height over width, such as (0.3, 3.3)")
    geometry.check(self.mode in _MODES, "mode", self.mode, " or ".join(_MODES))

  def __call__(self, image: Image, rng: np.random.Generator) -> Image:
    """Returns the picture, or one with a box erased; the dtype stays."""
    if rng.random() >= self.probability:
      return image
    rows, columns = image.shape[:2]
    for _ in range(_TRIES):
      pixels = rng.uniform(*self.area) * rows * columns
      ratio = math.exp(rng.uniform(
          math.log(self.aspect[0]), math.log(self.aspect[1])))
      height = round(math.sqrt(pixels * ratio))
      width = round(math.sqrt(pixels / ratio))
      if 0 < height <= rows and 0 < width <= columns:
        break
    else:
      return image
    top = int(rng.integers(rows - height + 1))
    left = int(rng.integers(columns - width + 1))
    image = image.copy()
    image[top:top + height, left:left + width] = (
        rng.integers(0, 256, (height, width, 3)) if self.mode == "noise" else 0)
    return image

