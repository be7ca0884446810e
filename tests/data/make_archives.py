"""Small archives in exactly the formats that data sets are published in."""

import dataclasses
import io
import pathlib
import pickle
import struct
import tarfile

import numpy as np
import scipy.io
import simplejpeg

from vit_jax.data.class_names import class_ids
from vit_jax.data.prepare import targets


def expect(monkeypatch, name, expected):
  """Changes the official numbers of a data set for one test."""
  family = dataclasses.replace(targets.FAMILIES[name], expected=expected)
  monkeypatch.setitem(targets.FAMILIES, name, family)


def food101(folder, classes=("apple_pie", "waffles"), count=3):
  """Writes food-101.tar.gz; returns {number of the image: (split, class)}."""
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  files, lists, truth = {}, {"train": [], "test": []}, {}
  for number in range(len(classes) * count):
    name = classes[number % len(classes)]
    split = "test" if number >= len(classes) * (count - 1) else "train"
    files[f"food-101/images/{name}/{1000 + number}.jpg"] = jpeg(number)
    lists[split].append(f"{name}/{1000 + number}")
    truth[number] = split, name
  for split, stems in lists.items():
    files[f"food-101/meta/{split}.txt"] = "\n".join(stems).encode()
  files["food-101/meta/classes.txt"] = "\n".join(classes).encode()
  (folder / "food-101.tar.gz").write_bytes(tar(files, "w:gz"))
  return truth


def jpeg(number, shape=(6, 8)):
  """A picture of one grey, by which it is known again; another size each."""
  pixels = np.full((shape[0] + number % 3, shape[1], 3), number % 256, np.uint8)
  return simplejpeg.encode_jpeg(pixels, quality=95)


def tar(files, mode="w", **kwargs):
  """The bytes of a tar file; None as content stands for a folder."""
  out = io.BytesIO()
  with tarfile.open(fileobj=out, mode=mode, **kwargs) as archive:
    for name, content in files.items():
      info = tarfile.TarInfo(name)
      if content is None:
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
        continue
      info.size = len(content)
      archive.addfile(info, io.BytesIO(content))
  return out.getvalue()


def write(folder, **files):
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  for name, content in files.items():
    (folder / name).write_bytes(content)
  return str(folder)


def mat(**variables):
  out = io.BytesIO()
  scipy.io.savemat(out, variables)
  return out.getvalue()


SYNSETS = ("n01440764", "n01443537", "n02085620")


def synset_tar(wnid, numbers):
  return tar({f"{wnid}_{i}.JPEG": jpeg(i) for i in numbers})


def devkit(train_counts, truth):
  """Three classes, not in the order of their ids, and one above them."""
  names = [SYNSETS[2], SYNSETS[0], SYNSETS[1], "n00001740"]
  fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children",
            "children", "wordnet_height", "num_train_images"]
  rows = np.zeros((4, 1), [(field, object) for field in fields])
  for i, wnid in enumerate(names):
    leaf = i < 3
    rows[i, 0] = (
        i + 1 if leaf else 1001, wnid, "words, of it", "a gloss",
        0 if leaf else 3, 0 if leaf else np.array([1, 2, 3]), 0 if leaf else 1,
        train_counts[SYNSETS.index(wnid)] if leaf else 0)
  place = "ILSVRC2012_devkit_t12/data"
  text = "".join(f"{names.index(wnid) + 1}\n" for wnid in truth)
  return tar({
      "ILSVRC2012_devkit_t12": None, f"{place}/meta.mat": mat(synsets=rows),
      f"{place}/ILSVRC2012_validation_ground_truth.txt": text.encode(),
      "ILSVRC2012_devkit_t12/readme.txt": b"read me"}, "w:gz")


def imagenet2012(folder, train_counts=(4, 3, 5), val=7):
  """A tar of tars, a flat tar and the development kit; 3 classes."""
  start = np.cumsum([0, *train_counts])
  inner = {f"{wnid}.tar": synset_tar(wnid, range(start[k], start[k + 1]))
           for k, wnid in enumerate(SYNSETS)}
  truth = [SYNSETS[(2 * i) % 3] for i in range(val)]
  write(folder, **{
      "ILSVRC2012_img_train.tar": tar(inner),
      "ILSVRC2012_img_val.tar": tar({
          f"ILSVRC2012_val_{i + 1:08d}.JPEG": jpeg(100 + i)
          for i in reversed(range(val))}),
      "ILSVRC2012_devkit_t12.tar.gz": devkit(train_counts, truth)})
  return truth


def cifar_arrays(seed, count, classes):
  rng = np.random.default_rng(seed)
  return (rng.integers(0, 256, (count, 3072), dtype=np.uint8),
          np.arange(count) % classes)


