"""What reads files and texts of others: a whole example, and how to read it.

A reader is a function of a folder: it writes the example there and returns
(path, kinds of damage, read). `read()` returns something to compare; where the
format has checksums it must be what the undamaged file gives, or a UserError.
"""

import io
import json
import pathlib
import tarfile

from damage import BINARY, TEXT
import numpy as np

HERE = pathlib.Path(__file__).parent
TINY = f"--config={HERE.parent / 'tiny_config.py'}"


def _arrays():
  rng = np.random.default_rng(0)
  return {f"{layer}/{part}": rng.random((6, 5), np.float32)
          for layer in ("embedding", "head", "pre_logits")
          for part in ("bias", "kernel")}


def _summary(arrays):
  return {name: (array.shape, str(array.dtype), array.tobytes())
          for name, array in arrays.items()}


def npz(folder, save=np.savez):
  from vit_jax.weights.formats.npz import read_npz

  path = folder / "model.npz"
  save(path, **_arrays())
  return path, BINARY, lambda: _summary(read_npz(path))


def npz_compressed(folder):
  return npz(folder, np.savez_compressed)


def safetensors(folder):
  from vit_jax.weights.formats.safetensors import (
    read_safetensors,
    write_safetensors,
  )

  path = folder / "model.safetensors"
  write_safetensors(path, _arrays(), {"a": "b"})
  return path, BINARY, lambda: _summary(read_safetensors(path)[0])


def picture(kind, **options):
  def reader(folder):
    from PIL import Image

    from vit_jax.data.decode import decode

    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (4, 5, 3), np.uint8)
    image = Image.fromarray(small.repeat(9, 0).repeat(8, 1))
    path = folder / f"picture.{kind}"
    image.save(path, **options)
    return path, BINARY, lambda: decode(path.read_bytes()).shape

  return reader


def index_csv(folder):
  from made_augreg_index import write_index

  from vit_jax.weights.hub.augreg_index import read_augreg_index, recommended

  path = write_index(folder / "index.csv")
  header, *rows = path.read_text().splitlines()
  rows = [row for row in rows if ",i21k," in row][:9]
  path.write_text("\n".join([header, *rows]) + "\n")

  def read():
    rows = read_augreg_index(path)
    recommended(rows, rows[0]["name"])

  return path, TEXT, read


def model_json(folder):
  from vit_jax.weights.model_json import read_model_json

  path = folder / "model.json"
  path.write_text(json.dumps({
      "variant": "Ti/16", "architecture": {
          "width": 192, "num_heads": 3, "ln_eps": 1e-6, "gelu": "tanh"},
      "image_size": [32, 32], "preprocess": "resize({size})",
      "class_names": ["a", "b"], "scores": {"eval/val/accuracy": 0.5},
      "digest": "0" * 64}))
  return path, TEXT, lambda: len(read_model_json(path))


def _config():
  from vit_jax.config.find import load_config
  from vit_jax.config.schema import resolve

  return resolve(load_config([TINY]))


def config_json(folder):
  from vit_jax.training.workdir import check_same_run, write_config

  path, config = folder / "config.json", _config()
  write_config(str(folder), config, {"steps": 24})
  return path, TEXT, lambda: check_same_run(str(folder), config)


def record(folder):
  from vit_jax.metrics import last_scores, read_record

  path = folder / "metrics.jsonl"
  path.write_text("".join(json.dumps({
      "step": step, "train/loss": 2.0 / step, "eval/val/accuracy": 0.5}) + "\n"
      for step in range(1, 9)))
  return path, TEXT, lambda: (len(read_record(str(folder))),
                              len(last_scores(str(folder))))


def report(name):
  def reader(folder):
    from vit_jax.report import facts, page, predictions
    from vit_jax.training.workdir import write_config

    write_config(str(folder), _config(), {"steps": 8})
    record(folder)
    model_json(folder)
    np.savez_compressed(
        folder / "samples.npz", images=np.zeros((3, 8, 8, 3), np.uint8),
        labels=np.array([0, 1, 1]),
        probabilities=np.full((3, 2), 0.5, np.float32))

    def read():
      run = facts.read_run_facts(str(folder), "run")
      facts.headline(run), facts.tiles(run), facts.score_table([run])
      page.config_tables(run.config)
      if run.samples:
        predictions.pictures(
            **run.samples, class_names=run.model.get("class_names"))

    return folder / name, BINARY if name.endswith("npz") else TEXT, read

  return reader


def preprocess(folder):
  from vit_jax.data.transforms import make_transforms

  path = folder / "preprocess.txt"
  path.write_text("resize_small(9)|central_crop({size})|random_crop({size}, "
                  "pad=1)|inception_crop({size}, area=(0.3, 1.0))|flip_lr")
  return path, TEXT, lambda: make_transforms(
      path.read_bytes().decode(errors="replace"), (8, 8)) and None


def override(folder):
  from vit_jax.config.find import load_config
  from vit_jax.config.schema import resolve

  path = folder / "overrides.txt"
  path.write_text(
      "--config.train.steps=9\n--config.optim.learning_rate=0.01\n"
      "--config.data.preprocess=resize({size})\n--config.optim.frozen=('a',)\n"
      "--config.train.ema_decay=0.9\n--config.evals.val.split=test")
  return path, TEXT, lambda: resolve(load_config(
      [TINY, *path.read_bytes().decode(errors="replace").split("\n")])) and None


def labels_csv(folder):
  from PIL import Image

  from vit_jax.data.sources import make_source

  for name in "abcd":
    Image.new("RGB", (4, 4)).save(folder / f"{name}.png")
  path = folder / "labels.csv"
  path.write_text("file_name,label\na.png,cat\nb.png,dog\nc.png,cat\nd.png,dog\n")

  def read():
    source = make_source(str(folder), split="all")
    return len(source), [source[i]["label"] for i in range(len(source))]

  return path, TEXT, lambda: read() and None


def shard(folder):
  from vit_jax.data.sources import make_source

  path = folder / "birds-train-0.tar"
  with tarfile.open(path, "w") as tar:
    for i in range(4):
      for name, data in ((f"{i}.jpg", bytes(40)), (f"{i}.cls", b"%d" % i)):
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))

  def read():
    source = make_source(f"shards:{path}", split="train")
    for i in range(len(source)):
      source[i]

  return path, BINARY, read


# name: (reader, whether damage must never give another content).
READERS = {
    "npz": (npz, True),
    "npz, compressed": (npz_compressed, True),
    "safetensors": (safetensors, True),
    "JPEG": (picture("jpg"), False), "PNG": (picture("png"), False),
    "GIF": (picture("gif"), False), "WebP": (picture("webp"), False),
    "TIFF": (picture("tiff", compression="tiff_lzw"), False),
    "BMP": (picture("bmp"), False),
    "index.csv": (index_csv, False),
    "model.json": (model_json, False),
    "config.json": (config_json, False),
    "metrics.jsonl": (record, False),
    "report: config.json": (report("config.json"), False),
    "report: model.json": (report("model.json"), False),
    "report: samples.npz": (report("samples.npz"), False),
    "preprocess": (preprocess, False),
    "overrides": (override, False),
    "labels.csv": (labels_csv, False),
    "tar shards": (shard, False),
}
