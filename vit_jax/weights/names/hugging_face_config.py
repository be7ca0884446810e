"""config.json and preprocessor_config.json of transformers' ViT."""

from collections.abc import Mapping
import os
import pathlib
from typing import Any

from vit_jax.data import pillow
from vit_jax.errors import CheckpointError, UsageError
from vit_jax.weights.names import torch_config
from vit_jax.weights.names.codec import FileConfig
from vit_jax.weights.names.torch_config import CONFIG, HALF, ResizePlan

PREPROCESSOR = "preprocessor_config.json"
_METHODS = {int(method): name for name, method in pillow.METHODS.items()}


def read_config(
    path: str | os.PathLike, unseen: Mapping[str, Any]
) -> FileConfig:
  """Reads both files beside a weights file, as `Codec.read_config`.

  Args:
    path: the weights file.
    unseen: what holds where the files are silent.
  """
  folder = pathlib.Path(path).parent
  settings = torch_config.read_json_object(folder / CONFIG)
  processor = torch_config.read_json_object(folder / PREPROCESSOR)
  is_vit = settings.get("model_type") == "vit"
  mean = std = HALF
  try:
    metadata = _metadata(
        settings if is_vit else {}, folder / CONFIG if is_vit else None,
        unseen)
    if processor:
      metadata["preprocess"] = _pipeline(processor, folder / PREPROCESSOR)
      mean, std = _pixel_statistics(processor, folder / PREPROCESSOR)
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise torch_config.malformed(
        folder / CONFIG, "hugging_face", error) from None
  torch_config.warn_without_preprocess(path, metadata)
  described_in = os.fspath(folder / CONFIG if is_vit else path)
  return FileConfig(
      os.fspath(path), described_in, metadata, mean, std, foreign=True)


def config_files(
    path: str | os.PathLike, description: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
  """Returns both files for a weights file, as `Codec.config_files`.

  Raises:
    UsageError: a config.json of something else is in the way: transformers
      cannot do without it.
  """
  obstacle = torch_config.foreign_config(path)
  if obstacle:
    raise UsageError(f"{obstacle}; give it a folder of its own")
  if not torch_config.is_complete(description):
    return {}
  plan = torch_config.make_resize_plan(description)
  return {CONFIG: _model_config(description),
          PREPROCESSOR: _processor_config(plan)}


def _metadata(
    settings: Mapping[str, Any], path: pathlib.Path | None,
    unseen: Mapping[str, Any],
) -> dict[str, Any]:
  """Returns what a config.json describes, as keys of model.json."""
  if settings.get("pooler_act", "tanh") != "tanh":
    raise CheckpointError(
        f"{path}: pooler_act={settings['pooler_act']!r}; this package's models "
        "have tanh there")
  architecture = dict(unseen)
  if "hidden_act" in settings:
    architecture["gelu"] = torch_config.gelu_form(settings["hidden_act"], path)
  if "layer_norm_eps" in settings:
    architecture["ln_eps"] = float(settings["layer_norm_eps"])
  if "num_attention_heads" in settings:
    architecture["num_heads"] = settings["num_attention_heads"]
  metadata: dict[str, Any] = {"architecture": architecture}
  if "image_size" in settings:
    metadata["image_size"] = torch_config.size_pair(settings["image_size"])
  labels = settings.get("id2label") or {}
  names = [labels[i] for i in sorted(labels, key=int)]
  if names and names != [f"LABEL_{i}" for i in range(len(names))]:
    metadata["class_names"] = names
  return metadata


def _pipeline(processor: Mapping[str, Any], path: pathlib.Path) -> str:
  """Returns a preprocessor_config.json as an evaluation pipeline."""
  if not processor.get("do_resize", True):
    return "central_crop({size})" if processor.get("do_center_crop") else ""
  size = processor.get("size", 224)
  number = processor.get("resample", 2)
  method = _METHODS.get(number)
  if method is None:
    raise CheckpointError(f"{path}: resample={number!r} is unknown")
  if isinstance(size, Mapping) and "shortest_edge" in size:
    edge = size["shortest_edge"]
    crop = torch_config.size_pair(processor.get("crop_size", edge))
    if processor.get("do_center_crop") and crop[0] == crop[1] <= edge:
      return torch_config.crop_pipeline(crop[0], edge, method, path)
    raise CheckpointError(f"{path}: size={size!r} without a square crop leaves "
                          "images of any size, which a ViT cannot take")
  return f'pil_resize({{size}}, "{method}")'


def _pixel_statistics(
    processor: Mapping[str, Any], path: pathlib.Path
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns mean and deviation of pixels in 0..1."""
  factor = processor.get("rescale_factor", 1 / 255)
  if not processor.get("do_rescale", True) or abs(factor * 255 - 1) > 1e-6:
    raise CheckpointError(
        f"{path}: pixels are not rescaled by 1/255 (do_rescale="
        f"{processor.get('do_rescale', True)}, rescale_factor={factor}); this "
        "package supports no other scale")
  if not processor.get("do_normalize", True):
    return (0.0,) * 3, (1.0,) * 3
  return (torch_config.channels(processor.get("image_mean", 0.5), path),
          torch_config.channels(processor.get("image_std", 0.5), path))


def _model_config(description: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the config.json of transformers' ViT."""
  arch = description["architecture"]
  count = arch["num_classes"]
  # transformers has either a pooler or a head (see hugging_face).
  has_head = count and not arch["pre_logits"]
  names = (description.get("class_names")
           or [f"LABEL_{i}" for i in range(count)])
  labels = dict(enumerate(names)) if has_head else {}
  return {
      "architectures": ["ViTForImageClassification" if has_head
                        else "ViTModel"],
      "model_type": "vit",
      "hidden_size": arch["width"], "num_hidden_layers": arch["depth"],
      "num_attention_heads": arch["num_heads"],
      "intermediate_size": arch["mlp_dim"],
      "pooler_output_size": arch["pre_logits"] or arch["width"],
      "hidden_act": {"erf": "gelu", "tanh": "gelu_pytorch_tanh"}[arch["gelu"]],
      "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
      "layer_norm_eps": arch["ln_eps"],
      "qkv_bias": arch["qkv_bias"], "num_channels": 3,
      "image_size": torch_config.side_or_pair(description["image_size"]),
      "patch_size": torch_config.side_or_pair(arch["patch_size"]),
      "dtype": "float32",
      "id2label": {str(i): name for i, name in labels.items()},
      "label2id": {name: i for i, name in labels.items()}}


def _processor_config(plan: ResizePlan) -> dict[str, Any]:
  """Returns a preprocessor_config.json."""
  height, width = plan.edge
  size = {"height": height, "width": width}
  if not plan.squash:
    size = {"shortest_edge": min(height, width)}
  config: dict[str, Any] = {
      "image_processor_type": "ViTImageProcessor",
      "do_resize": True, "size": size,
      "resample": int(pillow.METHODS[plan.method]),
      "do_rescale": True, "rescale_factor": 1 / 255,
      "do_normalize": True, "image_mean": list(HALF), "image_std": list(HALF)}
  if not plan.squash or plan.edge != plan.size:
    height, width = plan.size
    config |= {"do_center_crop": True,
               "crop_size": {"height": height, "width": width}}
  return config