def cifar10(folder, count=12, kind="binary"):
  """Six batches of `count`; returns (pixels, labels) of train and test."""
  batches = [cifar_arrays(seed, count, 10) for seed in range(6)]
  names = [f"thing_{i}" for i in range(10)]
  if kind == "binary":
    files = {"cifar-10-batches-bin/batches.meta.txt":
             ("\n".join(names) + "\n\n").encode()}
    for i, (pixels, labels) in enumerate(batches):
      name = f"data_batch_{i + 1}.bin" if i < 5 else "test_batch.bin"
      files[f"cifar-10-batches-bin/{name}"] = np.concatenate(
          [labels[:, None].astype(np.uint8), pixels], axis=1).tobytes()
    files["cifar-10-batches-bin/readme.html"] = b"<html>"
  else:
    files = {"cifar-10-batches-py/batches.meta": pickle.dumps(
        {b"label_names": [name.encode() for name in names]}, protocol=2)}
    for i, (pixels, labels) in enumerate(batches):
      name = f"data_batch_{i + 1}" if i < 5 else "test_batch"
      files[f"cifar-10-batches-py/{name}"] = pickle.dumps(
          {b"data": pixels, b"labels": labels.tolist(),
           b"batch_label": b"batch", b"filenames": [b"a.png"] * count},
          protocol=2)
  write(folder, **{f"cifar-10-{kind}.tar.gz": tar(files, "w:gz")})
  pixels, labels = (np.stack(parts) for parts in zip(*batches, strict=True))
  return ((pixels[:5].reshape(-1, 3072), labels[:5].ravel()),
          (pixels[5], labels[5]))


def cifar100(folder, counts=(200, 100)):
  files = {
      "cifar-100-binary/coarse_label_names.txt":
          "\n".join(f"kind_{i}" for i in range(20)).encode(),
      "cifar-100-binary/fine_label_names.txt":
          ("\n".join(f"thing_{i}" for i in range(100)) + "\n").encode()}
  for seed, (split, count) in enumerate(
      zip(("train", "test"), counts, strict=True)):
    pixels, fine = cifar_arrays(seed, count, 100)
    labels = np.stack([fine // 5, fine], axis=1).astype(np.uint8)
    files[f"cifar-100-binary/{split}.bin"] = np.concatenate(
        [labels, pixels], axis=1).tobytes()
  write(folder, **{"cifar-100-binary.tar.gz": tar(files, "w:gz")})


def imagenette(folder, size="-160", classes=10, each=3):
  files, number = {f"imagenette2{size}/.DS_Store": b"no picture"}, 0
  for split, count in (("train", each), ("val", 2)):
    for wnid in class_ids("imagenette")[:classes]:
      for i in range(count):
        name = f"{wnid}_{split}_{i}.JPEG"
        files[f"imagenette2{size}/{split}/{wnid}/{name}"] = jpeg(number)
        number += 1
  files[f"imagenette2{size}/noisy_imagenette.csv"] = b"path,label"
  write(folder, **{f"imagenette2{size}.tgz": tar(files, "w:gz")})


PETS = ("Abyssinian", "american_bulldog", "Egyptian_Mau")


def pets(folder, each=4):
  """Three breeds; the annotations list them, of both splits, as published."""
  pictures = {"images": None, "images/Abyssinian_1.mat": b"no picture"}
  lists = {"trainval.txt": "", "test.txt": "", "list.txt": "# Image CLASS-ID\n"}
  for k, breed in enumerate(PETS):
    for i in range(each):
      stem = f"{breed}_{i + 1}"
      pictures[f"images/{stem}.jpg"] = jpeg(10 * k + i)
      line = f"{stem} {k + 1} {1 if breed[0].isupper() else 2} 1\n"
      lists["list.txt"] += line
      lists["test.txt" if i % 2 else "trainval.txt"] += line
  annotations = {f"annotations/{name}": text.encode()
                 for name, text in lists.items()}
  annotations["annotations/trimaps/._Abyssinian_1.png"] = b"mask"
  write(folder, **{
      "images.tar.gz": tar(pictures, "w:gz"),
      # Called .gz and not compressed, as it was for some time.
      "annotations.tar.gz": tar(annotations)})


def flowers(folder, count=12):
  labels = np.arange(count) % 3 + 1
  write(folder, **{
      "102flowers.tgz": tar({f"jpg/image_{i + 1:05d}.jpg": jpeg(i)
                             for i in range(count)}, "w:gz"),
      "imagelabels.mat": mat(labels=labels[None].astype(np.uint8)),
      "setid.mat": mat(trnid=np.array([[1, 2, 3]]), valid=np.array([[6, 5, 4]]),
                       tstid=np.arange(7, count + 1)[None])})


def tfrecord(path, records):
  """A TFRecord file; the checksums are not right, nobody looks at them."""
  with open(path, "wb") as file:
    for record in records:
      file.write(struct.pack("<QI", len(record), 1) + record + b"crc!")


def cut(path, size):
  """Leaves the first bytes of a file; negative sizes count from its end."""
  path = pathlib.Path(path)
  path.write_bytes(path.read_bytes()[:size])


def decode_shape(number):
  """The shape of `jpeg(number)`."""
  return 6 + number % 3, 8, 3
