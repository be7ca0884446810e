import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.model_json import (
  model_json_path,
  read_model_json,
  write_model_json,
)


def test_the_description_lies_beside_the_weights(tmp_path):
  path = tmp_path / "Ti_16-lr_0.001-res_384.npz"
  assert model_json_path(path) == tmp_path / "Ti_16-lr_0.001-res_384.json"
  assert read_model_json(path) == {}
  description = {
      "image_size": (8, 16), "class_names": ["a"], "scores": {"test": 0.5}}
  write_model_json(path, description)
  assert read_model_json(path) == description | {"image_size": [8, 16]}


@pytest.mark.parametrize("text, message", [
    ("{", "not JSON"),
    ("[1]", "a JSON object was expected, found list"),
    ('{"image_size": 224}', r"image_size is 224; \[height, width\] was"),
    ('{"image_size": [224, 0]}', "image_size is"),
    ('{"preprocess": 3}', "preprocess is 3"),
    ('{"architecture": []}', "architecture is"),
    ('{"class_names": {}}', "class_names is"),
])
def test_a_wrong_description_is_named(tmp_path, text, message):
  (tmp_path / "model.json").write_text(text)
  with pytest.raises(CheckpointError, match=message) as error:
    read_model_json(tmp_path / "model.npz")
  assert str(tmp_path / "model.json") in str(error.value)


def test_null_is_nothing(tmp_path):
  (tmp_path / "model.json").write_text('{"class_names": null}')
  assert read_model_json(tmp_path / "model.npz") == {"class_names": None}
