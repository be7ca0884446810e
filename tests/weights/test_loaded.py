"""The object that users hold: predict, features, save, repr, one compile."""

import copy
import functools
import io
import json
import logging
import pickle

import jax
import numpy as np
from PIL import Image
import pytest

import vit_jax
from vit_jax.errors import CheckpointError, DataError, UsageError, UserError
from vit_jax.models.bit_resnet import BiTResNet
from vit_jax.models.features import features
from vit_jax.weights.convert import write_weights
from vit_jax.weights.load import load
from vit_jax.weights.loaded import Loaded

NAMES = ["ant", "bee", "cat", "dog", "eel"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory, small_model, random_flat):
  """Returns a factory of files of small models."""

  def make(description=None, **changes):
    path = tmp_path_factory.mktemp("saved") / "model.npz"
    model = small_model(**changes)
    write_weights(path, random_flat(model), {
        "architecture": model.architecture(), "image_size": [8, 8]} | (
            description or {}))
    return path

  return make


@pytest.fixture(scope="module")
def vit(saved):
  return load(saved({"class_names": NAMES, "scores": {"eval/a": 1.0}}))


@pytest.fixture(scope="module")
def images():
  return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)


@functools.cache
def compiled(model):
  """Returns the network's function; equal networks share its compilation."""
  captured = tuple(range(model.depth)) if hasattr(model, "depth") else ()
  options = {"capture_attention": captured} if captured else {}
  return jax.jit(functools.partial(model.apply, **options))


def run(vit, images):
  """Returns (logits, aux) of a network that is called directly."""
  return jax.tree.map(np.asarray, compiled(vit.model)(
      {"params": vit.params}, vit.preprocess(images)))


def logits_of(vit, images):
  return run(vit, images)[0]


def test_predictions_are_the_models_in_plain_python(vit, images):
  got = vit.predict(images, top_k=2)
  odds = np.asarray(jax.nn.softmax(logits_of(vit, images)))
  assert np.abs(odds[0] - odds[1]).max() > 1e-3  # They can differ.
  for row, classes in zip(odds, got, strict=True):
    best = np.argsort(-row)[:2]
    assert [name for name, _ in classes] == [NAMES[i] for i in best]
    np.testing.assert_allclose(
        [c.probability for c in classes], row[best], rtol=1e-5)
    assert {type(c.probability) for c in classes} == {float}
    assert {type(c.name) for c in classes} == {str}
  json.dumps(got)


def test_more_classes_than_there_are_is_all_of_them(vit, images):
  (classes,) = vit.predict(images[0], top_k=np.int64(50))
  assert sorted(c.name for c in classes) == NAMES
  assert sum(c.probability for c in classes) == pytest.approx(1, rel=1e-5)


def test_a_sigmoid_head_gives_a_probability_of_each_class(saved, images):
  vit = load(saved({"loss": "sigmoid"}))
  want = np.asarray(jax.nn.sigmoid(logits_of(vit, images)))
  got = vit.features(images, at="probabilities")
  np.testing.assert_allclose(got, want, rtol=1e-5)
  assert np.abs(got.sum(1) - 1).max() > 0.1
  first = vit.predict(images, top_k=1)[0][0]
  assert first.name == f"class {want[0].argmax()}"
  assert first.probability == pytest.approx(want[0].max(), rel=1e-5)
  # A new head is trained with what training has for a default.
  assert load(saved({"loss": "sigmoid"}), num_classes=3).config[
      "loss"] == "softmax"
  with pytest.raises(CheckpointError, match="loss='focal'; expected softmax"):
    load(saved({"loss": "focal"}))


def test_every_form_of_a_picture_gives_the_same_numbers(vit, images, tmp_path):
  Image.fromarray(images[0]).save(tmp_path / "a.png")
  content = (tmp_path / "a.png").read_bytes()
  want = vit.features(images[0], at="logits")
  for form in (images[:1], [images[0]], tmp_path, tmp_path / "a.png",
               [str(tmp_path / "a.png")], content, io.BytesIO(content),
               Image.open(io.BytesIO(content))):
    np.testing.assert_array_equal(vit.features(form, at="logits"), want)


