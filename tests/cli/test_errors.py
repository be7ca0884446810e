"""What a user can do wrong: one clear line, exit code 1 or 2, no traceback.

Every row is a command, its exit code, and what its one line must say: the
name or value that is wrong, and what would be right.
"""

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from vit_jax.__main__ import main
from vit_jax.weights import convert

TRAIN = ("train", "--config=configs/quickstart.py", "--workdir={new}",
         "--config.evals.val.batch_size=64",
         "--config.evals.test.batch_size=64")

VERBS = [
    ("verb", ("trian",), 2, "unknown verb 'trian' (did you mean 'train'?)"),
    ("no checkpoint", ("predict", "a.png"), 2, "--checkpoint"),
    ("its name is mistyped", ("evaluate", "--checkpont=x"), 2,
     "unknown argument '--checkpont=x' (did you mean '--checkpoint'?)"),
    ("timm's name", ("inspect", "vit_base_patch16_224"), 2,
     "a model of the Hugging Face hub is called timm:vit_base_patch16_224"),
    ("timm's hub", ("inspect", "timm/deit_small_patch16_224.fb_in1k"), 2,
     "is called hf:timm/deit_small_patch16_224.fb_in1k"),
    ("a hub's name", ("inspect", "google/vit-base-patch16-224"), 2,
     "is called hf:google/vit-base-patch16-224"),
    ("no image", ("predict", "--checkpoint=x"), 2, "IMAGE"),
    ("top_k", ("predict", "a.png", "--checkpoint=x", "--top_k=0"), 2,
     "--top_k: '0' is not a whole number from 1"),
    ("size", ("predict", "a.png", "--checkpoint=x", "--image_size=big"), 2,
     "--image_size: 'big' is not a size; expected 384 or 224x320"),
    ("released name", ("predict", "{png}", "--checkpoint=imagenet21k/ViT-B16"),
     2, "did you mean 'imagenet21k/ViT-B_16'"),
    ("missing file", ("predict", "{png}", "--checkpoint={tmp}/no.npz"), 1,
     "no.npz: no such file"),
    ("no name", ("predict", "{png}", "--checkpoint="), 2, "is empty"),
    ("missing file of a URL", ("inspect", "file://{tmp}/no.npz"), 1,
     "no.npz: no such file"),
    # Of a kind whose client no test needs.
    ("bucket", ("inspect", "az://bucket/model.npz"), 1,
     "az://bucket/model.npz: az:// needs a package that is not installed; run "
     "pip install adlfs"),
    ("bucket of a run", ("report", "--workdir=az://bucket/run"), 1,
     "run pip install adlfs"),
    ("server of a run", ("report", "--workdir=https://host/run"), 2,
     "https://host/run: a local folder was expected, or one in a bucket (gs:"),
    ("truncated", ("predict", "{png}", "--checkpoint={truncated}"), 1,
     "truncated.npz: a truncated or damaged .npz"),
    ("HTML", ("predict", "{png}", "--checkpoint={html}"), 1,
     "html.npz: an HTML or XML page"),
    ("pickle", ("predict", "{png}", "--checkpoint={pickle}"), 1,
     "pickle.npz: a Python pickle"),
    ("empty", ("inspect", "{empty}"), 1, "empty.npz: an empty file"),
    ("folder", ("inspect", "{tmp}/nothing"), 1,
     "nothing: a directory without weights files"),
    ("run without checkpoint", ("inspect", "{tmp}/young"), 1,
     "young: this run has no model.npz and no checkpoint yet"),
    ("not a ViT", ("features", "{png}", "--checkpoint={other}",
                   "--out={tmp}/x.npz"), 1,
     "other.npz: no Vision Transformer"),
    ("broken image", ("predict", "{tmp}/broken.png",
                      "--checkpoint={checkpoint}"), 1,
     "broken.png: a truncated PNG picture"),
    ("missing image", ("predict", "{tmp}/no.png",
                       "--checkpoint={checkpoint}"), 1, "no.png"),
    ("folder without images", ("predict", "{tmp}/nothing",
                               "--checkpoint={checkpoint}"), 1,
     "nothing: no image found; expected files with .jpg"),
    ("preprocess", ("predict", "{png}", "--checkpoint={checkpoint}",
                    "--preprocess=rezise(8)"), 2, "did you mean 'resize'"),
    ("patches", ("predict", "{png}", "--checkpoint={checkpoint}",
                 "--image_size=2"), 2, "patch"),
    ("no source", ("evaluate", "--checkpoint={checkpoint}"), 2,
     "--source is missing"),
    ("source", ("evaluate", "--checkpoint={checkpoint}", "--source=digit"), 2,
     "data source 'digit' is not known"),
    ("tfds set", ("evaluate", "--checkpoint={checkpoint}",
                  "--source=tfds:cifar10", "--data_dir={tmp}"), 1,
     "tfds:cifar10"),
    ("split", ("evaluate", "--checkpoint={checkpoint}", "--source=digits",
               "--split=tests"), 2, "(did you mean 'test'?)"),
    ("classes", ("evaluate", "--checkpoint={three}", "--source=digits"), 1,
     "10 classes"),
    ("batch", ("evaluate", "--checkpoint={digits}", "--source=digits",
               "--batch_size=12"), 2,
     "batch_size=12 must be a multiple of the 8 ways"),
    ("suffix", ("convert", "{checkpoint}", "{tmp}/model.pt"), 2,
     ".npz or .safetensors"),
    ("dialect", ("convert", "{checkpoint}", "{tmp}/a.npz",
                 "--dialect=big_visoin"), 2, "(did you mean 'big_vision'?)"),
    ("report", ("report", "--workdir={tmp}/nothing"), 1,
     "nothing: no run here"),
    ("reports", ("report", "--workdir=a", "--workdir=b"), 2,
     "--out=DIR is missing"),
]

