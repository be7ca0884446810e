"""The same config for all models that are compared."""

from ml_collections import ConfigDict

from vit_jax.config.schema import default_config
from vit_jax.models import names
from vit_jax.models.variants import BIT_OPTIONS


def config_for(config: ConfigDict, variant: str) -> ConfigDict:
  """Returns a copy of a config for one of the models.

  For a ResNet, options of Transformers such as scan keep their defaults.

  Args:
    config: resolved.
    variant: a name that `make_model` reads.
  """
  config = config.copy_and_resolve_references()
  config.model.variant = variant
  if names.parse(variant).family == names.RESNET:
    for key, value in default_config().model.items():
      if key not in ("variant", "num_classes", *BIT_OPTIONS):
        config.model[key] = value
  return config