def test_one_image_of_pillow_may_stand_in_a_list_often(vit, tmp_path, images):
  Image.fromarray(np.tile(images[0], (20, 20, 1))).save(tmp_path / "a.jpg")
  one = vit.features(Image.open(tmp_path / "a.jpg"))
  many = vit.features([Image.open(tmp_path / "a.jpg")] * 16)
  np.testing.assert_allclose(many, np.repeat(one, 16, 0), rtol=1e-5, atol=1e-6)


def test_features_are_the_models_intermediates(vit, images):
  _, aux = run(vit, images)
  assert {"embedded", "block1", "attention1", "encoded", "logits"} < set(aux)
  encoded = aux["encoded"]
  want = aux | {
      "pooled": aux["pre_logits"], "cls": encoded[:, 0],
      "patches": encoded[:, 1:].reshape(5, 2, 2, 48)}
  for name, value in want.items():
    got = vit.features(images, at=name, batch_size=2)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, value, atol=1e-5, err_msg=name)
  np.testing.assert_array_equal(vit.features(images), vit.features(
      images, at="pooled"))


@pytest.mark.parametrize("changes, at", [
    (dict(pooling="gap"), "encoded"), (dict(pooling="map"), "encoded"),
    (dict(scan=True), "block1"), (dict(num_classes=0), "logits")])
def test_features_of_other_models(saved, images, changes, at):
  vit = load(saved(**changes), scan=changes.get("scan", False))
  _, aux = run(vit, images)
  np.testing.assert_allclose(
      vit.features(images, at=at), aux[at], atol=1e-5)
  patches = vit.features(images, at="patches")
  assert patches.shape == (5, 2, 2, 48)
  np.testing.assert_allclose(
      patches.reshape(5, 4, 48), aux["encoded"][:, -4:], atol=1e-5)
  if "pooling" in changes:
    with pytest.raises(UsageError, match="no class token"):
      vit.features(images, at="cls")


def test_features_of_a_resnet(tmp_path, random_flat, images):
  model = BiTResNet(num_classes=3, units=(1, 1), width_factor=1)
  write_weights(tmp_path / "r.npz", random_flat(model), {
      "architecture": model.architecture(), "image_size": [8, 8]})
  vit = load(tmp_path / "r.npz")
  assert vit.features(images).shape == (5, 512)
  _, aux = run(vit, images)
  for name, at in (("patches", "encoded"), ("stage1", "stage1")):
    np.testing.assert_allclose(
        vit.features(images, at=name), aux[at], rtol=1e-4, atol=1e-4)
  with pytest.raises(UsageError, match="'block0' is unknown.*stageN"):
    vit.features(images, at="block0")


def test_one_compile_for_all_batches_and_calls(vit, images):
  features.clear_cache()
  many = np.concatenate([images] * 5)
  for top_k in (1, 3):
    vit.predict(many, top_k=top_k)
    vit.predict(many[:23], top_k=top_k)
    vit.predict([many[i] for i in range(7)])
  assert features._cache_size() == 1
  # Alone, a picture need not wait for a batch of eight.
  vit.predict(images[0])
  vit.predict(images[1])
  assert features._cache_size() == 2
  same = load(vit.config["source"])
  same.predict(images[0])
  assert features._cache_size() == 2


def test_flip_averages_the_logits_with_those_of_the_mirror_image(vit, images):
  logits = (logits_of(vit, images) + logits_of(vit, images[:, :, ::-1])) / 2
  want = np.asarray(jax.nn.softmax(logits))
  got = vit.predict(images, top_k=5, flip=True)
  for row, classes in zip(want, got, strict=True):
    for name, probability in classes:
      assert probability == pytest.approx(row[NAMES.index(name)], abs=1e-5)
  assert got != vit.predict(images)


def test_the_batch_does_not_matter(vit, images):
  want = vit.features(images)
  for batch_size in (1, 2, 3, 100):
    np.testing.assert_allclose(
        vit.features(images, batch_size=batch_size), want, atol=1e-6)