TRAINING = [
    ("no config", ("train", "--workdir={new}"), 2, "--config="),
    ("no workdir", ("train", "--config=configs/quickstart.py"), 2,
     "--workdir=DIR is missing"),
    ("config file", ("train", "--config=configs/quikstart.py"), 2,
     "did you mean 'configs/quickstart.py'"),
    ("config argument", ("train", "--config=configs/quickstart.py:fintune",
                         "--workdir={new}"), 2, "finetune"),
    ("key", (*TRAIN, "--config.train.step=3"), 2,
     "config has no key 'train.step' (did you mean 'steps'?)"),
    ("section", (*TRAIN, "--config.optimizer.learning_rate=3"), 2, "optim"),
    ("old key", (*TRAIN, "--config.base_lr=0.1"), 2,
     "'base_lr' is called 'optim.learning_rate' here"),
    ("old key in its place", (*TRAIN, "--config.batch=64"), 2,
     "'data.batch_size'"),
    ("type", (*TRAIN, "--config.train.steps=many"), 2, "many"),
    ("flag", (*TRAIN, "--wrokdir=x"), 2,
     "unknown argument '--wrokdir=x' (did you mean '--workdir'?)"),
    ("word", (*TRAIN, "cifar10"), 2, "unknown argument 'cifar10'"),
    ("key without its section", (*TRAIN, "--steps=5"), 2,
     "'--steps=5' (did you mean --config.train.steps?)"),
    ("key of two sections", (*TRAIN, "--seed=5", "--name=sgd"), 2,
     "'--seed=5' (did you mean --config.train.seed?)"),
    ("AdamW", (*TRAIN, "--config.optim.name=AdamW"), 2,
     "adam with optim.weight_decay is AdamW"),
    ("both lengths", (*TRAIN, "--config.train.epochs=3."), 2,
     "config.train.epochs"),
    ("accumulation", (*TRAIN, "--config.train.accumulate=3"), 2,
     "config.train.accumulate=3"),
    ("source", (*TRAIN, "--config.data.source=tfds:cifar10",
                "--config.data.data_dir={tmp}"), 3, "tfds:cifar10"),
    ("folder", (*TRAIN, "--config.data.source={tmp}/nothing"), 3,
     "nothing: no image found; expected files with .jpg"),
    ("model", (*TRAIN, "--config.model.variant=ViT-X_16"), 2,
     "model.variant='ViT-X_16' is unknown"),
    ("heads", (*TRAIN, "--config.model.width=512",
               "--config.model.num_heads=12"), 2, "head counts that work"),
    ("schedule", (*TRAIN, "--config.optim.schedule=cosin"), 2,
     "(did you mean 'cosine'?)"),
    ("mesh", (*TRAIN, "--config.mesh.fsdp=3"), 2, "do not fit 8 devices"),
    ("batch", (*TRAIN, "--config.data.batch_size=60"), 2,
     "batch_size=60 must be a multiple of the 8 ways"),
    ("frozen", (*TRAIN, "--config.optim.frozen=('Trasnformer',)"), 2,
     "'Trasnformer' matches no parameter"),
    ("checkpoint", (*TRAIN, "--config.init.path={tmp}/no.npz"), 3,
     "no.npz: no such file"),
    ("HTML", (*TRAIN, "--config.init.path={html}"), 3,
     "html.npz: an HTML or XML page"),
    ("another model's", (*TRAIN, "--config.init.path={checkpoint}"), 3,
     "tiny.npz: the file is custom/4"),
    ("workdir of another run",
     ("train", "--config=configs/quickstart.py", "--workdir={tmp}/other_run"),
     2, "belongs to another run: train.seed was 5, now 0"),
    ("workdir in a bucket",
     ("train", "--config=configs/quickstart.py", "--workdir=az://bucket/x"),
     3, "run pip install adlfs"),
    ("workdir on a server",
     ("train", "--config=configs/quickstart.py", "--workdir=hf://a/b"),
     2, "hf://a/b: a local folder was expected"),
    ("workdir is a file",
     ("train", "--config=configs/quickstart.py", "--workdir={png}"), 2,
     "cannot be made a directory"),
]


