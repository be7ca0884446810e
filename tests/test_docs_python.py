"""The Python that README and docs/python.md show runs, and prints what it says.

The released file and the trained model are stood in for by small ones with
random weights; training is shortened.
"""

import pathlib
import re

import jax
import numpy as np
from PIL import Image
import pytest

import vit_jax
from vit_jax.data.pictures import list_pictures
from vit_jax.errors import DataError
from vit_jax.weights.convert import write_weights

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Long enough to run through every part of the loop.
SHORTER = """config.train.steps = 2
config.train.update(eval_every=2, report=False)
config.optim.warmup_steps = 1
config.model.depth = 1
"""


def blocks(text, language="python"):
  fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
  return [body for kind, body in fenced if kind == language]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
  """The network of configs/quickstart.py in model.npz, random weights."""
  config = vit_jax.load_config("configs/quickstart.py")
  model = vit_jax.make_model(**(config.model.to_dict() | {"num_classes": 10}))
  size = config.data.image_size
  params = jax.jit(model.init)(
      jax.random.key(0), np.zeros((1, size, size, 3), np.float32))["params"]
  kernel = params["head"]["kernel"]  # Zeros, of which a warning would tell.
  params["head"]["kernel"] = jax.random.normal(jax.random.key(1), kernel.shape)
  path = tmp_path_factory.mktemp("quickstart") / "model.npz"
  write_weights(path, params, {
      "architecture": model.architecture(), "image_size": [size, size],
      "class_names": [str(i) for i in range(10)]})
  return path


@pytest.fixture
def folder(tmp_path, monkeypatch, quickstart):
  """A folder with what the pages speak of, as the current one."""
  def put(place):
    place = tmp_path / place
    place.parent.mkdir(parents=True, exist_ok=True)
    for source in (quickstart, quickstart.with_suffix(".json")):
      place.with_suffix(source.suffix).write_bytes(source.read_bytes())

  put("runs/quickstart/model.npz")
  put("mirror/imagenet21k+imagenet2012/ViT-B_16.npz")
  for name in ("cat.jpg", "holiday/a.jpg", "digits/a-0.png", "digits/a-2.png"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    Image.new("RGB", (20, 16), "tan").save(tmp_path / name)
  monkeypatch.setenv("VIT_JAX_CHECKPOINTS", str(tmp_path / "mirror"))
  monkeypatch.chdir(tmp_path)
  return tmp_path


def test_readme(folder, capsys):
  (code,) = blocks(README)
  names = {}
  exec(compile(code, "README.md", "exec"), names)
  assert "Prediction(name='" in capsys.readouterr().out
  assert names["features"].shape == (1, 64)


def test_the_package_shows_what_runs(folder):
  (code,) = re.findall(r"^    .*?(?=\n\n)", vit_jax.__doc__, re.M | re.S)
  (folder / "ViT-B_16.npz").write_bytes(
      (folder / "runs/quickstart/model.npz").read_bytes())
  code = re.sub("^    ", "", code, flags=re.M).replace("size=384", "size=32")
  exec(compile(code, "vit_jax", "exec"), {})


@pytest.mark.slow
def test_the_page_of_python(folder, capsys):
  code = blocks(PAGE)
  assert sum("vit_jax.train(" in block for block in code) == 1
  names = {}
  for block in code:
    shorter = block.replace("config.train.steps = 600\n", SHORTER)
    assert ("vit_jax.train(" in block) == (shorter != block)
    exec(compile(shorter, "python.md", "exec"), names)
    if block is code[0]:
      assert repr(names["vit"]) + "\n" == blocks(PAGE, "")[0]
  printed = capsys.readouterr().out
  assert len(re.findall(r"^\d+\.\d%  \d$", printed, re.M)) == 3
  assert len(re.findall(r"^digits/a-\d.png \d$", printed, re.M)) == 2
  assert names["features"].shape == (2, 64)
  assert "block3" in names["aux"]
  assert (folder / "digits.npz").exists()
  assert (folder / "timm" / "config.json").exists()
  # The last `vit` is the model that was trained.
  assert names["vit"].model.depth == 1
  assert names["vit"].config["metadata"]["step"] == 2


def test_every_name_of_the_table_is_one(folder):
  vit = vit_jax.load("runs/quickstart")
  table = PAGE.partition("| `at=`")[2].partition("\n\n")[0]
  names = re.findall(r'^\| `"(\w+)"`', table, re.M)
  assert len(names) > 8
  for name in names:
    if name != "stage1":  # Of a ResNet.
      assert len(vit.features("digits", at=name)) == 2


def test_the_message_is_the_one_that_comes():
  image = np.linspace(0, 1, 768, dtype=np.float32).reshape(16, 16, 3)
  with pytest.raises(DataError) as error:
    list_pictures(image)
  assert f"DataError: {error.value}\n" == blocks(PAGE, "")[1]
