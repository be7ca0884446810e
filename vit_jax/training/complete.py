"""Fills in what a config leaves open: from the record, the data, the weights.

Open are model.num_classes (the data's classes), and with init.path a
model.variant that is empty and a data.image_size that is None (the file's).
"""

from collections.abc import Mapping
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from vit_jax.config import schema
from vit_jax.config.values import parse_image_size
from vit_jax.weights.follow import follow_file
from vit_jax.weights.load import find_weights
from vit_jax.weights.read import WeightsFile, read_weights


def from_record(
    config: ConfigDict, recorded: Mapping[str, Mapping[str, Any]]
) -> ConfigDict:
  """Returns a config whose open keys are those that a run began with.

  Args:
    config: resolved.
    recorded: the "config" of the run's config.json, which has no open keys.
  """
  config = config.copy_and_resolve_references()
  model, before = config.model, recorded.get("model", {})
  if not model.variant:
    for key, default in schema.default_config().model.items():
      if model[key] == default and key != "num_classes":
        model[key] = before.get(key, default)
  model.num_classes = model.num_classes or before.get("num_classes")
  if config.data.image_size is None:
    config.data.image_size = parse_image_size(recorded["data"]["image_size"])
  return config


def completed(
    config: ConfigDict, num_classes: int
) -> tuple[ConfigDict, WeightsFile | None]:
  """Returns a config without open keys, and the weights if they were read.

  Args:
    config: resolved.
    num_classes: of the data.

  Raises:
    CheckpointError: the weights of init.path cannot be read.
    UsageError: no config describes their network.
  """
  file = None
  if not config.model.variant or config.data.image_size is None:
    path, _ = find_weights(config.init.path)
    file = read_weights(path, num_heads=config.model.num_heads)
    config = follow_file(config, file)
    logging.info("%s: %s at %dx%d is what is trained", file.source,
                 file.model().variant_name, *schema.image_size(config))
  config = config.copy_and_resolve_references()
  config.model.num_classes = config.model.num_classes or num_classes
  return config, file
