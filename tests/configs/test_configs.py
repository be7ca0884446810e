"""Every shipped recipe is a valid config, with the numbers of the paper."""

import inspect
import re

import jax
import numpy as np
import pytest
from shipped_configs import FILES, check_works, get, load

from vit_jax.config import recipes, schema
from vit_jax.errors import UsageError
from vit_jax.models.cost import train_flops
from vit_jax.models.variants import make_model
from vit_jax.training import setup

# Arguments to try beside none; pretrain.py and vit.py have tables below.
ARGUMENTS = {
    "adam_sgd.py": ["R152x2,sgd", "R50x1,adam,i21k", "R50x1,adam,cifar10",
                    "R14x1,sgd,digits"],
    "augreg.py": ["R_Ti_16", "B_16,imagenet2012", "L_16,cifar100,full"],
    "augreg_pretrain.py": ["B/16,i21k,medium1,do_0.1,sd_0.1,wd_0.03"],
    "cifar10_scratch.py": ["full", "full,randaugment"],
    "folder.py": ["scratch-Ti/8,digits,size=16"],
    "imagenette.py": ["finetune"],
    "masked_patch.py": [
        "imagenet2012", "i21k,colour_4x4", "digits", "digits,regression",
        "digits,,finetune", "digits,,scratch"],
    "plain_vit.py": ["300", "150,full"],
    "pretrain.py": ["B/16,imagenet21k", "R152x2,jft300m,7"],
    "quickstart.py": ["finetune"],
    "vit.py": ["b16,cifar10"],
    "vtab.py": ["l16,clevr_count", "b16,dsprites_location,select"],
}
NO_DEFAULT = ("folder.py",)  # Without data there is nothing to build.


@pytest.mark.parametrize("name", FILES)
def test_resolves_and_can_be_built(name):
  for arg in ARGUMENTS.get(name, []) if name in NO_DEFAULT else [
      "", *ARGUMENTS.get(name, [])]:
    check_works(get(name, arg))


@pytest.mark.parametrize("name", FILES)
def test_docstring_has_command_score_and_hardware(name):
  text = inspect.getdoc(load(name))
  assert f"--config=configs/{name}" in text
  assert "--workdir=" in text
  assert "xpected" in text
  assert re.search(r"[Nn]ot run here|cores", text)


@pytest.mark.parametrize("name", FILES)
def test_unknown_argument_names_file_and_choices(name):
  with pytest.raises(UsageError, match=rf"configs/{name}: .*'nonsense'"):
    get(name, "nonsense")


def test_checks_notice_an_unknown_key():
  config = get("vit.py")
  with config.unlocked():
    config.optim.learning_rat = 1.0
  with pytest.raises(UsageError, match="did you mean 'learning_rate'"):
    check_works(config)


# Table 3 of the paper, again: model, data set, (epochs, the longest last), base
# rate, decay, weight decay, dropout.
TABLE_3 = """
B/16      jft300m       7     8e-4  linear  0.1   0.0
B/32      jft300m       7     8e-4  linear  0.1   0.0
L/32      jft300m       7     6e-4  linear  0.1   0.0
L/16      jft300m       7/14  4e-4  linear  0.1   0.0
H/14      jft300m       14    3e-4  linear  0.1   0.0
R50+B/16  jft300m       7     8e-4  linear  0.1   0.0
R50+B/32  jft300m       7     8e-4  linear  0.1   0.0
R50+L/32  jft300m       7     2e-4  linear  0.1   0.0
R50+L/16  jft300m       7/14  4e-4  linear  0.1   0.0
B/16      imagenet21k   90    1e-3  linear  0.03  0.1
B/32      imagenet21k   90    1e-3  linear  0.03  0.1
L/16      imagenet21k   30/90 1e-3  linear  0.03  0.1
L/32      imagenet21k   30/90 1e-3  linear  0.03  0.1
B/16      imagenet2012  300   3e-3  cosine  0.3   0.1
B/32      imagenet2012  300   3e-3  cosine  0.3   0.1
L/16      imagenet2012  300   3e-3  cosine  0.3   0.1
L/32      imagenet2012  300   3e-3  cosine  0.3   0.1
H/14      imagenet2012  300   3e-3  cosine  0.3   0.1
"""
ROWS_3 = [line.split() for line in TABLE_3.strip().splitlines()]
CLASSES = {"jft300m": 18_291, "imagenet21k": 21_843, "imagenet2012": 1000}


