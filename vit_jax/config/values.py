"""Checks of a config's values that need no data and no devices."""

from ml_collections import ConfigDict

from vit_jax.errors import UsageError


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
      "checkpoint.keep": config.checkpoint.keep,
  }
  for key, value in positive.items():
    clears = value == 0 and key in ("train.steps", "train.epochs")
    if value is not None and value <= 0 and not clears:
      raise UsageError(f"config.{key}={value} must be positive")
  if not 0 <= train.seed < 2**32:
    raise UsageError(
        f"config.train.seed={train.seed} must lie between 0 and 2**32 - 1")
  if data.batch_size % train.accumulate:
    raise UsageError(
        f"config.data.batch_size={data.batch_size} must be a multiple of "
        f"config.train.accumulate={train.accumulate}")
