"""Checks of a config's values that need no data and no devices."""

import re
from typing import Any

from ml_collections import ConfigDict

from vit_jax.errors import UsageError


def parse_image_size(value: Any) -> int | tuple[int, int]:
  """Returns a side, or (height, width), in pixels; of a square the side.

  Args:
    value: 224, "224x160" (height x width), (224, 160) or [224, 160].

  Raises:
    UsageError: anything else.
  """
  sides = [value, value] if isinstance(value, int) else value
  if isinstance(value, str) and re.fullmatch(r"\d+(x\d+)?", value):
    sides = [int(side) for side in value.split("x")]
    sides = sides * 2 if len(sides) == 1 else sides
  if not (isinstance(sides, list | tuple) and len(sides) == 2 and all(
      isinstance(side, int) and side > 0 and side is not True
      for side in sides)):
    raise UsageError(
        f"config.data.image_size={value!r}: a side in pixels, such as 224, or "
        "HEIGHTxWIDTH, such as 224x160, was expected")
  return sides[0] if sides[0] == sides[1] else (sides[0], sides[1])


def fill_without_file(config: ConfigDict) -> None:
  """Fills in variant and image size, unless they are left to init.path."""
  model, data = config.model, config.data
  if not config.init.path:
    model.variant = model.variant or "B/16"
    data.image_size = 224 if data.image_size is None else data.image_size
  if data.image_size is not None:
    data.image_size = parse_image_size(data.image_size)


def check_values(config: ConfigDict) -> None:
  """Raises UsageError for values out of range or that exclude each other."""
  train, data = config.train, config.data
  if bool(train.steps) == bool(train.epochs):
    raise UsageError(
        f"set one of config.train.steps ({train.steps}) and "
        f"config.train.epochs ({train.epochs}), not both or neither; "
        "0 clears one")
  positive = {
      "train.steps": train.steps,
      "train.epochs": train.epochs,
      "train.log_every": train.log_every,
      "train.accumulate": train.accumulate,
      "data.batch_size": data.batch_size,
      "train.patience": train.patience,
      "checkpoint.keep": config.checkpoint.keep,
  }
  for key, value in positive.items():
    clears = value == 0 and key in ("train.steps", "train.epochs")
    if value is not None and value <= 0 and not clears:
      raise UsageError(f"config.{key}={value} must be positive")
  if not 0 <= train.seed < 2**32:
    raise UsageError(
        f"config.train.seed={train.seed} must lie between 0 and 2**32 - 1")
  _check_watch(config)
  if train.profile_hosts not in ("first", "all"):
    raise UsageError(
        f"config.train.profile_hosts={train.profile_hosts!r} is unknown; it is "
        "first or all")
  if not train.hang_minutes >= 0:
    raise UsageError(
        f"config.train.hang_minutes={train.hang_minutes} must not be negative")
  if train.ema_decay is not None and not 0 <= train.ema_decay < 1:
    raise UsageError(
        f"config.train.ema_decay={train.ema_decay}: the share of the average "
        "that an update keeps was expected, 0 or more and below 1, such as "
        "0.999")
  share = config.optim.warmup_share
  if share is not None and not 0 <= share <= 1:
    raise UsageError(
        f"config.optim.warmup_share={share} must be a share of the steps, from "
        "0 to 1, such as 0.1")
  if data.batch_size % train.accumulate:
    raise UsageError(
        f"config.data.batch_size={data.batch_size} must be a multiple of "
        f"config.train.accumulate={train.accumulate}")


def _check_watch(config: ConfigDict) -> None:
  """Checks the keys about the best step and early stopping."""
  train = config.train
  if train.early_stopping and not train.eval_every:
    raise UsageError(
        f"config.train.early_stopping={train.early_stopping!r} looks at every "
        "evaluation, but config.train.eval_every=0 has only that of the end")
  if not train.min_delta >= 0:
    raise UsageError(
        f"config.train.min_delta={train.min_delta} must not be negative")
  if train.result not in ("last", "best"):
    raise UsageError(
        f"config.train.result={train.result!r} is unknown; it is last or best")
  if train.result == "best" and not config.checkpoint.keep_best:
    raise UsageError(
        "config.train.result='best' needs config.checkpoint.keep_best, the "
        "metric that tells which step is the best, such as 'val/accuracy'")


def total_steps(config: ConfigDict, num_examples: int) -> int:
  """Returns the number of updates, from train.steps or train.epochs."""
  if config.train.steps:
    return config.train.steps
  return max(1, round(
      config.train.epochs * num_examples / config.data.batch_size))


def image_size(config: ConfigDict) -> tuple[int, int]:
  """Returns (height, width) of the training images in pixels."""
  size = parse_image_size(config.data.image_size)
  return (size, size) if isinstance(size, int) else size