@pytest.mark.parametrize("row", ROWS_3, ids=lambda row: ",".join(row[:2]))
def test_table_3(row):
  model, dataset, lengths, rate, decay, weight_decay, dropout = row
  lengths = [int(length) for length in lengths.split("/")]
  for chosen in (None, *lengths):
    arg = f"{model},{dataset}" + (f",{chosen}" if chosen else "")
    config = get("pretrain.py", arg)
    check_works(config)
    epochs = chosen or max(lengths)
    if dataset == "jft300m":
      assert config.train.steps == round(epochs * 303e6 / 4096)
    else:
      assert config.train.epochs == epochs
    assert config.model.variant == model
    assert config.data.batch_size == 4096
    assert config.data.image_size == 224
    assert config.data.preprocess == "inception_crop({size})|flip_lr"
    assert config.optim.name == "adam"
    assert (config.optim.beta1, config.optim.beta2) == (0.9, 0.999)
    assert config.optim.learning_rate == float(rate)
    assert config.optim.schedule == decay
    assert config.optim.linear_end == 1e-5
    assert config.optim.warmup_steps == 10_000
    assert config.optim.weight_decay == float(weight_decay)
    assert config.model.dropout == float(dropout)
    clipped = config.optim.clip_norm
    assert clipped == (1.0 if dataset == "imagenet2012" else None)
    assert config.objective.loss == "sigmoid"
    assert config.model.head_bias_init == -10.0
    assert config.model.pre_logits
    # Left to the data, whose number is known without opening them.
    assert config.model.num_classes is None
    assert recipes.published_classes(config.data.source) == CLASSES[dataset]


@pytest.mark.parametrize(("name", "arg", "classes"), [
    ("imagenette.py", "", 10), ("imagenette.py", "finetune", 10),
    ("vtab.py", "b16,dtd", 47), ("vtab.py", "l16,clevr_count", 8),
    ("augreg.py", "R_Ti_16", 37), ("masked_patch.py", "digits", None)])
def test_the_classes_are_those_of_the_data(name, arg, classes):
  config = get(name, arg)
  assert config.model.num_classes is None
  assert recipes.published_classes(config.data.source) == classes


def test_jft_steps_are_those_of_the_paper():
  # 7 and 14 epochs of 303 million pictures at batch 4096.
  assert get("pretrain.py", "B/16,jft300m").train.steps == 517_822
  assert get("pretrain.py", "H/14,jft").train.steps == 1_035_645


# Table 4 of the paper, again: steps, the rates that it sweeps, test split.
TABLE_4 = {
    "imagenet2012": (20_000, {0.003, 0.01, 0.03, 0.06}, "validation", 1000),
    "cifar10": (10_000, {0.001, 0.003, 0.01, 0.03}, "test", 10),
    "cifar100": (10_000, {0.001, 0.003, 0.01, 0.03}, "test", 100),
    "oxford_iiit_pet": (500, {0.001, 0.003, 0.01, 0.03}, "test", 37),
    "oxford_flowers102": (500, {0.001, 0.003, 0.01, 0.03}, "test", 102),
}
DEV = {"imagenet2012": "99%", "cifar10": "98%", "cifar100": "98%",
       "oxford_iiit_pet": "90%", "oxford_flowers102": "90%"}
# Dropout of google-research/vision_transformer's fine-tuning configs.
DROPOUT = {"b16": 0.0, "b32": 0.0, "l32": 0.0, "l16": 0.1, "h14": 0.1,
           "r50_b16": 0.1, "r50_l32": 0.1, "B/8": 0.0, "R26+B/32": 0.0}


