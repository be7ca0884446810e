"""AugReg's pre-training: seven levels, 28 settings, the names of files."""

import itertools

import pytest
from shipped_configs import check_works, get, load

from vit_jax.config import recipes
from vit_jax.errors import UsageError

NAME = "augreg_pretrain.py"
# AugReg, section 3.3, again: layers, magnitude, alpha of mixup.
LEVELS = """
none     0  0  0
light1   2  0  0
light2   2 10  0.2
medium1  2 15  0.2
medium2  2 15  0.5
strong1  2 20  0.5
strong2  2 20  0.8
"""
ROWS = [line.split() for line in LEVELS.strip().splitlines()]
CROP = "inception_crop({size})|flip_lr"


def settings(config):
  return (config.data.preprocess, config.objective.mixup, config.model.dropout,
          config.model.stochastic_depth, config.optim.weight_decay,
          config.train.epochs)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_level(row):
  level, layers, magnitude, alpha = row
  config = get(NAME, f"S/16,i21k,{level}")
  check_works(config)
  assert config.data.preprocess == CROP + (
      f"|randaugment({layers}, {magnitude})" if layers != "0" else "")
  assert config.objective.mixup == float(alpha)


def test_there_are_seven_levels():
  assert list(load(NAME).LEVELS) == [row[0] for row in ROWS]


@pytest.mark.parametrize("model", [
    "Ti/16", "S/32", "S/16", "B/32", "B/16", "B/8", "L/16", "R+Ti/16",
    "R26+S/32", "R50+L/32"])
@pytest.mark.parametrize("dataset", ["i1k", "i21k"])
def test_what_all_share(model, dataset):
  config = get(NAME, f"{model},{dataset},none")
  check_works(config)
  optim = config.optim
  assert (optim.name, optim.beta1, optim.beta2) == ("adam", 0.9, 0.999)
  assert (optim.schedule, optim.warmup_steps) == ("cosine", 10_000)
  assert (optim.learning_rate, optim.clip_norm) == (1e-3, 1.0)
  assert optim.weight_decay == 0.1
  assert (config.data.batch_size, config.data.image_size) == (4096, 224)
  assert config.train.epochs == 300
  assert config.objective.loss == "sigmoid"
  assert config.model.pre_logits == (dataset == "i1k")
  assert config.model.head_bias_init == {"i1k": -6.9, "i21k": -10.0}[dataset]
  assert recipes.published_classes(config.data.source) == {
      "i1k": 1000, "i21k": 21_843}[dataset]


def test_the_28_settings_of_a_model_differ():
  seen = set()
  for row, regularised, decay in itertools.product(
      ROWS, ("", ",do_0.1,sd_0.1"), ("0.1", "0.03")):
    config = get(NAME, f"Ti/16,i21k,{row[0]}{regularised},wd_{decay},30ep")
    assert config.optim.weight_decay == float(decay)
    assert config.model.dropout == config.model.stochastic_depth == (
        0.1 if regularised else 0.0)
    assert config.train.epochs == 30
    seen.add(settings(config))
  assert len(seen) == 28


@pytest.mark.parametrize("file, arg", [
    ("B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0",
     "B/16,i21k,medium1"),
    ("R_Ti_16-i21k-30ep-lr_0.001-aug_light0-wd_0.03-do_0.1-sd_0.1.npz",
     "R+Ti/16,i21k,light1,wd_0.03,do_0.1,sd_0.1,30ep"),
    ("S_16-i1k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0",
     "S/16,i1k,light2,wd_0.03"),
    ("augreg/R50_L_32-i21k-300ep-lr_0.001-aug_strong2-wd_0.1-do_0.1-sd_0.1",
     "R50+L/32,i21k,strong2,do_0.1,sd_0.1")])
def test_a_files_name_is_its_recipe(file, arg):
  assert get(NAME, file).to_dict() == get(NAME, arg).to_dict()


def test_light0_is_the_papers_light1():
  assert settings(get(NAME, "B/16,i21k,light0")) == settings(
      get(NAME, "B/16,i21k,light1"))
  assert settings(get(NAME, "B/16,i21k,light1")) != settings(
      get(NAME, "B/16,i21k,light2"))


@pytest.mark.parametrize("arg, message", [
    ("B/16,i21k,medum1", "level 'medum1' is unknown.*did you mean 'medium1'"),
    ("B/16,i1k,none,30ep", "imagenet2012 for 300 epochs, not 30"),
    ("H/14,i21k", "model 'H/14' is unknown"),
    ("B/16,i21k,none,wd_0.3", "option 'wd_0.3' .*did you mean 'wd_0.03'"),
    ("B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0--imagenet2012-"
     "steps_20k-lr_0.03-res_384", "is a fine-tuned file")])
def test_errors(arg, message):
  with pytest.raises(UsageError, match=message):
    get(NAME, arg)
