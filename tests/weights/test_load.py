import functools
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import CheckpointError, UsageError, UserError
from vit_jax.weights import adapt, trees
from vit_jax.weights import load as load_module
from vit_jax.weights.load import init_params, load
from vit_jax.weights.model_json import write_model_json
from vit_jax.weights.names import google
from vit_jax.weights.posemb_grid import POSEMB

LAYOUTS = {
    "vit_i21k_layout": "released",
    "vit_finetuned_layout": "released",
    "hybrid_layout": "released",
    "r_ti_layout": "released",
    "gap_layout": "released",
    "vit_i21k_linen_names": "linen",
    "vit_i21k_opt_target_prefix": "released opt/target/",
    "vit_i21k_params_prefix": "linen params/",
    "vit_i21k_bfloat16": "released bfloat16",
    "vit_i21k_big_vision_layout": "big_vision params/",
    "vit_i21k_big_vision_scan_layout": "big_vision params/ stacked",
}
ADAPTED = ["vit_i21k_layout", "hybrid_layout", "gap_layout",
           "vit_i21k_big_vision_layout", "vit_i21k_big_vision_scan_layout",
           "vit_i21k_opt_target_prefix"]


def expected(goldens, name):
  path = goldens / f"{name}.expected.npz"
  if not path.exists():
    path = goldens / "vit_i21k_layout.expected.npz"
  return dict(np.load(path))


@functools.cache
def compiled(model):
  """Returns the model's function; equal models share its compilation."""
  def apply(params, images):
    return model.apply({"params": params}, images,
                       capture_attention=tuple(range(model.depth)))
  return jax.jit(apply)


def run(vit, images):
  return compiled(vit.model)(vit.params, images)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_golden_numbers(goldens, name):
  vit = load(goldens / f"{name}.npz")
  want = expected(goldens, name)
  images = (want["images"].astype(np.float32) - 127.5) / 127.5
  logits, aux = run(vit, images)
  np.testing.assert_allclose(logits, want["logits"], rtol=0, atol=1e-5)
  named = [key for key in want if key in aux]
  assert "logits" in named
  if name != "vit_i21k_bfloat16":
    assert {"pre_logits", "block0", "encoded", "attention0"} <= set(named)
  for key in named:
    # The rounding of float32 grows with the numbers. In block0 of the hybrid,
    # which holds up to 7.9, the golden itself is 1.0e-5 from the same network
    # in float64, and so are we: on one processor without AVX-512 the two are
    # 1.6e-5 apart, with it 0.5e-5. The goldens promise 1e-5 for the logits.
    size = max(1.0, np.abs(want[key]).max())
    np.testing.assert_allclose(
        aux[key], want[key], rtol=0, atol=1e-5 * size, err_msg=key)
  assert vit.config["dialect"] == LAYOUTS[name]
  assert vit.config["report"].messages == ()
  wrong, _ = run(vit, images[::-1])
  assert np.abs(wrong - want["logits"]).max() > 1e-3


@pytest.mark.parametrize("name", ADAPTED)
def test_every_layout_adapts_as_the_official_code(goldens, name):
  want = expected(goldens, name)
  height, width = want["adapted_images"].shape[1:3]
  vit = load(goldens / f"{name}.npz", image_size=(height, width),
             num_classes=0)
  # In all but the files that have folded it, the class token's row is kept.
  posemb = trees.flatten(vit.params)[POSEMB]
  rows = want["adapted_pos_embedding"]
  skip = int("big_vision" in name)
  np.testing.assert_allclose(
      posemb[:, skip:], rows[:, skip:], rtol=0, atol=1e-6)
  images = (want["adapted_images"].astype(np.float32) - 127.5) / 127.5
  features, _ = run(vit, images)
  np.testing.assert_allclose(
      features, want["adapted_features"], rtol=0, atol=1e-5)
  other = load(goldens / f"{name}.npz", image_size=(height, width),
               num_classes=0, method="bilinear")
  assert np.abs(run(other, images)[0] - want["adapted_features"]).max() > 1e-4


def test_init_params_adapts_for_training(goldens, small_model):
  want = expected(goldens, "vit_i21k_layout")
  model = small_model(patch_size=(8, 8), mlp_dim=96, num_classes=3)
  tree, report = init_params(goldens / "vit_i21k_layout.npz", model, 48)
  assert (report.head, report.pre_logits) == ("reset", "dropped")
  assert report.resized == ((4, 4), (6, 6), "corner_aligned")
  assert all(isinstance(a, np.ndarray) for a in jax.tree.leaves(tree))
  images = (want["adapted_images"].astype(np.float32) - 127.5) / 127.5
  logits, aux = jax.jit(model.apply)({"params": tree}, images)
  np.testing.assert_allclose(
      aux["pre_logits"], want["adapted_features"], atol=1e-5)
  assert not logits.any()
  with pytest.raises(CheckpointError, match="the file is .*, the config "):
    init_params(goldens / "gap_layout.npz", model, 48)


