"""The DINOv2 ViT-S/14 of `vit_jax.paper.dinov2`, and onnxruntime's outputs."""

import numpy as np
import pytest

from vit_jax.errors import UsageError
from vit_jax.paper import dinov2


def find():
  """Returns the path of the ONNX file; skips the test where it is missing."""
  pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
  try:
    return dinov2.onnx_file()
  except UsageError as error:
    pytest.skip(str(error))


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
  pixels = ((images + 1) / 2 - np.float32(dinov2.MEAN)) / np.float32(dinov2.STD)
  return session.run([last.output[0]], {
      "input_image": pixels.transpose(0, 3, 1, 2).astype(np.float32)})[0]
