"""Powers of growth: fitted, predicted, and as the verb prints them."""

import json

import pytest

from vit_jax import __main__
from vit_jax.benchmark import growth
from vit_jax.benchmark.growth import Growth


def points(axis, power, noise=()):
  return [Growth(axis, value, flops=3.0 * value, kept_bytes=5.0 * value**2,
                 seconds=2.0 * value**power * factor, bytes=7.0)
          for value, factor in zip(
              (1, 2, 4, 8), noise or (1, 1, 1, 1), strict=True)]


def test_a_power_is_found_with_its_uncertainty():
  slope, error = growth.exponent(points("batch", 1.5), "seconds")
  assert slope == pytest.approx(1.5) and error == pytest.approx(0, abs=1e-9)
  slope, error = growth.exponent(
      points("batch", 1.5, (1.1, 0.9, 1.1, 0.9)), "seconds")
  assert slope != pytest.approx(1.5, abs=1e-3) and error > 0.05


def test_each_axis_is_fitted_beside_its_formula():
  rows = growth.exponents(points("batch", 1.0) + points("tokens", 2.0))
  assert [(r["axis"], r["quantity"]) for r in rows] == [
      ("batch", "seconds"), ("batch", "bytes"), ("tokens", "seconds"),
      ("tokens", "bytes")]  # Nothing was estimated for a TPU.
  assert rows[2]["fitted"] == pytest.approx(2)
  assert rows[2]["predicted"] == pytest.approx(1)
  assert rows[3]["predicted"] == pytest.approx(2)


def test_formulas_know_what_is_linear_and_what_is_not():
  def flops(**size):
    config = growth.config_of("Ti/16", growth.BASE | size)
    from vit_jax.models import cost
    from vit_jax.models.variants import make_model
    side = config.data.image_size
    model = make_model(**config.model)
    return cost.train_flops(model, (side, side)) * config.data.batch_size

  base = flops()
  assert flops(batch=8) == 2 * base
  assert flops(depth=24) < 2 * base < flops(depth=25)
  assert flops(tokens=577) > 577 / 197 * base
  assert growth.config_of("Ti/16", growth.BASE).data.image_size == 224


@pytest.mark.slow
def test_the_verb_prints_writes_and_draws(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(growth, "AXES", {"batch": (1, 2, 4)})
  monkeypatch.setattr(growth, "BASE", {"batch": 1, "tokens": 5, "depth": 1})
  out, figure = tmp_path / "cost.json", tmp_path / "cost.png"
  assert __main__.main([
      "benchmark", "--growth=Ti/16", "--seconds=0.01", f"--out={out}",
      f"--figure={figure}"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].split() == ["grows", "with", "fitted", "power", "by",
                              "formula"]
  assert [line.split()[:2] for line in lines[1:3]] == [
      ["batch", "time"], ["batch", "memory"]]
  record = json.loads(out.read_text())
  assert len(record["points"]) == 3 and record["exponents"]
  assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("words", [
    ("--growth=Ti/16", "--models=B/16"), ("--growth=Ti/16", "--what=train"),
    ("--growth=Ti/16", "--config.model.depth=1"),
    ("--growth=Ti/16", "--peers=timm"), ("--growth=X/99",),
    ("--growth=X/16",), ("--growth=B/32",), ("--growth=R50+B/16",),
    ("--growth=R50x1",), ("--growth=Ti/16", "--topology=v5e-8")])
def test_what_does_not_belong_is_refused(words, capsys):
  assert __main__.main(["benchmark", *words]) == 2
  assert len(capsys.readouterr().err.splitlines()) == 1