@pytest.fixture
def saved(tmp_path, small_model, random_flat, save_npz):
  """Returns a factory: saves a small model, returns its path."""

  def make(description=None, size=(8, 8), **changes):
    save_npz(tmp_path / "model.npz", random_flat(small_model(**changes), size))
    if description is not None:
      write_model_json(tmp_path / "model.npz", description)
    return tmp_path / "model.npz"

  return make


def test_the_description_is_used(saved):
  names = ["ant", "bee", "cat", "dog", "eel"]
  vit = load(saved({"preprocess": "resize_small(40)|central_crop({size})",
                    "class_names": names, "image_size": [8, 16],
                    "architecture": {"gelu": "erf"}}, (8, 16)))
  assert vit.class_names == tuple(names)
  assert vit.model.gelu == "erf"
  assert vit.config["image_size"] == (8, 16)
  assert vit.config["architecture"]["num_classes"] == 5
  assert vit.preprocess.text == "resize_small(40)|central_crop({size})"
  batch = vit.preprocess(np.zeros((50, 60, 3), np.uint8))
  assert batch.shape == (1, 8, 16, 3) and (batch == -1).all()
  logits, _ = run(vit, batch)
  assert logits.shape == (1, 5)


def test_without_description_a_plain_resize(saved):
  vit = load(saved())
  assert vit.preprocess.text == "resize({size})"
  assert vit.class_names is None
  assert load(saved(), preprocess="resize(8)").preprocess.text == "resize(8)"


def test_class_names_go_with_the_head(saved):
  path = saved({"class_names": list("abcde")})
  assert load(path).class_names == tuple("abcde")
  for choice in (dict(num_classes=3), dict(num_classes=0), dict(head="reset")):
    assert load(path, **choice).class_names is None


def test_other_classes_reset_the_head_and_drop_pre_logits(saved):
  path = saved(pre_logits=48)
  vit = load(path, num_classes=3)
  assert vit.model.pre_logits == 0
  assert vit.config["report"].head == "reset"
  assert vit.config["report"].pre_logits == "dropped"
  kept = load(path, num_classes=3, pre_logits="keep")
  assert kept.model.pre_logits == 48
  assert load(path).model.pre_logits == 48
  assert load(path, num_classes=5).config["report"].head == "kept"
  # Without the layer that it was trained on, a head means nothing.
  assert load(path, pre_logits="drop").config["report"].head == "reset"
  with pytest.raises(CheckpointError, match="1 of another shape: head/kernel"):
    load(saved(pre_logits=24), pre_logits="drop", head="keep")


def test_features_without_a_head(saved):
  vit = load(saved(), num_classes=0)
  assert "head" not in vit.params
  logits, aux = run(vit, np.zeros((1, 8, 8, 3), np.float32))
  np.testing.assert_array_equal(logits, aux["pre_logits"])


def test_sizes_may_be_a_side_or_a_pair(saved):
  path = saved()
  assert load(path, image_size=16).config["image_size"] == (16, 16)
  vit = load(path, image_size=[8, 16])
  assert vit.config["image_size"] == (8, 16)
  assert vit.params["Transformer"]["posembed_input"][
      "pos_embedding"].shape == (1, 9, 48)
  assert vit.config["report"].resized == ((2, 2), (2, 4), "corner_aligned")


def test_a_grid_that_is_not_square_has_to_be_said(saved):
  path = saved(size=(8, 24))
  with pytest.raises(CheckpointError, match="old_grid"):
    load(path)
  vit = load(path, old_grid=(2, 6))
  assert vit.config["image_size"] == (8, 24)
  assert vit.config["report"].resized is None


def test_without_position_embedding_the_size_has_to_be_said(saved):
  path = saved(posemb="none")
  with pytest.raises(UsageError, match="pass image_size="):
    load(path, posemb="none")
  assert load(path, image_size=8, posemb="none").model.posemb == "none"


def test_scan_gives_the_same_logits(saved):
  path, images = saved(), np.ones((1, 8, 8, 3), np.float32)
  plain, scanned = load(path), load(path, scan=True)
  assert "encoderblock" in scanned.params["Transformer"]
  np.testing.assert_allclose(
      run(scanned, images)[0], run(plain, images)[0], atol=1e-5)


