"""Released files come without names; the packages at hand have them."""

import pytest

from vit_jax.data.class_names import class_names
from vit_jax.weights.described import released_classes
from vit_jax.weights.load import load
from vit_jax.weights.model_json import read_model_json, write_model_json


@pytest.fixture
def released(tmp_path, monkeypatch, small_model, random_flat, save_npz):
  """A folder of small files under the names of released ones."""
  monkeypatch.setenv("VIT_JAX_CHECKPOINTS", str(tmp_path))

  def make(name, num_classes):
    path = tmp_path / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_npz(
        path, random_flat(small_model(num_classes=num_classes), (8, 8)))

  return make


def test_a_released_head_has_names(released):
  path = released("sam/ViT-B_32", 1000)
  vit = load("sam/ViT-B_32")
  assert vit.class_names == class_names("imagenet2012", 1000)
  assert vit.class_names[0] == "tench, Tinca tinca"
  # A head of another size is not that head, nor is a new one.
  assert load("sam/ViT-B_32", num_classes=10).class_names is None
  assert load("sam/ViT-B_32", head="reset").class_names is None
  assert load(path).class_names is None  # A path says nothing.


def test_which_data_set_a_row_is_of():
  def names(file, classes):
    return released_classes({"file": file, "classes": classes})

  stem = "augreg/Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"
  assert names(f"{stem}--oxford_iiit_pet-steps_0k-lr_0.003-res_224.npz",
               37)[0] == "Abyssinian"
  assert names(f"{stem}.npz", 21_843) == class_names("imagenet21k", 21_843)
  assert names(f"{stem}--kitti-steps_2k-lr_0.03-res_224.npz", None) is None
  assert released_classes(None) is None


def test_ids_are_stored_and_names_are_shown(released):
  """What a run on prepared ImageNet stores, and what predict makes of it."""
  path = released("run/model", 5)
  ids = ["n01440764", "n02012849", "n03126707", "n00000000", "bee"]
  write_model_json(path, {"class_names": ids})
  assert load(path).class_names == (
      "tench, Tinca tinca", "crane (bird)", "crane (machine)", "n00000000",
      "bee")
  assert read_model_json(path)["class_names"] == ids