@pytest.mark.parametrize("dataset", TABLE_4)
@pytest.mark.parametrize("model", DROPOUT)
def test_table_4(model, dataset):
  steps, rates, test, classes = TABLE_4[dataset]
  config = get("vit.py", f"{model},{dataset}")
  check_works(config)
  assert config.train.steps == steps
  assert config.optim.learning_rate in rates
  assert config.optim.warmup_steps == (100 if steps == 500 else 500)
  assert (config.optim.name, config.optim.momentum) == ("sgd", 0.9)
  assert config.optim.schedule == "cosine"
  assert config.optim.weight_decay == 0.0
  assert config.optim.clip_norm == 1.0
  assert config.data.batch_size == 512
  # 384 for the patches that divide it; as many whole patches for H/14.
  assert config.data.image_size == (378 if model == "h14" else 384)
  assert config.data.split == f"train[:{DEV[dataset]}]"
  assert config.evals.dev.split == f"train[{DEV[dataset]}:]"
  assert config.evals.test.split == test
  assert config.evals.test.preprocess == "resize({size})"
  assert config.model.num_classes is None
  assert recipes.published_classes(config.data.source) == classes
  assert config.model.dropout == DROPOUT[model]
  assert config.objective.loss == "softmax"
  assert config.init.path.startswith("imagenet21k/")
  assert (config.init.head, config.init.pre_logits) == ("reset", "drop")
  assert config.train.ema_decay is None


def test_full_training_set_has_no_dev_split():
  config = get("vit.py", "b16,imagenet2012,full")
  assert config.data.split == "train"
  assert list(config.evals) == ["test"]


@pytest.mark.parametrize(
    "model, size", [("l16", 512), ("h14", 518), ("b16", 512)])
def test_table_2_resolution_and_polyak(model, size):
  config = get("vit.py", f"{model},imagenet2012,table2")
  check_works(config)
  assert config.data.image_size == size
  assert config.train.ema_decay == 0.9999


@pytest.mark.parametrize("name, path", [
    ("b16", "imagenet21k/ViT-B_16"), ("ViT-L_16", "imagenet21k/ViT-L_16"),
    ("H/14", "imagenet21k/ViT-H_14"), ("r50_l32", "imagenet21k/R50+ViT-L_32"),
    ("R26+B/32", "imagenet21k/R26+ViT-B_32")])
def test_models_may_be_written_in_any_way(name, path):
  assert get("vit.py", f"{name},pets").init.path == path


def test_released_names_are_known():
  released = pytest.importorskip("vit_jax.weights.hub.released")
  known = {row["name"] for row in released.released_table()}
  for model in recipes.RELEASED:
    assert get("vit.py", f"{model},cifar10").init.path in known


@pytest.mark.parametrize("model, rate", [
    ("Ti_16", 0.03), ("S_32", 0.01), ("S_16", 0.03), ("B_32", 0.01),
    ("B_16", 0.03), ("L_16", 0.01), ("R_Ti_16", 0.03), ("R26_S_32", 0.01),
    ("R50_L_32", 0.01)])
def test_augreg_rates_of_the_recommended_files(model, rate):
  config = get("augreg.py", f"{model},imagenet2012")
  check_works(config)
  assert config.optim.learning_rate == rate
  assert config.train.steps == 20_000
  assert config.model.dropout == 0.0
  assert config.init.path == f"augreg/{model}"
  assert config.evals.test.preprocess == (
      "resize_small(448)|central_crop({size})")


def test_augreg_takes_a_whole_file_name():
  name = "R_Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"
  config = get("augreg.py", f"{name}.npz,cifar100")
  assert config.init.path == f"augreg/{name}"
  assert config.model.variant == "R_Ti_16"
  check_works(config)


def test_cifar10_scratch_is_the_small_vit():
  config = schema.resolve(get("cifar10_scratch.py"))
  assert config.model.num_classes is None  # Those of the data.
  model = make_model(**config.model.to_dict() | {"num_classes": 10})
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
  count = sum(x.size for x in jax.tree.leaves(shapes))
  d, m, depth = 512, 3072, 8
  block = 4 * d * d + 4 * d + 2 * d * m + d + m + 4 * d
  assert count == (48 * d + d) + d + 65 * d + depth * block + 2 * d + 10 * (
      d + 1)
  assert model.num_heads == 8
  # What the docstring says of 200 epochs.
  flops = train_flops(model, (32, 32)) * 49_000 * 200
  assert flops == pytest.approx(1.3e17, rel=0.02)
  for peak, minutes in ((989e12, 6), (312e12, 20), (197e12, 30)):
    assert flops / (0.35 * peak) / 60 == pytest.approx(minutes, rel=0.1)


