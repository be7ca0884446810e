"""configs/folder.py: what it makes of a model and of a folder."""

import numpy as np
from PIL import Image
import pytest
from shipped_configs import get, load

from vit_jax.config import schema
from vit_jax.data.sources import make_source
from vit_jax.errors import UsageError

FOLDER = load("folder.py")


def fill(folder, count, classes=("cat", "dog", "owl")):
  """Writes `count` images, spread over classes."""
  rng = np.random.default_rng(len(str(folder)))
  for i in range(count):
    place = folder / classes[i % len(classes)]
    place.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(
        place / f"{i}.png")
  return folder


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
  """Sixty images without splits."""
  return fill(tmp_path_factory.mktemp("birds"), 60)


def check_splits(config):
  """Returns ids of what is trained on and of what is held out."""
  train = make_source(config.data.source, split=config.data.split)
  parts = {name: make_source(config.data.source, split=entry.split)
           for name, entry in config.evals.items()}
  ids = [{s[i]["id"] for i in range(len(s))} for s in (train, *parts.values())]
  assert sum(map(len, ids)) == len(set().union(*ids))
  return {"train": len(ids[0])} | {
      name: len(part) for name, part in zip(parts, ids[1:], strict=True)}


def test_a_released_model_follows_the_paper(birds):
  config = get("folder.py", f"b16,{birds}")
  resolved = schema.resolve(config)
  assert resolved.init.path == "imagenet21k/ViT-B_16"
  assert (resolved.init.head, resolved.init.pre_logits) == ("reset", "drop")
  # Read off the weights and the data where they are opened.
  assert resolved.model.variant is resolved.data.image_size is None
  assert resolved.model.num_classes is None
  optim = resolved.optim
  assert (optim.name, optim.momentum, optim.schedule) == ("sgd", 0.9, "cosine")
  assert (optim.clip_norm, optim.weight_decay) == (1.0, 0.0)
  assert optim.warmup_share == 0.1
  assert resolved.train.epochs == 20
  assert resolved.data.batch_size == 32  # Of 48 images, in powers of two.
  assert schema.total_steps(resolved, 48) == 30
  assert resolved.train.eval_every == 2  # Steps, the nearest to an epoch.


@pytest.mark.parametrize(("model", "path", "dropout"), [
    ("B/32", "imagenet21k/ViT-B_32", 0.0),
    ("ViT-L_16", "imagenet21k/ViT-L_16", 0.1),
    ("R26+B/32", "imagenet21k/R26+ViT-B_32", 0.0),
    ("r50_b16", "imagenet21k/R50+ViT-B_16", 0.1),
    ("s16", "augreg/S_16", 0.0), ("R26+S/32", "augreg/R26_S_32", 0.0),
    ("imagenet21k+imagenet2012/ViT-B_16",) * 2 + (0.0,),
    ("augreg/Ti_16-384",) * 2 + (0.0,),
    ("R_Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0",) * 2
    + (0.0,),
    ("https://example.org/a.npz",) * 2 + (0.0,), ("own.npz",) * 2 + (0.0,)])
def test_every_released_name_is_a_model(model, path, dropout):
  assert FOLDER.start_weights(model) == (path, dropout)


def test_a_file_and_a_finished_run_are_models(tmp_path, monkeypatch):
  (tmp_path / "run").mkdir()
  with pytest.raises(UsageError, match="run holds no model.npz"):
    FOLDER.start_weights(str(tmp_path / "run"))
  file = tmp_path / "run" / "model.npz"
  file.touch()
  assert FOLDER.start_weights(str(tmp_path / "run"))[0] == str(file)
  assert FOLDER.start_weights(str(file))[0] == str(file)
  # A folder that happens to be called like a model is none.
  (tmp_path / "b16").mkdir()
  monkeypatch.chdir(tmp_path)
  assert FOLDER.start_weights("b16")[0] == "imagenet21k/ViT-B_16"


def test_options(birds):
  config = get("folder.py", f"b32,{birds},size=384, epochs=1.5,batch=7,"
               "rate=0.003,val=0.5")
  assert config.data.image_size == 384
  assert config.train.epochs == 1.5
  assert config.data.batch_size == 7
  assert config.optim.learning_rate == 0.003
  assert check_splits(config) == {"train": 30, "val": 30}


