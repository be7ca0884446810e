"""Oxford-IIIT Pets and Oxford Flowers-102: images, lists and .mat files."""

import os

from jaxtyping import Int
import numpy as np

from vit_jax.data import class_names
from vit_jax.data.prepare import archives
from vit_jax.data.prepare.contents import Contents, Request, Rows
from vit_jax.errors import DataError

PETS_PAGE = "https://www.robots.ox.ac.uk/~vgg/data/pets"
PETS_BASE = "https://thor.robots.ox.ac.uk/~vgg/data/pets"
FLOWERS_PAGE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102"
_FLOWER_SPLITS = {"train": "trnid", "validation": "valid", "test": "tstid"}


def oxford_iiit_pet(request: Request) -> Contents:
  """Lists the pets; species is kept as a further label, masks are not."""
  archive, annotations = (
      archives.find(request, file, PETS_PAGE, url=f"{PETS_BASE}/{file}")
      for file in ("images.tar.gz", "annotations.tar.gz"))
  tar = archives.plain(archive, request.scratch)
  images = {os.path.basename(member.name): member
            for member in archives.members(tar, called=archive)}
  lists = archives.plain(annotations, request.scratch)
  files = {"train": "trainval.txt", "test": "test.txt"}
  wanted = archives.by_name(
      annotations, archives.members(lists, called=annotations),
      list(files.values()))
  splits = {}
  names: dict[int, str] = {}
  for split, file in files.items():
    rows = Rows()
    for line in archives.read(lists, wanted[file]).decode().splitlines():
      if not line.strip() or line.startswith("#"):
        continue
      stem, label, species = _pet(f"{annotations}: {file}", line)
      # Abyssinian_100: the class is the part before the number.
      names.setdefault(label, stem.rpartition("_")[0])
      member = _member(request, archive, images, f"{stem}.jpg")
      if member:
        rows.add(f"{stem}.jpg", label, 0, member.offset, member.size,
                 species=species)
    splits[split] = rows.split()
  return Contents(
      paths=(tar,), splits=splits, homepage=PETS_PAGE,
      class_names=tuple(names.get(label, f"class_{label + 1}")
                        for label in range(max(names, default=-1) + 1)),
      extra_names={"species": ("Cat", "Dog")})


def _pet(where: str, line: str) -> tuple[str, int, int]:
  """Reads "Abyssinian_100 1 1 1": image, class from 1, species from 1."""
  parts = line.split()
  if len(parts) != 4 or not all(part.isdecimal() for part in parts[1:]):
    raise DataError(f"{where}: cannot read {line!r}; expected an image and "
                    f"three numbers; get it again from {PETS_PAGE}")
  return parts[0], int(parts[1]) - 1, int(parts[2]) - 1


def oxford_flowers102(request: Request) -> Contents:
  """Lists the flowers: labels and splits come in two .mat files."""
  archive, labels, ids = (
      archives.find(request, file, FLOWERS_PAGE, url=f"{FLOWERS_PAGE}/{file}")
      for file in ("102flowers.tgz", "imagelabels.mat", "setid.mat"))
  tar = archives.plain(archive, request.scratch)
  images = {os.path.basename(member.name): member
            for member in archives.members(tar, called=archive)}
  classes = _matrix(labels, "labels") - 1
  splits = {}
  for split, key in _FLOWER_SPLITS.items():
    rows = Rows()
    for number in _matrix(ids, key):
      if not 0 < number <= len(classes):
        raise DataError(f"{ids}: {key} contains image {number}, but {labels} "
                        f"has labels for 1 to {len(classes)}")
      name = f"image_{number:05d}.jpg"
      member = _member(request, archive, images, name)
      if member:
        rows.add(name, int(classes[number - 1]), 0, member.offset, member.size)
    splits[split] = rows.split()
  count = int(classes.max()) + 1
  names = class_names.class_ids("oxford_flowers102")
  if names is None or len(names) != count:
    names = tuple(f"flower_{number}" for number in range(1, count + 1))
  return Contents(paths=(tar,), splits=splits, homepage=FLOWERS_PAGE,
                  class_names=names)


def _matrix(path: str, key: str) -> Int[np.ndarray, " n"]:
  """Returns the numbers of a variable in a .mat file."""
  from scipy.io import loadmat

  try:
    return loadmat(path)[key].ravel().astype(np.int64)
  except Exception as error:  # SciPy raises many types for damaged files.
    raise DataError(
        f"{path}: cannot be read ({error!r}); expected a .mat file with "
        f"{key!r}; get it again from {FLOWERS_PAGE}") from error


def _member(
    request: Request, path: str, images: dict[str, archives.Member],
    name: str) -> archives.Member | None:
  """Returns the place of a listed image; None if a partial set lacks it."""
  if name not in images and not request.partial:
    raise DataError(
        f"{path}: {name} is listed but missing; get the archive again, or "
        "continue with what exists: --partial")
  return images.get(name)
