"""Imagenette, ten classes of ImageNet: TRAIN_OR_VAL/SYNSET/*.JPEG."""

import os

from vit_jax.data.prepare import archives
from vit_jax.data.prepare.contents import Contents, Request, Rows
from vit_jax.errors import DataError

PAGE = "https://github.com/fastai/imagenette"
BASE = "https://s3.amazonaws.com/fast-ai-imageclas"
# TFDS's names of the variants -> file; version 2 has the 70/30 split.
FILES = {
    "full-size-v2": "imagenette2.tgz", "320px-v2": "imagenette2-320.tgz",
    "160px-v2": "imagenette2-160.tgz"}
_SPLITS = {"train": "train", "validation": "val"}


def imagenette(request: Request) -> Contents:
  """Lists one size of Imagenette; request.config says which."""
  file = FILES[request.config]
  path = archives.find(request, file, PAGE, url=f"{BASE}/{file}")
  tar = archives.plain(path, request.scratch)
  found = [(member, member.name.split("/")[-3:])
           for member in archives.members(tar, called=path)
           if member.name.endswith(".JPEG")]
  pictures = [(member, where) for member, where in found
              if len(where) == 3 and where[0] in _SPLITS.values()]
  if not pictures:
    raise DataError(f"{path}: holds no train/CLASS/*.JPEG; it is not the "
                    f"archive that its name says, get it from {PAGE}")
  ids = sorted({where[1] for _, where in pictures})
  rows = {split: Rows() for split in _SPLITS}
  for member, (folder, wnid, name) in pictures:
    split = next(key for key, value in _SPLITS.items() if value == folder)
    rows[split].add(name, ids.index(wnid), 0, member.offset, member.size)
  return Contents(
      paths=(tar,), splits={key: part.split() for key, part in rows.items()},
      class_names=tuple(ids), homepage=PAGE)


def configs(manual_dir: str) -> list[str]:
  """Returns the variants whose archive is there; the smallest if none is."""
  there = [config for config, file in FILES.items()
           if os.path.isfile(os.path.join(manual_dir, file))]
  return there or ["160px-v2"]
