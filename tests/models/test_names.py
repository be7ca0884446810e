"""The grammar of model names, and that every caller reads it alike."""

import argparse
import json
import types

import pytest

from vit_jax.aot import fit
from vit_jax.benchmark.options import config_for
from vit_jax.benchmark.plot import styles
from vit_jax.cli import checkpoints
from vit_jax.config import recipes, schema
from vit_jax.config.find import load_config
from vit_jax.errors import UsageError
from vit_jax.models import names
from vit_jax.models.variants import make_model
from vit_jax.weights.hub import augreg_index, released

# The paper's spelling: all others.
SPELLINGS = {
    "B/16": ("ViT-B_16", "ViT-B/16", "B_16", "b16"),
    "B/32": ("ViT-B_32", "b32"),
    "B/8": ("b8", "ViT-B_8"),
    "L/16": ("ViT-L_16", "l16"),
    "L/32": ("ViT-L_32", "l32"),
    "H/14": ("ViT-H_14", "h14"),
    "Ti/16": ("Ti_16", "ti16"),
    "S/16": ("ViT-S_16", "s16"),
    "S/32": ("S_32", "s32"),
    "R50+B/16": ("R50+ViT-B_16", "R50_B_16", "R50x1+ViT-B/16", "r50_b16"),
    "R50+B/32": ("R50+ViT-B_32", "r50_b32"),
    "R50+L/16": ("R50+ViT-L_16", "r50_l16"),
    "R50+L/32": ("R50+ViT-L_32", "R50_L_32", "r50_l32"),
    "R26+B/32": ("R26+ViT-B_32", "r26_b32"),
    "R26+S/32": ("R26_S_32", "R26+ViT-S_32", "r26_s32"),
    "R+Ti/16": ("R_Ti_16", "R+ViT-Ti_16", "r_ti16"),
    "R50x1": ("r50x1", "ResNet50x1", "BiT-M-R50x1"),
    "R101x3": ("BiT-S-R101x3",),
    "R152x2": ("ResNet152x2", "BiT-L_R152x2"),
    "R200x3": ("r200x3",),
    "R14x1": ("ResNet14x1",),
}
ALL = [(paper, name) for paper, others in SPELLINGS.items()
       for name in (paper, *others)]
each_name = pytest.mark.parametrize(("paper", "name"), ALL)


@each_name
def test_every_spelling_is_one_name(paper, name):
  assert names.parse(name) == names.parse(paper)
  assert names.canonical(name) == str(names.parse(name)) == paper
  others = {str(names.parse(other)) for other in SPELLINGS if other != paper}
  assert paper not in others


@each_name
def test_a_model_is_built_from_every_spelling(paper, name):
  assert make_model(name, num_classes=0).variant_name == paper


@each_name
def test_config_keys_and_recipes_take_every_spelling(paper, name):
  config = load_config(["--config=configs/quickstart.py",
                        f"--config.model.variant={name}"])
  config.model.update(patch_size=0, width=0, depth=0, mlp_dim=0, num_heads=0)
  model = schema.resolve(config).model
  assert names.canonical(model.variant) == paper
  assert recipes.choose_variant("f.py", name, SPELLINGS) == paper


@each_name
def test_checkpoints_are_found_by_every_spelling(paper, name, capsys):
  parser = argparse.ArgumentParser()
  checkpoints.add_arguments(parser)
  args = parser.parse_args([f"--model={name}", "--json"])
  if paper not in {row["variant"] for row in released.released_table()}:
    with pytest.raises(UsageError, match="no released checkpoint"):
      checkpoints.run(args)
    return
  checkpoints.run(args)
  shown = json.loads(capsys.readouterr().out)["checkpoints"]
  assert shown and {row["variant"] for row in shown} == {paper}


@each_name
def test_augregs_index_is_searched_by_every_spelling(paper, name):
  rows = [{"name": other} for other in SPELLINGS]
  assert augreg_index.select_rows(rows, name=name) == [{"name": paper}]


@each_name
def test_every_spelling_is_drawn_and_fitted_as_its_family(paper, name):
  is_resnet = "/" not in paper
  is_hybrid = "+" in paper
  marker = "s" if is_resnet else "^" if is_hybrid else "o"
  assert styles([name])[name]["marker"] == marker
  config = schema.default_config()
  config.model.scan = True
  config.train.steps = 1
  config = config_for(config, name)
  assert config.model.scan != is_resnet
  topology = types.SimpleNamespace(device_count=8, slices=1)
  splits = list(fit.remedies(config, topology))
  assert ({"mesh.tensor": 2} in splits) != is_resnet


@pytest.mark.parametrize("name", [
    "", "B", "B16", "X/16", "B/0", "b0", "B/16\n", "b/", "ResNet50", "R51+B/16",
    "r51_b16", "R50+B/8", "R50+B/48", "R+Ti/7", "r_ti7", "vit", "ViT-B_16.npz",
    "R50", "R49x1", "R50x0", "R50x12", "BiT-R50x1"])
def test_other_names_are_refused_by_name(name):
  with pytest.raises(UsageError) as error:
    names.parse(name)
  assert f"model.variant={name!r}" in str(error.value)
  assert "\n" not in str(error.value)
  assert names.canonical(name) == name


def test_a_small_b_before_a_slash_is_half_of_b():
  b, half = names.parse("B/32").sizes, names.parse("b/32").sizes
  for key in ("width", "mlp_dim", "num_heads"):
    assert 2 * half[key] == b[key]
  assert half["depth"] == b["depth"] and half["patch_size"] == b["patch_size"]
  assert half == names.parse("S/32").sizes
  assert names.canonical("b/32") == "b/32"
  # The short form has no capitals: there it is B.
  assert names.parse("b32").sizes == b


def test_table_1_sizes():
  assert names.SIZES["B"] == (768, 12, 3072, 12)
  assert names.SIZES["L"] == (1024, 24, 4096, 16)
  assert names.SIZES["H"] == (1280, 32, 5120, 16)
  assert names.SIZES["b"] == tuple(
      n if i == 1 else n // 2 for i, n in enumerate(names.SIZES["B"]))


@pytest.mark.parametrize(("name", "units", "patch"), [
    ("R50+B/16", (3, 4, 9), 1), ("R50+B/32", (3, 4, 6, 3), 1),
    ("R50+B/64", (3, 4, 6, 3), 2), ("R26+S/32", (2, 2, 2, 2), 1),
    ("R+Ti/16", (), 8), ("Ti/16", None, 16)])
def test_stages_and_patches_of_hybrids(name, units, patch):
  sizes = names.parse(name).sizes
  assert sizes["resnet"] == units and sizes["patch_size"] == (patch, patch)


@pytest.mark.parametrize("name", [
    "R50+B/64", "R101+L/16", "R152+H/32", "R14+Ti/16", "g/14", "G/14", "L/7"])
def test_the_name_of_the_sizes_is_the_name(name):
  assert names.vit_name(**names.parse(name).sizes) == name


def test_sizes_without_a_name():
  sizes = names.parse("B/16").sizes
  assert names.vit_name(**sizes | {"width": 96}) == "custom/16"
  assert names.vit_name(**sizes | {"patch_size": (16, 8)}) == "B/16x8"
  assert names.vit_name(**sizes | {
      "patch_size": (1, 1), "resnet": (1, 2)}) == "R+B/8"
  assert names.resnet_name((1, 2), 3) == "Rx3"
