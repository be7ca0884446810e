"""hf:OWNER/MODEL and timm:NAME, from a hub on loopback."""

import builtins
import json
import logging
import os
import subprocess
import sys

import model_hub as fake
import numpy as np
import pytest

from vit_jax.errors import (
    CheckpointError,
    UnreachableError,
    UsageError,
    UserError,
)
from vit_jax.weights import convert, load
from vit_jax.weights.formats import safetensors
from vit_jax.weights.hub import model_hub
from vit_jax.weights.read import read_weights

hub_lib = pytest.importorskip(
    "huggingface_hub", reason="huggingface_hub is not installed")
NAME = "hf:owner/small-vit"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_model, random_flat, describe):
  """A model in transformers' layout, as `convert` writes it."""
  path = tmp_path_factory.mktemp("model") / "model.safetensors"
  model = small_model()
  convert.write_weights(path, random_flat(model), describe(
      model, (8, 8), preprocess="resize({size})"), "hugging_face")
  return path.parent


@pytest.fixture
def hub(tmp_path, monkeypatch, folder):
  """A hub that has the model; what is downloaded lies in an empty cache."""
  from huggingface_hub import constants, file_download, hf_api

  with fake.serving() as hub:
    hub.models["owner/small-vit"] = {
        path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE",
        hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(hf_api.api, "endpoint", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    yield hub


def gets(hub):
  """Returns the files that were downloaded."""
  return [path.rpartition("/")[2] for method, path, *_ in hub.requests
          if method == "GET" and "/resolve/" in path]


def test_a_model_and_what_lies_beside(hub, folder, assert_same):
  want = read_weights(folder / "model.safetensors")
  path = model_hub.fetch(NAME)
  file = read_weights(path)
  assert_same(file.flat, want.flat)
  assert file.model() == want.model()
  assert set(gets(hub)) == {path.name for path in folder.iterdir()}
  assert load.load(NAME).config["preprocess"] == "resize({size})"
  count = len(gets(hub))
  load.load(NAME)
  assert len(gets(hub)) == count  # what is there is not fetched again


@pytest.mark.parametrize("name", [
    "timm:small-vit", "timm:timm/small-vit", "hf:timm/small-vit@v1.0",
    "hf://timm/small-vit", f"timm:small-vit@{fake.COMMIT}",
    "hf:timm/small-vit/model.safetensors",
    "hf:timm/small-vit@v1.0/model.safetensors"])
def test_names_mean_models(hub, name):
  hub.models["timm/small-vit"] = hub.models.pop("owner/small-vit")
  path, row = load.find_weights(name)
  assert row is None
  assert path.name == "model.safetensors"
  assert (path.parent / "config.json").exists()


@pytest.mark.parametrize("name", [
    "hf:", "hf:small-vit", "hf:a/b/c", "hf:a b/c", "hf:a/b@", "timm:",
    "hf:a/../../etc/passwd.txt@x@y"])
def test_what_is_no_name(name):
  with pytest.raises(UsageError, match=r"is no name of a model; expected hf:"):
    load.find_weights(name)


def test_nothing_of_a_name_leaves_the_cache(hub):
  with pytest.raises(UserError):
    model_hub.fetch("hf:owner/small-vit/../../x.npz")


def test_a_file_in_a_folder_of_the_model(hub, folder):
  files = hub.models["owner/small-vit"]
  hub.models["owner/small-vit"] = {f"b/{k}": v for k, v in files.items()}
  path = model_hub.fetch(f"{NAME}/b/model.safetensors")
  assert (path.parent / "config.json").exists()
  assert read_weights(path).model() == read_weights(
      folder / "model.safetensors").model()


def test_shards(hub, folder, tmp_path, assert_same):
  want = read_weights(folder / "model.safetensors")
  arrays, _ = safetensors.read_safetensors(folder / "model.safetensors")
  files = hub.models["owner/small-vit"]
  for name in ("model.safetensors", "model.json"):
    del files[name]
  places = {}
  for i, odd in enumerate((False, True)):
    name = f"model-{i + 1:05}-of-00002.safetensors"
    own = {n: a for j, (n, a) in enumerate(arrays.items()) if j % 2 == odd}
    safetensors.write_safetensors(tmp_path / name, own)
    files[name] = (tmp_path / name).read_bytes()
    places |= dict.fromkeys(own, name)
  files["model.safetensors.index.json"] = json.dumps(
      {"weight_map": places}).encode()
  assert_same(read_weights(model_hub.fetch(NAME)).flat, want.flat)
  del files["model-00002-of-00002.safetensors"]
  hub_lib.constants.HF_HUB_CACHE += "2"
  with pytest.raises(CheckpointError, match="names model-00002-of-00002"):
    model_hub.fetch(NAME)
  for index in (b"{}", b'{"weight_map": {"a": "../x.safetensors"}}', b"[1"):
    files["model.safetensors.index.json"] = index
    hub_lib.constants.HF_HUB_CACHE += "3"
    with pytest.raises(CheckpointError, match="is not the index of a model"):
      model_hub.fetch(NAME)


def test_a_download_that_breaks_off_goes_on(hub, folder):
  want = (folder / "model.safetensors").read_bytes()
  hub.cuts = [1000]
  path = model_hub.fetch(f"{NAME}/model.safetensors")
  assert path.read_bytes() == want
  ranges = [r for _, name, r, _ in hub.requests if name.endswith("ors")]
  assert "bytes=1000-" in ranges


def test_a_download_that_never_ends_is_one_line(hub, folder):
  hub.cuts = [1000, *[0] * 20]
  with pytest.raises(UnreachableError, match="repeat the command") as error:
    model_hub.fetch(NAME)
  assert "\n" not in str(error.value)
  assert error.value.passing
  hub.cuts = []
  path = model_hub.fetch(NAME)
  assert path.read_bytes() == (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("refusal, kind, message", [
    ((401, "RepoNotFound"), UserError, "has no model owner/small-vit, or it"),
    ((403, "GatedRepo"), UserError, "consent to its terms.*HF_TOKEN"),
    ((404, "RevisionNotFound"), UserError, "has no revision"),
    ((418, ""), UnreachableError, "the hub does not answer.*418")])
def test_refusals_are_one_line(hub, refusal, kind, message):
  hub.refusals["owner/small-vit"] = refusal
  with pytest.raises(kind, match=message) as error:
    load.load(NAME)
  assert "\n" not in str(error.value)
  assert error.type is kind


def test_a_hub_that_is_not_there_is_one_line(hub, monkeypatch, caplog):
  from huggingface_hub import constants

  monkeypatch.setattr(
      constants, "HUGGINGFACE_CO_URL_TEMPLATE",
      "http://127.0.0.1:1/{repo_id}/resolve/{revision}/{filename}")
  logger = logging.getLogger("huggingface_hub")
  monkeypatch.setattr(logger, "propagate", True)
  level = logger.level
  with pytest.raises(UnreachableError, match="the hub does not answer.*later"):
    model_hub.fetch(NAME)
  assert not [x for x in caplog.records if x.name.startswith(logger.name)]
  assert logger.level == level


def test_a_name_of_timm_without_its_tag(hub):
  with pytest.raises(UserError, match="a tag behind the model's name"):
    model_hub.fetch("timm:vit_base_patch16_224")


def test_a_model_without_weights_says_what_it_has(hub):
  files = hub.models["owner/small-vit"]
  del files["model.safetensors"]
  with pytest.raises(CheckpointError, match=r"hf:owner/small-vit/FILE\.safe"):
    model_hub.fetch(NAME)
  files["pytorch_model.bin"] = b"pickle"
  with pytest.raises(CheckpointError, match="a pickle, .* never opened"):
    model_hub.fetch(NAME)
  with pytest.raises(CheckpointError, match="has no file x.npz"):
    model_hub.fetch(f"{NAME}/x.npz")
  assert "pytorch_model.bin" not in gets(hub)


def test_what_was_fetched_is_there_without_the_hub(hub, monkeypatch):
  from huggingface_hub import constants

  first = model_hub.fetch(NAME)
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
  count = len(hub.requests)
  assert model_hub.fetch(NAME) == first
  assert len(hub.requests) == count
  with pytest.raises(UserError, match="HF_HUB_OFFLINE is set") as error:
    model_hub.fetch("hf:owner/other")
  assert "\n" not in str(error.value)


def test_without_the_package(monkeypatch):
  monkeypatch.setattr(
      model_hub.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(UserError, match="pip install huggingface_hub"):
    model_hub.fetch(NAME)


def test_names_of_others_are_told_the_hubs(monkeypatch):
  for name, meant in {
      "vit_base_patch16_224.augreg_in21k":
          "timm:vit_base_patch16_224.augreg_in21k",
      "facebook/dinov2-small": "hf:facebook/dinov2-small",
      "google/vit-base-patch16-224": "hf:google/vit-base-patch16-224"}.items():
    with pytest.raises(UsageError, match=f"is called {meant}, "):
      load.find_weights(name)


def test_the_environment_of_huggingface_hub_holds(hub, tmp_path):
  environment = os.environ | {
      "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"),
      "HF_TOKEN": "hf_secret", "JAX_PLATFORMS": "cpu"}
  command = [sys.executable, "-m", "vit_jax", "inspect", NAME, "--json"]
  ran = subprocess.run(
      command, env=environment, capture_output=True, text=True, check=True)
  assert json.loads(ran.stdout)["image_size"] == [8, 8]
  assert {token for _, path, _, token in hub.requests
          if "/resolve/" in path} == {"Bearer hf_secret"}
  assert (tmp_path / "home" / "hub" / "models--owner--small-vit").is_dir()
  hub.shutdown()
  again = subprocess.run(
      command, env=environment | {"HF_HUB_OFFLINE": "1"},
      capture_output=True, text=True, check=True)
  assert again.stdout == ran.stdout


def test_a_start_from_the_hub(hub, small_model):
  params, report = load.init_params(NAME, small_model(num_classes=3), 8)
  assert report.head == "reset"
  assert np.asarray(params["head"]["kernel"]).shape == (48, 3)


def test_the_package_is_imported_by_names_of_the_hub_alone(
    monkeypatch, folder):
  real = builtins.__import__

  def refuse(name, *args, **kwargs):
    assert not name.startswith("huggingface_hub")
    return real(name, *args, **kwargs)

  monkeypatch.setattr(builtins, "__import__", refuse)
  load.load(folder / "model.safetensors")