def test_from_scratch(birds):
  config = get("folder.py", f"scratch-Ti/8,{birds},size=64")
  assert (config.init.path, config.model.variant) == ("", "Ti/8")
  assert (config.optim.name, config.train.epochs) == ("adam", 100)
  assert schema.resolve(get(
      "folder.py", f"scratch-s16,{birds}")).data.image_size == 224


def test_a_folder_without_splits_is_cut_by_class(birds):
  config = get("folder.py", f"b16,{birds}")
  assert check_splits(config) == {"train": 48, "val": 12}
  val = make_source(str(birds), split=config.evals.val.split)
  assert np.bincount(val.labels).tolist() == [4, 4, 4]


def test_splits_that_are_there_are_used(tmp_path):
  fill(tmp_path / "train", 30)
  config = get("folder.py", f"b16,{tmp_path}")
  assert check_splits(config) == {"train": 24, "val": 6}
  fill(tmp_path / "Test", 9)
  config = get("folder.py", f"b16,{tmp_path}")
  assert check_splits(config) == {"train": 24, "val": 6, "test": 9}
  assert config.evals.test.at_end and not config.evals.val.at_end
  fill(tmp_path / "valid", 12)
  config = get("folder.py", f"b16,{tmp_path}")
  assert check_splits(config) == {"train": 30, "val": 12, "test": 9}
  with pytest.raises(UsageError, match="val=0.1 is for data without .*leave"):
    get("folder.py", f"b16,{tmp_path},val=0.1")


def test_nothing_held_out(birds):
  config = get("folder.py", f"b16,{birds},val=0")
  assert check_splits(config) == {"train": 60}


@pytest.mark.parametrize("count, batch, parts", [
    (1, 1, {"train": 1}), (2, 2, {"train": 2}),
    (6, 5, {"train": 5, "val": 1}), (9, 7, {"train": 7, "val": 2}),
    (12, 8, {"train": 10, "val": 2})])
def test_small_sets(count, batch, parts, tmp_path):
  config = get("folder.py", f"b16,{fill(tmp_path, count)}")
  assert config.data.batch_size == batch
  assert check_splits(config) == parts


@pytest.mark.parametrize("name", ["a,b", "a:b", "a, size", "a=1,b"])
def test_paths_with_commas_and_colons(name, tmp_path):
  path = str(fill(tmp_path / name, 12))
  config = get("folder.py", f"b16,{path},epochs=3")
  assert (config.data.source, config.train.epochs) == (path, 3)


def test_a_file_of_labels(tmp_path):
  fill(tmp_path, 20, classes=("images",))
  (tmp_path / "labels.csv").write_text("file_name,label\n" + "".join(
      f"images/{i}.png,{'ab'[i % 2]}\n" for i in range(20)))
  for path in (tmp_path, tmp_path / "labels.csv"):
    config = get("folder.py", f"b16,{path}")
    assert check_splits(config) == {"train": 16, "val": 4}


@pytest.mark.parametrize("arg, message", [
    ("", "lacks MODEL; expected configs/folder.py:MODEL,PATH"),
    ("b16", "'b16' lacks PATH"), ("b16,,epochs=3", "lacks PATH"),
    (",{}", "lacks MODEL"), ("b17,{}", "model 'b17' is unknown"),
    ("scratch-X/16,{}", "'X/16' is unknown"),
    ("b16,nowhere", "there is no folder"),
    ("b16,{},epoch=3", "epoch is not an option .did you mean 'epochs'"),
    ("b16,{},epochs=many", "epochs='many'; expected a positive number"),
    ("b16,{},epochs=0", "epochs='0'; expected a positive"),
    ("b16,{},batch=1.5", "batch='1.5'; expected .*without a fraction"),
    ("b16,{},val=20", "val='20'; expected a share from 0 to 0.99"),
    ("b16,vtab:dtd", "configs/vtab.py")])
def test_what_cannot_be_used_is_said_in_one_line(arg, message, birds):
  with pytest.raises(UsageError, match=message) as error:
    get("folder.py", arg.format(birds))
  assert str(error.value).count("\n") == 0
