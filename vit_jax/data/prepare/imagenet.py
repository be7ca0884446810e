"""ImageNet-1k and ImageNet-21k from the tar files of image-net.org."""

from collections.abc import Sequence
import io
import os
import re

from jaxtyping import Int
import numpy as np

from vit_jax.data import class_names
from vit_jax.data.prepare import archives
from vit_jax.data.prepare.contents import Contents, Request, Rows, Split
from vit_jax.data.progress_bar import Bar
from vit_jax.errors import DataError

PAGE = "https://image-net.org/download-images"
HOMEPAGE = "https://image-net.org"
TRAIN, VALIDATION, DEVKIT = (
    "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar",
    "ILSVRC2012_devkit_t12.tar.gz")
# ImageNet-21k in one file, as image-net.org names it. Decompressing the second
# takes as much space as the images, and is left to the user.
WHOLE = {"fall11": "fall11_whole.tar", "winter21": "winter21_whole.tar.gz"}
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_SYNSET_TAR = re.compile(r"(n\d{8})\.tar")


def imagenet2012(request: Request) -> Contents:
  """Lists ImageNet-1k: a tar of tars for train, a flat one for validation.

  Classes and validation labels come from the development kit, if it is in
  the same folder, else from the equal lists in TFDS.
  """
  train = archives.find_optional(request, TRAIN, PAGE)
  validation = archives.find_optional(request, VALIDATION, PAGE)
  if not (train or validation):
    raise archives.MissingArchive(
        os.path.join(request.manual_dir, TRAIN), PAGE, "")
  ids, truth, per_class = _devkit(request)
  splits, paths = {}, []
  if train:
    splits["train"] = _from_synsets(
        [(train, member, _synset(train, member))
         for member in archives.members(train)], [train], ids)
    paths.append(train)
  if validation:
    splits["validation"] = _validation(
        validation, len(paths), truth, {name: k for k, name in enumerate(ids)})
    paths.append(validation)
  return Contents(
      paths=tuple(paths), splits=splits, class_names=tuple(ids),
      homepage=HOMEPAGE,
      per_class={"train": per_class} if per_class is not None else {})


def imagenet21k(request: Request) -> Contents:
  """Lists ImageNet-21k: one tar a synset, in a folder or in one large tar.

  request.release is "fall11" or "winter21", whose labels follow the sorted
  WordNet ids, or "released": fall11's images, labelled with the rows of the
  released heads, of which two stay empty.
  """
  release = "fall11" if request.release == "released" else request.release
  sources = _synset_tars(request, release)
  ids = sorted({wnid for _, _, wnid in sources})
  names: Sequence[str] = ids
  rows = class_names.released_rows(ids)
  if request.release == "released":
    if rows is None:
      raise DataError(
          f"{request.manual_dir}: with {len(ids):,} of fall11's 21,841 "
          "classes, their rows in the released heads are known from timm's "
          "table only; "
          "install timm, or choose --release=fall11")
    names = (class_names.class_ids("imagenet21k")
             or sorted({*ids, *class_names.EMPTY_ROWS}))
    note = "labels are the rows of the released heads"
  elif rows is None:
    note = ("labels follow the sorted WordNet ids; the corresponding rows of "
            "the released heads are unknown (timm's table has them)")
  else:
    same = "the same as" if rows == list(range(len(ids))) else "not"
    note = ("labels follow the sorted WordNet ids; they are "
            f"{same} the rows of the released heads")
  paths = list(dict.fromkeys(path for path, _, _ in sources))
  return Contents(
      paths=tuple(paths), class_names=tuple(names), homepage=HOMEPAGE,
      splits={"full": _from_synsets(sources, paths, names)}, notes=(note,))


# File, tar file within it (None for the file itself), synset.
Source = tuple[str, archives.Member | None, str]


def _synset(path: str, member: archives.Member) -> str:
  """Returns the WordNet id of a tar within a tar."""
  match = _SYNSET_TAR.fullmatch(os.path.basename(member.name))
  if not match:
    raise DataError(
        f"{path}: contains {member.name!r}; expected one tar file per class, "
        "such as n01440764.tar, so it is not the archive of that name")
  return match[1]