def test_pickled_and_copied_it_still_works(vit, images):
  want = vit.predict(images)
  for other in (pickle.loads(pickle.dumps(vit)), copy.deepcopy(vit)):
    assert other.predict(images) == want


WRONG = {
    "top_k=0; expected a whole number from 1": dict(top_k=0),
    "top_k=2.0; expected a whole number": dict(top_k=2.0),
    "top_k=True; expected a whole number": dict(top_k=True),
    "batch_size='8'; expected a whole number": dict(batch_size="8"),
    "there are no pictures: the list is empty": dict(pictures=[]),
    "found 0 to 0; convert them with numpy.rint":
    dict(pictures=np.zeros((8, 8, 3))),
    "none.png: cannot be read": dict(pictures=["none.png"]),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_input_is_one_error(vit, images, message):
  with pytest.raises(UserError, match=message) as error:
    vit.predict(**({"pictures": images} | WRONG[message]))
  assert "\n" not in str(error.value)


def test_names_that_there_are_not(vit, images):
  with pytest.raises(UsageError, match=(
      r"at='blok1' is unknown \(did you mean 'block1'\?\); expected one of "
      r"pooled, cls, patches, probabilities, embedded, blockN, .*attentionN, "
      "N from 0 to 1")):
    vit.features(images, at="blok1")
  for at in ("attention2", "block-1"):
    with pytest.raises(UsageError, match="is unknown"):
      vit.features(images, at=at)
  with pytest.raises(UsageError, match="expected one name"):
    vit.features(images, at=["cls"])


def test_without_a_head_there_are_features_only(saved, images):
  vit = load(saved(), num_classes=0)
  with pytest.raises(UsageError, match="use vit.features"):
    vit.predict(images)
  with pytest.raises(UsageError, match="has no head; use 'pooled'"):
    vit.features(images, at="probabilities")
  assert "none: no head, features only" in repr(vit)


def test_a_head_of_zeros_is_said(saved, images, caplog):
  vit = load(saved(), num_classes=3)
  caplog.clear()
  with caplog.at_level(logging.WARNING):
    vit.predict(images)
  assert "the head is all zeros" in caplog.text


def test_a_broken_picture_among_others(vit, images, tmp_path):
  from vit_jax.data.pictures import list_pictures

  (tmp_path / "b.png").write_bytes(b"nothing")
  pictures = [images[0], tmp_path / "b.png", images[1]]
  with pytest.raises(DataError, match="b.png"):
    vit.predict(pictures)
  rows = [row for _, row in vit.rows(
      list_pictures(pictures), "pooled", batch_size=2)]
  assert isinstance(rows[1], DataError)
  np.testing.assert_allclose(
      [rows[0], rows[2]], vit.features(images[:2]), atol=1e-6)


@pytest.mark.parametrize("name, dialect", [
    ("out.npz", None), ("out.safetensors", None),
    ("out.npz", "big_vision"), ("model.safetensors", "hugging_face")])
def test_saved_and_loaded_it_is_the_same(vit, images, tmp_path, name, dialect):
  vit.save(tmp_path / name, dialect)
  again = load(tmp_path / name)
  np.testing.assert_allclose(
      logits_of(again, images), logits_of(vit, images), atol=1e-5)
  assert again.class_names == vit.class_names
  assert again.preprocess == vit.preprocess
  assert again.config["metadata"]["scores"] == {"eval/a": 1.0}
  if dialect is None:
    np.testing.assert_array_equal(
        logits_of(again, images), logits_of(vit, images))


def test_what_was_adapted_is_what_is_saved(saved, images, tmp_path):
  vit = load(saved({"class_names": NAMES, "scores": {"eval/a": 1.0},
                    "loss": "sigmoid"}),
             image_size=(8, 16), num_classes=3, scan=True)
  params = jax.tree.map(lambda x: x + 0.1, vit.params)
  changed = Loaded(vit.model, params, vit.preprocess, None, vit.config)
  changed.save(tmp_path / "out.npz")
  again = load(tmp_path / "out.npz")
  assert again.preprocess == vit.preprocess
  assert again.class_names is None and again.config["loss"] == "softmax"
  assert "scores" not in again.config["metadata"]
  np.testing.assert_allclose(
      logits_of(again, images), logits_of(changed, images), atol=1e-5)
  with pytest.raises(AssertionError):
    np.testing.assert_allclose(
        logits_of(again, images), logits_of(vit, images), atol=1e-2)


def test_where_nothing_can_be_saved(vit, tmp_path):
  (tmp_path / "folder.npz").mkdir()
  (tmp_path / "file").write_text("")
  for path, message in ((tmp_path / "model", "suffix decides"),
                        (tmp_path / "folder.npz", "cannot be written"),
                        (tmp_path / "file" / "model.npz", "cannot be written")):
    with pytest.raises(UserError, match=message):
      vit.save(path)
  with pytest.raises(UsageError, match="dialect 'timm' is unknown for .npz"):
    vit.save(tmp_path / "a.npz", "timm")


def test_repr_is_a_few_lines(saved, vit):
  lines = repr(vit).splitlines()
  assert len(lines) <= 8 and max(map(len, lines)) <= 80
  assert "custom/4" in lines[0] and "parameters" in lines[0]
  text = repr(vit)
  for part in ("8x8, 2x2 tokens", "resize({size})", "5: ant, bee, cat, ...",
               "(released)"):
    assert part in text
  changed = load(saved(), image_size=64, num_classes=1000)
  assert len(repr(changed).splitlines()) <= 8
  assert "changed" in repr(changed) and "1,000, names unknown" in repr(changed)


@pytest.mark.parametrize(
    "size", [24.0, "24", -8, True, (), (8, 8, 8), (8, 2.5), None])
def test_sizes_that_are_none(saved, size):
  if size is None:  # That of the file; and those of numpy are as good.
    assert load(saved(), image_size=size).config["image_size"] == (8, 8)
    for size in (np.int64(16), np.array([16, 16]), (16,)):
      assert load(saved(), image_size=size).config["image_size"] == (16, 16)
    return
  with pytest.raises(UsageError, match="image_size=.*; expected a"):
    load(saved(), image_size=size)


def test_numbers_of_classes_that_are_none(saved):
  assert load(saved(), num_classes=np.int64(5)).model.num_classes == 5
  for number in (-1, "5", 5.0, True):
    with pytest.raises(UsageError, match="expected a whole number from 0"):
      load(saved(), num_classes=number)


def test_what_is_applied_to_wrong_images(vit):
  # tests/models/test_borders.py has those that the tests' own checks refuse.
  for shape, message in (
      ((0, 8, 8, 3), "of one image or more"),
      ((1, 8, 8, 1), "images have 1 numbers per pixel, .* made for 3"),
      ((1, 8, 8, 4), "images have 4 numbers per pixel"),
      ((1, 16, 16, 3),
       r"has 5 positions, but images of this size need 17; .*image_size=")):
    with pytest.raises(UsageError, match=message):
      vit.model.apply({"params": vit.params}, np.zeros(shape, np.float32))


def test_the_folder_of_a_run_is_its_result(saved, images, tmp_path):
  run = saved({"class_names": NAMES}).parent
  vit = vit_jax.load(run)
  assert vit.config["source"] == str(run / "model.npz")
  assert vit.class_names == tuple(NAMES)
  with pytest.raises(CheckpointError, match="a directory without weights"):
    vit_jax.load(tmp_path)
  (tmp_path / "config.json").write_text("{}")
  with pytest.raises(CheckpointError, match=(
      "this run has not finished, there is no model.npz; repeat its command "
      "to finish it$")):
    vit_jax.load(tmp_path)
  for step in (5, 10):
    (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
  with pytest.raises(CheckpointError, match=(
      f"of step 10 to a file: python -m vit_jax convert {tmp_path} FILE.npz")):
    vit_jax.load(str(tmp_path))


def test_what_is_no_checkpoint():
  for wrong in (None, 3, ["a.npz"]):
    with pytest.raises(UsageError, match="a checkpoint of type"):
      vit_jax.load(wrong)
  with pytest.raises(UsageError, match="neither a file nor the name"):
    vit_jax.load("")
