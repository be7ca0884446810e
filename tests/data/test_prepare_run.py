"""Order, interruption, resumption, conversion, and no TensorFlow anywhere."""

import json
import os
import pathlib
import subprocess
import sys
import textwrap

import make_archives as archives
import pytest

from vit_jax.data.prepare import make, records, shards
from vit_jax.data.prepare.run import prepare
from vit_jax.data.sources import make_source
from vit_jax.errors import DataError, UsageError, UserError

tfds = pytest.importorskip("tensorflow_datasets")
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def folders(tmp_path):
  manual, data = str(tmp_path / "archives"), str(tmp_path / "data")
  archives.imagenet2012(manual)
  return manual, data


def imagenet(folders, **kwargs):
  manual, data = folders
  return prepare("imagenet2012", manual_dir=manual, data_dir=data,
                 **{"partial": True, "workers": 1} | kwargs)[0]


def content(data):
  """Returns every record of both splits, in order."""
  found = []
  for split in ("train", "validation"):
    source = make_source("tfds:imagenet2012", split=split, data_dir=data)
    found += [(source[i]["image"], source[i]["label"])
              for i in range(len(source))]
  return found


class Imagenet2012(tfds.core.GeneratorBasedBuilder):
  """Yields the same pictures as TFDS's own builder of this name does."""

  VERSION = tfds.core.Version("5.1.0")

  def _info(self):
    return tfds.core.DatasetInfo(builder=self, features=(
        tfds.features.FeaturesDict({
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(names=archives.SYNSETS)})))

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples(range(12), "train"),
            "validation": self._generate_examples(range(7), "val")}

  def _generate_examples(self, numbers, split):
    for i in numbers:
      label = 0 if i < 4 else 1 if i < 7 else 2
      name = f"{archives.SYNSETS[label]}_{i}.JPEG"
      if split == "val":
        i, name = i + 100, f"ILSVRC2012_val_{i + 1:08d}.JPEG"
        label = (2 * (i - 100)) % 3
      yield name, {"image": archives.jpeg(i), "label": label}


def test_the_order_is_that_of_tfds(folders, tmp_path):
  """A slice such as train[:98%] holds what it holds for everyone else."""
  imagenet(folders)
  reference = str(tmp_path / "reference")
  Imagenet2012(data_dir=reference,
               file_format="array_record").download_and_prepare()
  ours = content(folders[1])
  assert ours == content(reference)
  assert ours[:12] != sorted(ours[:12])  # The order of the archive is not it.


def stamp(folder):
  return {name: os.stat(os.path.join(folder, name)).st_mtime_ns
          for name in os.listdir(folder) if "array_record" in name}


def test_an_interrupted_prepare_goes_on(folders, tmp_path, monkeypatch):
  """Finished files stay; the result is that of an uninterrupted one."""
  monkeypatch.setattr(shards, "SHARD_BYTES", 1500)
  whole = imagenet((folders[0], str(tmp_path / "whole")))
  assert whole.shards > 5 and whole.reused == 0
  encoder, calls = records.encoder, []

  def failing(contents, short_side):
    encode = encoder(contents, short_side)

    def wrapper(*args):
      calls.append(1)
      if len(calls) == 9:
        raise KeyboardInterrupt
      return encode(*args)
    return wrapper

  monkeypatch.setattr(records, "encoder", failing)
  with pytest.raises(KeyboardInterrupt):
    imagenet(folders)
  workshop = f"{folders[1]}/imagenet2012/5.1.0.incomplete"
  before = stamp(workshop)
  assert 0 < len(before) < whole.shards
  with pytest.raises(DataError, match="not prepared"):
    make_source("tfds:imagenet2012", split="train", data_dir=folders[1])
  report = imagenet(folders)
  assert report.reused == len(before)
  after = stamp(f"{folders[1]}/imagenet2012/5.1.0")
  assert {name: after[name] for name in before} == before
  assert content(folders[1]) == content(str(tmp_path / "whole"))
  assert set(os.listdir(report.folder)) == set(os.listdir(whole.folder))


