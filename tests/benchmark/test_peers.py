"""Contestants take turns; ratios are formed within a turn."""

import json
import sys

import numpy as np
import oracle
import pytest

from vit_jax.__main__ import main
from vit_jax.benchmark import peers
from vit_jax.benchmark.official import official_peer
from vit_jax.errors import UsageError


def test_ratios_are_those_of_a_turn():
  # Both become twice as slow in the middle turn: the ratio does not.
  one = peers.Comparison(
      "timm", "S/16", "forward", 8, ours=[1.0, 2.0, 1.1],
      theirs=[2.0, 4.0, 1.1], products=[0.5, 1.0, 0.9])
  assert one.ratio == (2.0, 1.0, 2.0)
  assert one.share == 0.5
  assert one.pace(one.ours) == pytest.approx(8 / 1.1)


@pytest.mark.parametrize("words, said", [
    (["timm", "--models=G/14"], "not G/14"),
    (["timm", "--sizes=384"], "leave out --sizes"),
    (["timm", "--config.model.depth=2"], "no --config.KEY"),
    (["timm", "--batches=1,2"], "one of --batches"),
    (["timm", "--clone=here"], "belongs to --peers=official"),
    (["official"], "belongs to --peers=official"),
    (["official", "--clone=nowhere"], "there is no nowhere/vit_jax/models_res"),
    (["tf.data", "--models=B/16"], "leave out --models"),
    (["disk", "--models=S/16,B/16"], "takes one of --models"),
    (["tfdata"], "invalid choice: 'tfdata'")])
def test_what_it_does_not_compare_is_one_line(words, said, capsys):
  assert main(["benchmark", f"--peers={words[0]}", *words[1:]]) == 2
  error = capsys.readouterr().err
  assert said in error and error.strip().count("\n") <= 1


@pytest.mark.thorough
@pytest.mark.oracle
def test_it_compares(tmp_path, capsys):
  oracle.import_timm()
  out = tmp_path / "peers.json"
  assert main(["benchmark", "--peers=timm", "--models=Ti/16", "--batches=1",
               "--steps=2", f"--out={out}"]) == 0
  printed = capsys.readouterr().out
  assert "inference" in printed and "SGD step" in printed
  first, second = json.loads(out.read_text())["comparisons"]
  assert (first["work"], second["work"]) == ("forward", "train")
  assert all(len(first[key]) == 2 and min(first[key]) > 0
             for key in ("ours", "theirs", "products"))


OFFICIAL = """
import flax.linen as nn
from vit_jax import models_resnet

class VisionTransformer(nn.Module):
  num_classes: int
  patches: object
  hidden_size: int
  transformer: dict
  classifier: str

  @nn.compact
  def __call__(self, images, *, train):
    assert models_resnet.HERE and self.patches.size == (16, 16)
    assert self.transformer["num_layers"] == 12
    return nn.Dense(self.num_classes)(images.mean((1, 2)))
"""


def clone(folder, vit=OFFICIAL):
  (folder / "vit_jax").mkdir(parents=True)
  (folder / "vit_jax" / "models_resnet.py").write_text("HERE = True\n")
  (folder / "vit_jax" / "models_vit.py").write_text(vit)
  return folder


def test_the_official_networks_come_from_the_clone(tmp_path, monkeypatch):
  # A stand-in of the official file: its import and its arguments.
  monkeypatch.setattr(peers, "_ours", lambda *_: lambda: None)
  monkeypatch.setattr(peers, "_products", lambda *_: lambda: None)
  peer = official_peer(str(clone(tmp_path)))
  assert not {"vit_jax.models_vit", "vit_jax.models_resnet"} & set(sys.modules)
  found = list(peers.compare(peer, ["Ti/16"], 2, 1))
  assert [one.work for one in found] == ["forward", "train"]
  assert all(one.peer == "official" and one.theirs[0] > 0 for one in found)


def test_an_update_of_theirs_changes_their_parameters(tmp_path):
  turn = official_peer(str(clone(tmp_path))).turn("Ti/16", 2, "train")
  first, second = (np.array(turn()["Dense_0"]["bias"]) for _ in range(2))
  # From zero on, by the rate and the gradient; then with momentum, too.
  assert 0 < np.abs(first).max() <= 1e-3
  assert np.abs(second).max() > 1.8 * np.abs(first).max()


def test_a_clone_that_cannot_be_imported_is_one_line(tmp_path):
  folder = clone(tmp_path, "import flax.nowhere\n")
  with pytest.raises(UsageError, match="models_vit.py cannot be imported") as (
      error):
    official_peer(str(folder))
  assert "\n" not in str(error.value)
  assert not {"vit_jax.models_vit", "vit_jax.models_resnet"} & set(sys.modules)