def test_dtype_is_that_of_the_computation(saved):
  vit = load(saved(), dtype="bfloat16")
  assert vit.model.dtype == jnp.bfloat16
  assert {a.dtype for a in jax.tree.leaves(vit.params)} == {jnp.dtype("f4")}


@pytest.mark.parametrize("name", ["none.npz", "none.safetensors"])
def test_a_missing_file_is_an_error_of_the_checkpoint(tmp_path, name):
  with pytest.raises(CheckpointError, match="no such file"):
    load(tmp_path / name)
  with pytest.raises(CheckpointError, match="no such file"):
    load(name)


def test_every_wrong_file_is_a_line(tmp_path, goldens):
  content = (goldens / "gap_layout.npz").read_bytes()
  for wrong in (content[:5000], b"<html></html>", b"\x80\x04K\x01.",
                b"\x81\xa1a\x01", b"PK\x05\x06" + bytes(18), b"hello", b""):
    (tmp_path / "f.npz").write_bytes(wrong)
    with pytest.raises(CheckpointError) as error:
      load(tmp_path / "f.npz")
    assert "\n" not in str(error.value)
    assert str(tmp_path / "f.npz") in str(error.value)
  with pytest.raises(CheckpointError, match="a directory"):
    load(tmp_path)


MEASURE = """
import json, os, sys, time

def peak():
  with open("/proc/self/status") as file:
    return next(int(l.split()[1]) for l in file if l.startswith("VmHWM")) << 10

import jax
from vit_jax.weights.load import load

jax.block_until_ready(jax.numpy.zeros(3))  # starts the runtime
before, start, used = peak(), time.perf_counter(), time.process_time()
vit = load(sys.argv[1])
jax.block_until_ready(vit.params)
print(json.dumps(dict(
    wall=time.perf_counter() - start, cpu=time.process_time() - used,
    peak=(peak() - before) / os.path.getsize(sys.argv[1]),
    heads=vit.model.num_heads)))
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc/self/status")
def test_a_full_size_file_loads_fast_and_lean(tmp_path):
  from vit_jax.models.variants import make_model

  model = make_model(variant="B/16", num_classes=21843, dtype="float32",
                     pre_logits=True)
  rng = np.random.default_rng(0)
  flat = {name: rng.standard_normal(shape, np.float32) for name, shape
          in adapt.expected_shapes(model, (224, 224)).items()}
  path = tmp_path / "ViT-B_16.npz"
  np.savez(path, **google.encode(flat, "released"))
  assert path.stat().st_size == pytest.approx(393.69 * 2**20, rel=1e-3)
  del flat
  out = subprocess.run([sys.executable, "-c", MEASURE, str(path)],
                       capture_output=True, text=True, check=True,
                       cwd=pathlib.Path(adapt.__file__).parents[2])
  path.unlink()
  got = json.loads(out.stdout)
  assert got["heads"] == 12
  assert got["peak"] <= 2, got
  # Other work on this machine does not count: what is busy is measured, and
  # waiting for a disk is not.
  assert min(got["wall"], got["cpu"]) <= 3, got


def test_training_with_another_computation_is_said(saved, caplog):
  path = saved()
  model = load(path).model
  init_params(path, model, 8)
  assert "trained with another network" not in caplog.text
  init_params(path, model.clone(gelu="erf", ln_eps=1e-12), 8)
  assert ("model.gelu='erf', the file's is 'tanh'" in caplog.text)


@pytest.mark.parametrize("name", [
    "hf:" + "a" * 300 + "/b", "timm:" + "x" * 5000, "a" * 300 + ".npz",
    "b" * 300, "a\0b.npz", "/" + "c" * 300 + "/m.safetensors",
    "~" + "d" * 300])
def test_a_name_that_no_file_can_have_is_one_line(name):
  # Which error depends on whether huggingface_hub is installed.
  with pytest.raises(UserError) as error:
    load(name)
  assert str(error.value).isprintable()


def test_a_cached_file_of_a_bucket_needs_no_bucket(tmp_path, monkeypatch):
  name = "imagenet21k/ViT-B_16.npz"
  monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path))
  monkeypatch.setattr(load_module.epath, "Path", None)
  (tmp_path / name).parent.mkdir()
  (tmp_path / name).write_bytes(b"cached")
  path, row = load_module.find_weights(f"gs://vit_models/{name}")
  assert path == tmp_path / name and row["variant"] == "B/16"
