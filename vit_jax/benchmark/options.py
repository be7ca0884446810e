"""The same config for all models that are compared."""

from ml_collections import ConfigDict

from vit_jax.config.schema import default_config
from vit_jax.models.variants import network_type


def config_for(config: ConfigDict, variant: str) -> ConfigDict:
  """Returns a copy of a config for one of the models.

  Options that the model does not take, such as scan of a ResNet, keep their
  defaults.

  Args:
    config: resolved.
    variant: a name that `make_model` reads.
  """
  config = config.copy_and_resolve_references()
  config.model.variant = variant
  options = network_type(variant).options
  for key, value in default_config().model.items():
    if key not in ("variant", "num_classes", *options):
      config.model[key] = value
  return config