def _synset_tars(request: Request, release: str) -> list[Source]:
  """Returns the place of each synset's tar file."""
  for folder in (os.path.join(request.manual_dir, release),
                 request.manual_dir):
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    tars: list[Source] = [
        (os.path.join(folder, name), None, match[1])
        for name in names if (match := _SYNSET_TAR.fullmatch(name))]
    if tars:
      return tars
  whole = WHOLE[release]
  path = os.path.join(request.manual_dir, whole.removesuffix(".gz"))
  if os.path.isfile(path):
    return [(path, member, _synset(path, member))
            for member in archives.members(path)]
  packed = os.path.join(request.manual_dir, whole)
  if os.path.isfile(packed):
    raise DataError(
        f"{packed}: must be unpacked first; run tar -xzf {whole} and name the "
        "folder with its n*.tar files with --manual_dir")
  raise archives.MissingArchive(
      os.path.join(request.manual_dir, "n*.tar"), f"{PAGE} ({whole})", "")


def _from_synsets(
    sources: Sequence[Source], paths: list[str], ids: Sequence[str]) -> Split:
  """Lists the images of all synsets' tars."""
  labels = {name: label for label, name in enumerate(ids)}
  files = {path: number for number, path in enumerate(paths)}
  rows = Rows()
  for path, within, wnid in Bar(
      sources, desc="reading headers", unit="class", disable=None,
      leave=False):
    if wnid not in labels:
      raise DataError(
          f"{path}: {wnid} is not one of the {len(ids):,} classes "
          f"{ids[0]} ... {ids[-1]}")
    for member in archives.members(path, within):
      rows.add(os.path.basename(member.name), labels[wnid], files[path],
               member.offset, member.size)
  return rows.split()


def _validation(
    path: str, file: int, truth: Sequence[str], labels: dict[str, int]
) -> Split:
  """Lists the validation images, labelled by the numbers in their names."""
  rows = Rows()
  for member in archives.members(path):
    name = os.path.basename(member.name)
    match = _VALIDATION_NAME.fullmatch(name)
    if not match or not 0 < int(match[1]) <= len(truth):
      raise DataError(
          f"{path}: contains {member.name!r}; expected ILSVRC2012_val_00000001"
          f".JPEG to {len(truth):08d}, which have labels")
    rows.add(name, labels[truth[int(match[1]) - 1]], file, member.offset,
             member.size)
  return rows.split()


def _devkit(
    request: Request
) -> tuple[list[str], Sequence[str], Int[np.ndarray, " k"] | None]:
  """Returns sorted WordNet ids, the id of each validation image, counts."""
  path = os.path.join(request.manual_dir, DEVKIT)
  if not os.path.isfile(path):
    shipped_ids = class_names.class_ids("imagenet2012")
    shipped_truth = class_names.validation_ids()
    if shipped_ids is None or shipped_truth is None:
      raise archives.MissingArchive(path, PAGE, "")
    return list(shipped_ids), shipped_truth, None
  from scipy.io import loadmat

  tar = archives.plain(path, request.scratch)
  wanted = archives.by_name(
      path, archives.members(tar, called=path),
      ["data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"])
  meta, numbers = (archives.read(tar, member) for member in wanted.values())
  synsets = np.atleast_1d(
      loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
  # Inner nodes of the hierarchy have numbers from 1001 on.
  leaves = sorted((row for row in synsets if not int(row["num_children"])),
                  key=lambda row: str(row["WNID"]))
  ids = [str(row["WNID"]) for row in leaves]
  by_number = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in leaves}
  try:
    truth = [by_number[int(number)] for number in numbers.split()]
  except (KeyError, ValueError) as error:
    raise DataError(
        f"{path}: a validation label is class {error}; expected the numbers of "
        f"the {len(ids):,} classes; get it again") from None
  each = np.array([int(row["num_train_images"]) for row in leaves])
  return ids, truth, each
