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
  """Lists the size of Imagenette that request.config specifies."""
  file = FILES[request.config]
  path = archives.find(request, file, PAGE, url=f"{BASE}/{file}")
  tar = archives.plain(path, request.scratch)
  jpegs = [(member, member.name.split("/")[-3:])
           for member in archives.members(tar, called=path)
           if member.name.endswith(".JPEG")]
  images = [(member, parts) for member, parts in jpegs
            if len(parts) == 3 and parts[0] in _SPLITS.values()]
  if not images:
    raise DataError(f"{path}: contains no train/CLASS/*.JPEG, so it is not the "
                    f"archive of that name; get it from {PAGE}")
  ids = sorted({parts[1] for _, parts in images})
  rows = {split: Rows() for split in _SPLITS}
  for member, (folder, wnid, name) in images:
    split = next(key for key, value in _SPLITS.items() if value == folder)
    rows[split].add(name, ids.index(wnid), 0, member.offset, member.size)
  return Contents(
      paths=(tar,), splits={key: part.split() for key, part in rows.items()},
      class_names=tuple(ids), homepage=PAGE)


def configs(manual_dir: str) -> list[str]:
  """Returns the variants whose archive exists; if none, the smallest."""
  present = [config for config, file in FILES.items()
             if os.path.isfile(os.path.join(manual_dir, file))]
  return present or ["160px-v2"]
