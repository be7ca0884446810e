"""Contestants take turns; ratios are formed within a turn."""

import json

import oracle
import pytest

from vit_jax.__main__ import main
from vit_jax.benchmark import peers


def test_ratios_are_those_of_a_turn():
  # Both become twice as slow in the middle turn: the ratio does not.
  one = peers.Comparison(
      "S/16", "forward", 8, ours=[1.0, 2.0, 1.1], theirs=[2.0, 4.0, 1.1],
      products=[0.5, 1.0, 0.9])
  assert one.ratio == (2.0, 1.0, 2.0)
  assert one.share == 0.5
  assert one.pace(one.ours) == pytest.approx(8 / 1.1)


@pytest.mark.parametrize("words, said", [
    (["--models=G/14"], "not G/14"),
    (["--sizes=384"], "leave out --sizes"),
    (["--config.model.depth=2"], "no --config.KEY"),
    (["--batches=1,2"], "one of --batches")])
def test_what_it_does_not_compare_is_one_line(words, said, capsys):
  assert main(["benchmark", "--peers=timm", *words]) == 2
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
