"""The part of a config that a weights file decides: network and image size."""

from typing import Any

from ml_collections import ConfigDict

from vit_jax.config.schema import default_config
from vit_jax.config.values import parse_image_size
from vit_jax.errors import CheckpointError, UsageError
from vit_jax.models import names
from vit_jax.models.network import Network
from vit_jax.models.variants import make_model
from vit_jax.weights.read import WeightsFile

# What a name stands for, and what --config.model.KEY changes about it.
_SIZES = ("patch_size", "width", "depth", "mlp_dim", "num_heads", "head_dim",
          "resnet", "resnet_width", "units", "width_factor")
# The head belongs to the classes of the data, the layer before it to the head.
_OF_THE_HEAD = ("num_classes", "pre_logits")


def follow_file(config: ConfigDict, file: WeightsFile) -> ConfigDict:
  """Returns a config whose open keys are those of a weights file.

  Where model.variant is empty, it and every key of `model` that has its
  default describe the file's network; head and pre_logits stay the config's.
  Where data.image_size is None, it is the size that the file was trained at.

  Args:
    config: resolved.
    file: of config.init.path.

  Raises:
    UsageError: no config can describe the network, or nothing shows the size.
  """
  config = config.copy_and_resolve_references()
  defaults = default_config().model
  if not config.model.variant:
    for key, value in _model_keys(file).items():
      if config.model[key] == defaults[key] or key == "variant":
        config.model[key] = value
  if config.data.image_size is None:
    if file.image_size is None:
      raise UsageError(
          f"{file.source}: nothing in it shows the size of its images; choose "
          "that of the training images, such as --config.data.image_size=224")
    config.data.image_size = parse_image_size(file.image_size)
  return config


def _model_keys(file: WeightsFile) -> dict[str, Any]:
  """Returns the keys of the section `model` that make the file's network."""
  network = file.model()
  keys: dict[str, Any] = {"variant": network.variant_name}
  if network.has_attention:
    sizes = {key: file.architecture[key] for key in (
        "patch_size", "width", "depth", "mlp_dim", "num_heads", "resnet")}
    # A network without a name is B with other sizes.
    keys["variant"] = names.vit_name(**sizes).replace("custom", "B")
  try:
    parsed = names.parse(keys["variant"])
    keys |= {
        key: value for key, value in file.architecture.items()
        if key in network.options and key not in _OF_THE_HEAD
        and parsed.sizes.get(key) != value}
    again = make_model(**keys, num_classes=network.num_classes)
    wrong = _differing(again, network, tuple(
        key for key in network.architecture_keys()
        if key not in _OF_THE_HEAD))
  except UsageError:
    wrong = [k for k in _SIZES if k in network.architecture_keys()][:1]
  if wrong:
    raise UsageError(
        f"{file.source}: no config describes its network, whose "
        f"{', '.join(f'{k} is {getattr(network, k)!r}' for k in wrong)}; "
        "vit_jax.load runs it, training does not")
  return keys


def refuse_other_sizes(model: Network, file: WeightsFile) -> None:
  """Raises CheckpointError if a file is of a network of other sizes.

  Args:
    model: to be trained, as the config describes it.
    file: of config.init.path.
  """
  other = file.model()
  wrong = _differing(model, other, _SIZES)
  if not wrong:
    return
  try:
    named = str(names.parse(other.variant_name))
    names.parse(model.variant_name)
    advice = f"--config.model.variant={named}"
  except UsageError:
    advice = " ".join(
        f"--config.model.{key}={_as_key(getattr(other, key, None))}"
        for key in wrong if key in default_config().model) or (
            "the config's model.variant to the file's")
  raise CheckpointError(
      f"{file.source}: the file is {_described(other)}, the config "
      f"{_described(model)}; set {advice}, or another init.path")


def _differing(
    one: Network, other: Network, keys: tuple[str, ...]) -> list[str]:
  """Returns the attributes in which two networks differ."""
  return [key for key in keys
          if getattr(one, key, None) != getattr(other, key, None)]


def _described(model: Network) -> str:
  """Returns "B/16 (width 768, depth 12, ...)"."""
  name, _, sizes = dict(model.summary())["model"].partition(": ")
  return f"{name} ({sizes})" if sizes else name


def _as_key(value: Any) -> Any:
  """Returns a size as the command line takes it: a patch's side alone."""
  return value[0] if isinstance(value, tuple) and value else value