@pytest.fixture(scope="module")
def places(
    tmp_path_factory, checkpoint, digits_checkpoint, tiny_model):
  """Files that are not what they should be, by name."""
  tmp = tmp_path_factory.mktemp("wrong")
  (tmp / "nothing").mkdir()
  (tmp / "young").mkdir()
  (tmp / "young/config.json").write_text("{}")
  (tmp / "other_run").mkdir()
  (tmp / "other_run/config.json").write_text(
      json.dumps({"config": {"train": {"seed": 5}}}))
  (tmp / "html.npz").write_text("<!doctype html><title>404</title>")
  (tmp / "pickle.npz").write_bytes(pickle.dumps({"w": 1}))
  (tmp / "empty.npz").write_bytes(b"")
  (tmp / "truncated.npz").write_bytes(checkpoint.read_bytes()[:-4000])
  np.savez(tmp / "other.npz", weights=np.zeros(3, np.float32))
  params = tiny_model[1] | {"head": {
      "kernel": np.ones((16, 3), np.float32), "bias": np.zeros(3, np.float32)}}
  convert.write_weights(tmp / "three.npz", params, {})
  pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
  Image.fromarray(pixels).save(tmp / "good.png")
  (tmp / "broken.png").write_bytes((tmp / "good.png").read_bytes()[:50])
  return {"tmp": tmp, "png": tmp / "good.png", "new": tmp / "new",
          "checkpoint": checkpoint, "digits": digits_checkpoint} | {
              name: tmp / f"{name}.npz"
              for name in ("html", "pickle", "empty", "truncated", "other",
                           "three")}


def one_line(ran, code, message):
  """Checks what a failed command prints."""
  lines = ran.err.strip().splitlines()
  errors = [line for line in lines if line.startswith("vit_jax: error: ")]
  assert len(errors) == 1, ran.err
  assert message in errors[0]
  assert "Traceback" not in ran.err
  assert ran.code == code
  assert not ran.out


@pytest.mark.parametrize(
    "words, code, message", [row[1:] for row in VERBS],
    ids=[row[0] for row in VERBS])
def test_wrong_use_of_a_verb(vit, places, words, code, message):
  one_line(vit(*(word.format(**places) for word in words)), code, message)


@pytest.mark.parametrize(
    "words, code, message", [row[1:] for row in TRAINING],
    ids=[row[0] for row in TRAINING])
def test_wrong_use_of_train(vit, places, words, code, message):
  shutil.rmtree(places["new"], ignore_errors=True)
  one_line(vit(*(word.format(**places) for word in words)), code, message)


def test_a_real_process_says_the_same(places):
  done = subprocess.run(
      [sys.executable, "-m", "vit_jax", "inspect", str(places["pickle"])],
      capture_output=True, text=True, check=False)
  assert done.returncode == 1
  assert done.stdout == ""
  assert done.stderr == (
      f"vit_jax: error: {places['pickle']}: a Python pickle "
      f"({places['pickle'].stat().st_size} bytes), not weights in .npz or "
      ".safetensors; pickles can run code and are never opened: save the "
      "parameters as .npz or .safetensors\n")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOSPC])
def test_a_disk_that_fails_is_one_line(monkeypatch, capfd, number):
  """An error of an open file has no name in it."""

  def fail(_):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr("vit_jax.cli.paper.run", fail)
  assert main(["paper", "costs"]) == 1
  error = capfd.readouterr().err
  assert error.startswith("vit_jax: error: ") and error.count("\n") == 1
