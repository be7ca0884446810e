"""The verb writes what vit.features returns, with names and labels."""

import numpy as np
from PIL import Image
import pytest

from vit_jax.data.sources import make_source
from vit_jax.weights.load import load


@pytest.fixture
def folder(tmp_path):
  """Three images in two folders of classes."""
  rng = np.random.default_rng(0)
  for name in ("birds/ant/a.png", "birds/bee/b.jpg", "birds/bee/c.png"):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(
        rng.integers(0, 256, (11, 9, 3), np.uint8)).save(tmp_path / name)
  return tmp_path / "birds"


def read(path):
  with np.load(path, allow_pickle=False) as file:
    return dict(file)


@pytest.mark.parametrize("at", ["pooled", "block0"])
def test_of_images(vit, checkpoint, folder, tmp_path, at):
  out = tmp_path / "out" / "features.npz"
  ran = vit("features", f"--checkpoint={checkpoint}", folder, f"--at={at}",
            f"--out={out}")
  assert (ran.code, ran.err) == (0, "")
  want = load(checkpoint).features(folder, at=at)
  assert ran.out == (f"wrote {out}: {at} of 3 images, each "
                     f"{'x'.join(map(str, want.shape[1:]))}\n")
  got = read(out)
  assert set(got) == {"names", "labels", "features"}
  np.testing.assert_array_equal(got["features"], want)
  assert got["features"].dtype == np.float32
  assert got["names"].tolist() == [
      f"{folder}/ant/a.png", f"{folder}/bee/b.jpg", f"{folder}/bee/c.png"]
  assert got["labels"].tolist() == [-1, -1, -1]


def test_of_a_folder_of_classes(vit, checkpoint, folder, tmp_path):
  out = tmp_path / "features.npz"
  ran = vit("features", f"--checkpoint={checkpoint}", f"--source={folder}",
            f"--out={out}", "--json", "--batch_size=2")
  assert ran.code == 0, ran.err
  assert ran.json()["shape"] == [3, 16] and ran.json()["images"] == 3
  got = read(out)
  assert got["class_names"].tolist() == ["ant", "bee"]
  assert got["labels"].tolist() == [0, 1, 1]
  assert got["labels"].dtype == np.int32
  np.testing.assert_allclose(
      got["features"], load(checkpoint).features(got["names"]), atol=1e-6)


def test_of_a_data_set(vit, checkpoint, tmp_path):
  out = tmp_path / "features.npz"
  ran = vit("features", f"--checkpoint={checkpoint}", "--source=digits",
            "--split=val[:20]", f"--out={out}")
  assert ran.code == 0, ran.err
  source = make_source("digits", split="val[:20]")
  got = read(out)
  assert got["labels"].tolist() == [source[i]["label"] for i in range(20)]
  assert got["names"][3] == source[3]["id"]
  np.testing.assert_allclose(got["features"], load(checkpoint).features(
      [source[i]["image"] for i in range(20)]), atol=1e-6)


def test_broken_images_are_named_and_left_out(
    vit, checkpoint, folder, tmp_path):
  (folder / "ant" / "aa.png").write_bytes(b"nothing")
  out = tmp_path / "features.npz"
  ran = vit("features", f"--checkpoint={checkpoint}", folder, f"--out={out}")
  assert ran.code == 1
  assert "ant/aa.png" in ran.err and "1 of 4 images could not" in ran.err
  got = read(out)
  assert [name[-5:] for name in got["names"]] == ["a.png", "b.jpg", "c.png"]
  np.testing.assert_allclose(
      got["features"], load(checkpoint).features(got["names"]), atol=1e-6)
  out.unlink()
  ran = vit("features", f"--checkpoint={checkpoint}", f"--out={out}",
            folder / "ant" / "aa.png")
  assert ran.code == 1 and "no image could be read; the first:" in ran.err
  assert not out.exists()


@pytest.mark.parametrize("words, message", [
    ((), "give either images or --source=..., not neither"),
    (("--source=digits", "a.png"), "not both"),
    (("a.png", "--out=x.txt"), "a name that ends in .npz"),
    (("--source=digits", "--split=val", "--at=blok0"),
     "did you mean 'block0'?"),
])
def test_wrong_usage(vit, checkpoint, tmp_path, words, message):
  ran = vit("features", f"--checkpoint={checkpoint}",
            f"--out={tmp_path / 'x.npz'}", *words)
  assert ran.code == 2 and message in ran.err
  assert len(ran.err.splitlines()) == 1
