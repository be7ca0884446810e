"""vit_jax.train from Python: of a file's name, with a bar, to a model."""

import pathlib

import numpy as np
import pytest

import vit_jax
from vit_jax.errors import CheckpointError, UsageError
from vit_jax.training import progress
from vit_jax.training.loop import Result

CONFIG = pathlib.Path(__file__).parents[1] / "tiny_config.py"


@pytest.mark.slow
def test_from_the_name_of_a_config_to_a_model(tmp_path, monkeypatch, capsys):
  # In a notebook, whose standard error is no terminal.
  monkeypatch.setattr(progress, "is_watched", lambda: True)
  monkeypatch.chdir(tmp_path)
  result = vit_jax.train(f"{CONFIG}", pathlib.Path("run"))
  assert result.finished and result.step == 24
  shown = capsys.readouterr().err
  assert "24/24" in shown and "done: run/model.npz" in shown
  vit = result.model()
  image = np.zeros((8, 8, 3), np.uint8)
  assert len(vit.predict(image, top_k=10)[0]) == 10
  assert vit.config["loss"] == "softmax"
  assert vit.config["metadata"]["loss"] == "softmax"
  assert result.model(num_classes=0).features(image).shape == (1, 32)
  # A finished run is left as it is.
  again = vit_jax.train(vit_jax.load_config(str(CONFIG)), "run")
  assert again == result


def test_a_stopped_run_has_no_model(tmp_path):
  (tmp_path / "checkpoints" / "5").mkdir(parents=True)
  with pytest.raises(CheckpointError, match="this run has not finished"):
    Result(5, False, {}, str(tmp_path)).model()


@pytest.mark.parametrize("config", [{}, None, 3])
def test_what_is_no_config(config, tmp_path):
  with pytest.raises(UsageError, match="a config of type .*; expected"):
    vit_jax.train(config, tmp_path)


@pytest.mark.parametrize("workdir", [None, "", 5, False, b"runs"])
def test_what_is_no_working_directory(workdir):
  with pytest.raises(UsageError, match="--workdir=DIR is missing"):
    vit_jax.train("configs/quickstart.py", workdir)
