"""config.json and preprocessor_config.json of transformers' ViT."""

from collections.abc import Mapping
import os
import pathlib
from typing import Any

from vit_jax.errors import CheckpointError, UsageError
from vit_jax.models.posemb import ROPE_TEMPERATURE
from vit_jax.weights.names import (
    hugging_face_processor,
    hugging_face_written,
    torch_config,
)
from vit_jax.weights.names.codec import FileConfig
from vit_jax.weights.names.torch_config import CONFIG

PREPROCESSOR = "preprocessor_config.json"
# Of models that take text, too: all their processors.
PROCESSORS = "processor_config.json"
# What config classes of transformers have where a config.json is silent, by
# model_type. "vision" is the key under which a config of two towers has it.
DEFAULTS: dict[str, dict[str, Any]] = {
    kind: dict(layer_norm_eps=eps, hidden_act=activation)
    for kind, eps, activation in (
        ("vit", 1e-12, "gelu"), ("vit_mae", 1e-12, "gelu"),
        ("vit_msn", 1e-6, "gelu"), ("ijepa", 1e-12, "gelu"),
        ("deit", 1e-12, "gelu"), ("dinov2", 1e-6, "gelu"),
        ("dinov2_with_registers", 1e-6, "gelu"),
        ("clip", 1e-5, "quick_gelu"), ("clip_vision_model", 1e-5, "quick_gelu"),
        ("dinov3_vit", 1e-5, "gelu"), ("siglip", 1e-6, "gelu_pytorch_tanh"),
        ("siglip_vision_model", 1e-6, "gelu_pytorch_tanh"))}
# What a problem_type is trained with, as the key "loss" of model.json.
LOSSES = {"single_label_classification": "softmax",
          "multi_label_classification": "sigmoid", "regression": "regression"}


def read_config(
    path: str | os.PathLike, presumed: str
) -> FileConfig:
  """Reads both files beside a weights file, as `Codec.read_config`.

  Args:
    path: the weights file.
    presumed: the model_type whose defaults hold without a config.json.

  Raises:
    CheckpointError: they are of another model, or damaged.
  """
  folder, source = pathlib.Path(path).parent, os.fspath(path)
  settings = torch_config.read_json_object(folder / CONFIG)
  processor, processor_path = _processor(folder)
  kind = settings.get("model_type")
  if kind is not None and kind not in DEFAULTS:
    raise CheckpointError(
        f"{folder / CONFIG}: model_type={kind!r} is not a network of this "
        f"package; it is one of {', '.join(DEFAULTS)}")
  notes = {}
  if kind is None:
    activation, eps = (DEFAULTS[presumed][key]
                       for key in ("hidden_act", "layer_norm_eps"))
    notes["gelu"] = (
        f"no config.json of transformers lies beside it: {activation} and "
        f"LayerNorms with epsilon {eps:g} are assumed, the defaults of "
        f"{presumed}")
  try:
    metadata = _metadata(settings if kind else {}, folder / CONFIG, presumed)
    fields: dict[str, Any] = {}
    if processor:
      fields = hugging_face_processor.read_processor(
          processor, processor_path, kind)
      metadata |= fields.pop("metadata")
    else:
      notes |= torch_config.NO_PREPROCESS
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise torch_config.malformed(
        folder / CONFIG, "hugging_face", error) from None
  described_in = os.fspath(folder / CONFIG) if kind else source
  return FileConfig(source, described_in, metadata, foreign=True, notes=notes,
                    **fields)


def _processor(folder: pathlib.Path) -> tuple[dict[str, Any], pathlib.Path]:
  """Returns the settings of the image processor, {} for none, and their file.

  transformers looks in this order.
  """
  several = torch_config.read_json_object(folder / PROCESSORS)
  own = several.get("image_processor")
  if isinstance(own, dict):
    return own, folder / PROCESSORS
  path = folder / PREPROCESSOR
  return torch_config.read_json_object(path), path


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
  plan = torch_config.make_resize_plan(description, round_down=True)
  return {CONFIG: hugging_face_written.model_config(description) | (
              _problem_type(description)),
          PREPROCESSOR: hugging_face_processor.processor_config(plan)}


def _metadata(
    settings: Mapping[str, Any], path: pathlib.Path, presumed: str
) -> dict[str, Any]:
  """Returns what a config.json describes, as keys of model.json."""
  # Problem type and labels stand outside of the tower's own settings.
  kind = settings.get("model_type", presumed)
  tower = settings.get("vision_config", settings)
  known = {**DEFAULTS[kind], **{
      key: value for key, value in tower.items() if value is not None}}
  if settings.get("pooler_act", "tanh") != "tanh":
    raise CheckpointError(
        f"{path}: pooler_act={settings['pooler_act']!r}; this package's models "
        "have tanh there")
  architecture: dict[str, Any] = {"ln_eps": float(known["layer_norm_eps"])}
  if kind == "dinov3_vit":
    architecture["posemb"] = "rope2d_unit"
    _refuse_other_dinov3(known, path)
  if not known.get("use_gated_mlp"):
    architecture["gelu"] = torch_config.gelu_form(known["hidden_act"], path)
  if settings:
    # transformers leaves out what has its default.
    heads = 6 if kind == "dinov3_vit" else 12
    architecture["num_heads"] = known.get("num_attention_heads", heads)
  metadata: dict[str, Any] = {"architecture": architecture}
  if "image_size" in tower:
    metadata["image_size"] = torch_config.size_pair(tower["image_size"])
  if settings.get("problem_type") in LOSSES:
    metadata["loss"] = LOSSES[settings["problem_type"]]
  labels = settings.get("id2label") or {}
  names = [labels[i] for i in sorted(labels, key=int)]
  if names and names != [f"LABEL_{i}" for i in range(len(names))]:
    metadata["class_names"] = names
  return metadata


def _refuse_other_dinov3(
    known: Mapping[str, Any], path: pathlib.Path
) -> None:
  """Raises CheckpointError for a DINOv3 that differs from the released ones."""
  theta, gate = known.get("rope_theta", 100.0), known["hidden_act"]
  if theta != ROPE_TEMPERATURE:
    raise CheckpointError(
        f"{path}: rope_theta={theta}; this package's models have "
        f"{ROPE_TEMPERATURE:g}")
  if known.get("use_gated_mlp") and gate not in ("silu", "swish"):
    raise CheckpointError(
        f"{path}: use_gated_mlp with hidden_act={gate!r}; this package's gated "
        "MLPs have silu")


def _problem_type(description: Mapping[str, Any]) -> dict[str, str]:
  """Returns the entry problem_type, where the description has a loss."""
  loss = description.get("loss")
  theirs = next((key for key, ours in LOSSES.items() if ours == loss), None)
  return {"problem_type": theirs} if theirs else {}