def test_a_half_written_file_is_written_again(folders, monkeypatch, caplog):
  monkeypatch.setattr(shards, "SHARD_BYTES", 1500)
  monkeypatch.setattr(make.metadata, "write", lambda *_: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    imagenet(folders)
  monkeypatch.undo()
  monkeypatch.setattr(shards, "SHARD_BYTES", 1500)
  workshop = f"{folders[1]}/imagenet2012/5.1.0.incomplete"
  first = sorted(stamp(workshop))[0]
  archives.cut(f"{workshop}/{first}", -40)
  report = imagenet(folders, workers=3)
  assert report.reused == report.shards - 1
  assert "writing it again" in caplog.text
  assert report.splits == {"train": 12, "validation": 7}


def test_other_archives_do_not_get_mixed_in(folders, monkeypatch):
  monkeypatch.setattr(make.metadata, "write", lambda *_: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    imagenet(folders)
  archives.imagenet2012(folders[0], train_counts=(4, 3, 6))
  with pytest.raises(DataError, match="started with other archives or options"):
    imagenet(folders)


def test_two_at_a_time_are_refused(folders):
  with make._locked(f"{folders[1]}/imagenet2012/5.1.0.incomplete"):
    with pytest.raises(UserError, match="another process is preparing"):
      imagenet(folders)
  imagenet(folders)


def test_what_is_there_is_counted(folders):
  imagenet(folders)
  report = imagenet(folders)
  assert report.how == "was there"
  assert report.splits == {"train": 12, "validation": 7}
  name = sorted(stamp(report.folder))[0]
  os.remove(f"{report.folder}/{name}")
  with pytest.raises(DataError, match=f"{name}: missing or damaged, exp"):
    imagenet(folders)


def test_two_pictures_of_one_name(folders):
  manual, _ = folders
  archives.write(manual, **{"ILSVRC2012_img_train.tar": archives.tar({
      f"{wnid}.tar": archives.tar({"same.JPEG": archives.jpeg(1)})
      for wnid in archives.SYNSETS})})
  with pytest.raises(DataError, match="two images are called 'same.JPEG'"):
    imagenet(folders)


def test_shards_are_of_good_size():
  gigabyte = 1 << 30
  assert shards.boundaries(3, 10) == [range(0, 3)]
  assert shards.boundaries(2, 9 * gigabyte) == [range(0, 1), range(1, 2)]
  imagenet_1k = shards.boundaries(1_281_167, 138 * gigabyte)
  imagenet_21k = shards.boundaries(14_197_122, 1200 * gigabyte)
  assert len(imagenet_1k) == 552 and len(imagenet_21k) == 1200
  assert [i for part in shards.boundaries(10, gigabyte) for i in part] == (
      list(range(10)))


def as_tfrecord(folder):
  """Turns a prepared set into what TFDS writes by default."""
  builder = tfds.core.read_only_builder.builder_from_directory(folder)
  from array_record.python import array_record_module

  for name in list(stamp(folder)):
    path = os.path.join(folder, name)
    reader = array_record_module.ArrayRecordReader(path)
    examples = reader.read_all()
    reader.close()
    os.remove(path)
    archives.tfrecord(path.replace("array_record", "tfrecord"), examples)
  info = pathlib.Path(folder, "dataset_info.json")
  info.write_text(info.read_text().replace("array_record", "tfrecord"))
  return builder


def test_tfrecord_is_converted_without_tensorflow(folders, monkeypatch):
  """For every set that TFDS has prepared, its own and ours."""
  monkeypatch.setattr(shards, "SHARD_BYTES", 1500)
  report = imagenet(folders)
  wanted = content(folders[1])
  as_tfrecord(report.folder)
  with pytest.raises(DataError, match="convert it with.*prepare imagenet2012"):
    make_source("tfds:imagenet2012", split="train", data_dir=folders[1])
  again = imagenet(folders)
  assert again.how == "converted" and again.shards == report.shards
  assert content(folders[1]) == wanted
  assert imagenet(folders).how == "was there"
  # Another name, which only TFDS could have prepared.
  other = f"{folders[1]}/stanford_dogs"
  os.rename(f"{folders[1]}/imagenet2012", other)
  for path in pathlib.Path(other, "5.1.0").iterdir():
    if "array_record" in path.name:
      path.unlink()
    elif "tfrecord" in path.name:
      path.rename(str(path).replace("imagenet2012-", "stanford_dogs-"))
    elif path.name == "dataset_info.json":
      info = json.loads(
          path.read_text().replace("imagenet2012", "stanford_dogs"))
      del info["alternativeFileFormats"]
      path.write_text(json.dumps(info))
  report, = prepare("stanford_dogs", data_dir=folders[1])
  assert (report.name, report.how) == ("stanford_dogs", "converted")
  source = make_source("tfds:stanford_dogs", split="train", data_dir=folders[1])
  assert [(e["image"], e["label"]) for e in map(source.__getitem__, range(12))
          ] == wanted[:12]


def test_a_truncated_tfrecord_is_named(folders):
  report = imagenet(folders)
  as_tfrecord(report.folder)
  name = "imagenet2012-train.tfrecord-00000-of-00001"
  archives.cut(f"{report.folder}/{name}", -7)
  with pytest.raises(DataError, match=f"{name}: damaged or truncated at byte"):
    imagenet(folders)
  os.remove(f"{report.folder}/{name}")
  with pytest.raises(DataError, match=f"{name}: cannot be read: No such file"):
    imagenet(folders)


def test_stock_sets_need_the_extra(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow", None)
  with pytest.raises(UserError, match=r"vit_jax\[prepare\]") as error:
    prepare("eurosat", data_dir=str(tmp_path))
  assert error.value.exit_code == 1
  for name, hint in (("cifar-10", "cifar"), ("imagenet21", "'imagenet21k'"),
                     ("euro_sat", "'eurosat'")):
    with pytest.raises(UsageError, match=hint):
      prepare(name, data_dir=str(tmp_path))
  for name, say in (("imagenet2012_256", "imagenet2012 --short_side=256"),
                    ("imagenet21k_fall11", "imagenet21k --release=fall11")):
    with pytest.raises(UsageError, match=f"write prepare {say}"):
      prepare(name, data_dir=str(tmp_path))
  with pytest.raises(UsageError, match="--short_side is for"):
    prepare("eurosat", data_dir=str(tmp_path), short_side=9)
  with pytest.raises(UsageError, match="local disk"):
    prepare("cifar10", data_dir="gs://bucket/data")
  with pytest.raises(UsageError, match="imagenet2012 has no config"):
    prepare("imagenet2012/full", data_dir=str(tmp_path))
  with pytest.raises(UsageError, match="--release is for imagenet21k"):
    prepare("cifar10", data_dir=str(tmp_path), release="fall11")


def test_stock_sets_are_left_to_tfds(tmp_path, monkeypatch):
  """With a TensorFlow there, TFDS's builder is asked for array_record."""
  monkeypatch.setitem(sys.modules, "tensorflow", object())
  asked = []

  class Builder:
    data_dir = str(tmp_path)

    def download_and_prepare(self, download_config):
      asked.append(download_config.manual_dir)
      raise ValueError("no network\nand a long story")

  def builder(name, **kwargs):
    asked.append((name, kwargs["file_format"]))
    return Builder()

  monkeypatch.setattr(tfds, "builder", builder)
  with pytest.raises(DataError, match="could not prepare it: no network$"):
    prepare("dtd:3.0.1", data_dir=str(tmp_path), manual_dir="/archives")
  assert asked == [("dtd:3.0.1", "array_record"), "/archives"]


def test_the_command_without_tensorflow(tmp_path):
  """In a process of its own, with a TensorFlow that records its import."""
  (tmp_path / "tensorflow.py").write_text(
      "import builtins\nbuiltins.tensorflow_was_imported = True\n")
  archives.cifar10(tmp_path / "archives", count=2)
  program = """
      import builtins, sys
      from vit_jax.__main__ import main
      code = main(sys.argv[1:])
      assert not hasattr(builtins, "tensorflow_was_imported")
      assert not {"tensorflow", "torch", "jax"} & set(sys.modules)
      sys.exit(code)
  """
  path = os.pathsep.join([str(tmp_path), str(ROOT)])

  def run(*flags):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), "prepare", "cifar10",
         f"--data_dir={tmp_path}/data", f"--manual_dir={tmp_path}/archives",
         *flags], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": path})
    return done.returncode, done.stdout, done.stderr

  code, out, err = run()
  assert code == 1 and not out
  assert err.count("\n") == 1 and "train: 10 images of 50,000" in err
  code, out, err = run("--partial", "--json")
  assert code == 0, err
  report, = json.loads(out)["datasets"]
  assert report["splits"] == {"train": 10, "test": 2}
  assert report["expected"] == {"train": 50_000, "test": 10_000}