def test_plain_vit_costs_what_its_docstring_says():
  config = schema.resolve(get("plain_vit.py"))
  examples = 1_281_167 * 99 // 100
  assert schema.total_steps(config, examples) == pytest.approx(
      111_500, abs=50)
  model = make_model(**config.model.to_dict() | {"num_classes": 1000})
  flops = train_flops(model, (224, 224)) * examples * 90
  assert flops == pytest.approx(3.1e18, rel=0.02)
  for peak, hours in ((4 * 123e12 / 2, 4), (8 * 197e12 / 2, 1),
                      (0.4 * 989e12, 2)):
    assert flops / peak / 3600 == pytest.approx(hours, rel=0.2)
  # Weight decay is decoupled: each step takes rate x decay off a kernel.
  assert config.optim.learning_rate * config.optim.weight_decay == (
      pytest.approx(1e-4))


@pytest.mark.parametrize("arg, message", [
    ("b17,cifar10", "model 'b17' is unknown"),
    ("b16,cifar11", r"data set 'cifar11' .*did you mean 'cifar10'"),
    ("b16,cifar10,ful", r"option 'ful' .*did you mean 'full'"),
    ("b16,cifar10,table2", "table2 .* is for imagenet2012, not for cifar10")])
def test_vit_errors(arg, message):
  with pytest.raises(UsageError, match=message):
    get("vit.py", arg)


@pytest.mark.parametrize("arg, message", [
    ("H/14,jft300m,7", r"number of epochs for H/14 on jft300m '7'.*known: 14"),
    ("R50x1,imagenet21k", "model 'R50x1' is unknown"),
    ("R49x1,jft300m", "model 'R49x1' is unknown"),
    ("B/16,cifar10", "data set 'cifar10' is unknown"),
    ("R50+B/16,imagenet21k", "model 'R50[+]B/16' is unknown")])
def test_pretrain_errors(arg, message):
  with pytest.raises(UsageError, match=message):
    get("pretrain.py", arg)


def test_split_arg_fills_in_defaults():
  split = recipes.split_arg
  assert split("f.py", "", ["a", "b"]) == ["a", "b"]
  assert split("f.py", "x", ["a", "b"]) == ["x", "b"]
  assert split("f.py", "x,y,more", ["a", "b"], ("more",)) == ["x", "y", "more"]
  with pytest.raises(UsageError, match="option 'z' is unknown; there is none"):
    split("f.py", "x,y,z", ["a", "b"])


def test_quickstart_finetunes_its_own_result_at_one_and_a_half_times():
  first, second = get("quickstart.py"), get("quickstart.py", "finetune")
  assert (first.optim.name, second.optim.name) == ("adam", "sgd")
  assert second.data.image_size == 1.5 * first.data.image_size
  assert first.init.path == "" and second.init.path.endswith("model.npz")
  assert "flip" not in first.data.preprocess + second.data.preprocess


@pytest.mark.parametrize(("train", "other", "where"), [
    ("tfds:jft300m", "tfds:imagenet2012", "gs://data"),
    ("tfds:jft300m", "", "gs://data"), ("tfds:x", "digits", ""),
    ("folder", "tfds:imagenet2012", "")])
def test_prepared_data_lie_together(train, other, where, monkeypatch):
  config = schema.default_config()
  config.data.update(source=train, data_dir="gs://data")
  config.evals.one = schema.eval_config(source=other)
  seen = {}
  monkeypatch.setattr(
      setup, "make_evaluator", lambda **options: seen.update(options))
  setup.make_evaluators(config, None, None, None)
  assert seen["data_dir"] == where


def test_average_pooling_is_followed_by_a_linear_classifier():
  # Appendix D.3; the class token keeps the hidden layer of pre-training.
  from vit_jax.experiments.study import read_study

  study = read_study("configs/heads.py", "")
  assert get("heads.py").model.pre_logits
  for name, row in study.rows.items():
    changes = row.stages[0].changes
    assert changes.get("model.pre_logits", True) == name.startswith("cls")


@pytest.mark.parametrize("name", ["heads.py", "shapes.py", "data_scaling.py"])
def test_the_probe_sees_images_as_big_visions_does(name):
  assert get(name).evals.fewshot.preprocess == (
      "resize(256)|central_crop({size})")
