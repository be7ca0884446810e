"""The model card: it states what is recorded, and what is not."""

import pytest

from vit_jax.config.schema import default_config, eval_config
from vit_jax.weights import model_card


@pytest.fixture
def description(small_model, describe):
  return describe(
      small_model(), (8, 8), preprocess="resize({size})", step=1200,
      class_names=list("abcde"), scores={"eval/test/accuracy": 0.8125},
      init={"path": "hf:owner/base@v1.0"}, averaged=True)


def text_of(description, dialect="hugging_face", config=None, licence=None):
  return "\n".join(
      model_card.card(description, dialect, config, licence, "birds"))


def test_what_is_recorded_is_stated(description):
  config = default_config()
  config.data.update(source="cifar10", data_dir="/home/me/data", split="train")
  config.optim.learning_rate = 0.03
  config.init.path = "/home/me/base.npz"
  config.evals.test = eval_config(split="test")
  text = text_of(description, config=config.to_dict(), licence="mit")
  for words in (
      "library_name: transformers", "pipeline_tag: image-classification",
      "license: mit", "base_model: owner/base", "# birds", "classes | 5: a, b",
      "Trained on `cifar10`, split `train`.", "optim.learning_rate = 0.03",
      "Scored as `test` on `cifar10`, split `test`.", "8x8 pixels",
      "`eval/test/accuracy` | 0.8125", "1,200 steps from `hf:owner/base@v1.0`",
      "average over the updates", "init.path = base.npz"):
    assert words in text, words
  assert "/home/me" not in text  # nothing of the machine
  assert "train.steps" not in text.replace("train.steps = None", "")


def test_what_is_not_recorded_is_said(small_model, describe):
  text = text_of(describe(small_model(num_classes=0), (8, 8)), "timm")
  assert "license:" not in text
  assert text.count("Not recorded") == 3
  assert "Not stated." in text
  assert "pipeline_tag: image-feature-extraction" in text
  assert "library_name: timm" in text


def test_a_readme_of_others_is_kept(tmp_path, description, caplog):
  path = tmp_path / "model.safetensors"
  assert model_card.write_card(path, description, "timm")
  assert (tmp_path / "README.md").read_text().startswith("---\nlibrary_name")
  (tmp_path / "README.md").write_text("mine")
  assert not model_card.write_card(path, description, "timm")
  assert (tmp_path / "README.md").read_text() == "mine"
  assert "was kept" in caplog.text


def test_the_hubs_library_reads_it(tmp_path, description):
  hub = pytest.importorskip("huggingface_hub")
  model_card.write_card(
      tmp_path / "x.safetensors", description, "hugging_face", licence="mit")
  data = hub.ModelCard.load(tmp_path / "README.md").data
  assert data.license == "mit"
  assert data.pipeline_tag == "image-classification"
  assert data.base_model == "owner/base"
