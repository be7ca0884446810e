"""The transforms applied to an image before the model sees it, as text.

"inception_crop({size})|flip_lr" is a pipeline: transforms joined by "|", each
with arguments as in Python. The text goes into configs and is stored with a
model, so that training, evaluation and prediction see images alike.

To add a transform, write a frozen dataclass with the call signature of
geometry.Transform and name it in TRANSFORMS: its fields are its arguments,
and a ValueError of its __post_init__ becomes the user's error message.
"""

import ast
from collections.abc import Callable
import dataclasses
import inspect

import numpy as np

from vit_jax.data import erasing, geometry, pillow, randaugment
from vit_jax.data.geometry import Image, Size, Transform
from vit_jax.errors import UsageError, suggest

TRANSFORMS: dict[str, Callable[..., Transform]] = {
    "resize": geometry.Resize,
    "resize_small": geometry.ResizeSmall,
    "central_crop": geometry.CentralCrop,
    "inception_crop": geometry.InceptionCrop,
    "random_crop": geometry.RandomCrop,
    "flip_lr": geometry.FlipLr,
    "rotate": geometry.Rotate,
    "randaugment": randaugment.RandAugment,
    "random_erasing": erasing.RandomErasing,
    "pil_resize": pillow.PilResize,
    "pil_crop": pillow.PilCrop,
}


@dataclasses.dataclass(frozen=True)
class Transforms:
  """A pipeline, applied from left to right.

  Attributes:
    text: as written, with `{size}` filled in.
    steps: the transforms.
  """

  text: str
  steps: tuple[Transform, ...]

  @property
  def random(self) -> bool:
    """Whether any step draws at random."""
    return any(step.random for step in self.steps)

  def __call__(self, image: Image, rng: np.random.Generator) -> Image:
    """Returns the image after all steps."""
    for step in self.steps:
      image = step(image, rng)
    return image


def make_transforms(
    text: str, image_size: Size | None = None) -> Transforms:
  """Reads a pipeline such as "resize_small(448)|central_crop({size})".

  Args:
    text: transforms joined by "|"; an argument is a number, a string or a
      tuple. A size is a side or (height, width). Empty: no transform.
    image_size: the value of `{size}`.

  Raises:
    UsageError: names the transform or argument that is wrong.
  """
  if "{size}" in text:
    if image_size is None:
      raise UsageError(f"preprocess {text!r}: {{size}} needs an image size")
    height, width = geometry.pair(image_size)
    size = str(height) if height == width else f"({height}, {width})"
    text = text.replace("{size}", size)
  try:
    tree = ast.parse(text.strip(), mode="eval").body if text.strip() else None
    return Transforms(
        text, tuple(_make_step(node, text) for node in _steps(tree)))
  except (SyntaxError, ValueError) as error:
    raise UsageError(
        f"preprocess {text!r} cannot be read; expected transforms joined by "
        "|, such as inception_crop(224)|flip_lr") from error
  # What Python's parser and what walks its trees say of deep nesting.
  except (RecursionError, MemoryError):
    raise UsageError(
        f"preprocess '{text[:60]}...' is nested too deeply; expected "
        "transforms joined by |, such as inception_crop(224)|flip_lr"
    ) from None


def _steps(node: ast.expr | None) -> list[ast.expr]:
  """Returns the operands of a|b|c in order."""
  if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
    return [*_steps(node.left), node.right]
  return [] if node is None else [node]


def _make_step(node: ast.expr, text: str) -> Transform:
  """Makes one transform from NAME or NAME(argument, key=argument)."""
  call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
  if not isinstance(call.func, ast.Name):
    raise UsageError(f"preprocess {text!r}: {ast.unparse(node)!r} is not a "
                     f"transform; expected one of {', '.join(TRANSFORMS)}")
  name = call.func.id
  if name not in TRANSFORMS:
    raise UsageError(f"preprocess {text!r}: no transform {name!r}"
                     f"{suggest(name, TRANSFORMS)}; expected one of "
                     f"{', '.join(TRANSFORMS)}")
  signature = inspect.signature(TRANSFORMS[name])
  fields = list(signature.parameters)
  where = f"preprocess {text!r}: {name}({', '.join(fields)})"
  keywords = {key.arg or "**": key.value for key in call.keywords}
  for key in keywords:
    if key not in fields:
      raise UsageError(
          f"{where} has no argument {key!r}{suggest(key, fields)}")
  try:
    args = [ast.literal_eval(arg) for arg in call.args]
    kwargs = {key: ast.literal_eval(value) for key, value in keywords.items()}
  except ValueError as error:
    raise UsageError(f"{where}: arguments must be numbers, strings or tuples, "
                     f"got {ast.unparse(call)!r}") from error
  try:
    bound = signature.bind(*args, **kwargs)
    return TRANSFORMS[name](*bound.args, **bound.kwargs)
  except (TypeError, ValueError) as error:
    raise UsageError(f"{where}: {error}") from error
