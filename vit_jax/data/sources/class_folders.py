"""Which folders are the classes, below ROOT or the folder of a split."""

from collections.abc import Mapping, Sequence

from vit_jax.data.sources import storage
from vit_jax.data.sources.messages import counted, shorten, warn_once
from vit_jax.data.sources.tree import Folder
from vit_jax.errors import DataError

# Folders of data sets for segmentation and detection.
_PICTURES = {"images", "image", "imgs", "img", "jpegimages", "pictures",
             "photos", "rgb"}
_MASKS = {"masks", "mask", "labels", "annotations", "segmentation",
          "segmentations", "segmentationclass", "segmentationobject", "gt",
          "ground_truth", "groundtruth", "trimaps"}


def class_folders(
    parent: Folder, depth: int, root: Folder, check: bool,
) -> dict[str, list[Folder]]:
  """Returns class name -> the folders with its images.

  Folders of one name, also if one is composed and one decomposed in Unicode,
  are one class.

  Args:
    parent: ROOT, or the folder of a split.
    depth: how many levels below; 0 finds out.
    root: ROOT, for messages.
    check: whether to look for classes further down.

  Raises:
    DataError: something else may be meant as well: classes nested in these
      folders, or pictures and their masks.
  """
  level = [parent]
  for _ in range(depth or 1):
    for folder in level:
      check_loose(folder)
    level = [child for folder in level for child in folder.folders]
  if not depth:
    _check_pairs(root, level)
    if check:  # Which lists all of these folders.
      _check_nested(root, level)
  classes: dict[str, list[Folder]] = {}
  for folder in level:
    classes.setdefault(folder.name, []).append(folder)
  if not depth:
    _warn_of_like_names(parent, classes)
  return classes


def _check_nested(root: Folder, classes: Sequence[Folder]) -> None:
  """Raises DataError if the classes may lie one level further down.

  They may where no image lies directly in a class folder, and one of them
  has several folders: ROOT/animals/{cat,dog} and ROOT/plants/rose.
  """
  levels, nested = 1, {
      folder.shown: folder for folder in classes if not folder.images}
  inner = {name: _inside([folder]) for name, folder in nested.items()}
  # A single folder inside of each, as in CLASS/images/*, is no level of its
  # own, but there may be classes in it: {a,b}/pictures/{cat,dog}.
  while inner and all(
      len(folders) == 1 and not folders[0].images
      for folders in inner.values()):
    levels += 1
    inner = {name: _inside(folders) for name, folders in inner.items()}
  several = [name for name, folders in inner.items() if len(folders) > 1]
  if not several:
    return
  path = storage.printable(root.path)
  if len(nested) < len(classes):
    warn_once(f"{path}: all folders inside of {listed(several)} are read as "
              "one class each")
    return
  names = sorted({f.shown for folders in inner.values() for f in folders})
  raise DataError(
      f"{path}: are the classes {listed(sorted(nested))}, or the folders "
      f"inside of them, {listed(names)}? For the first name {path}/*, for "
      f"the second {path}/*{'/*' * levels}")


def _inside(folders: Sequence[Folder]) -> list[Folder]:
  """Returns the folders with images directly inside of some folders."""
  return [f for folder in folders for f in folder.folders if f.holds_images]


def _check_pairs(root: Folder, classes: Sequence[Folder]) -> None:
  """Raises DataError for pictures and masks: ROOT/{images,masks}/*."""
  names = {folder.shown.casefold() for folder in classes}
  if names & _PICTURES and names & _MASKS and names <= _PICTURES | _MASKS:
    path = storage.printable(root.path)
    shown = listed([folder.shown for folder in classes])
    raise DataError(
        f"{path}: are {shown} classes, or pictures and what belongs to each, "
        f"as for segmentation and detection? For the first name {path}/*; for "
        f"the second, give the pictures labels in {path}/labels.csv with the "
        "columns file_name,label")


def _warn_of_like_names(
    parent: Folder, classes: Mapping[str, list[Folder]]) -> None:
  """Logs a warning of folders that are one class, and nearly one."""
  path = storage.printable(parent.path)
  alike: dict[str, list[str]] = {}
  for name, folders in classes.items():
    alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    if len(folders) > 1:
      warn_once(f"{path}: {len(folders)} folders are called {name!r} and are "
                "one class")
  for names in alike.values():
    if len(names) > 1:
      warn_once(f"{path}: {' and '.join(map(repr, names))} are read as "
                f"{len(names)} classes; if they are one, rename them alike")


def check_loose(parent: Folder) -> None:
  """Warns of images beside folders; refuses if there are more than inside.

  Raises:
    DataError: most images lie beside the folders.
  """
  count = len(parent.images)
  inside = sum(len(f.all_images()) for f in parent.folders) if count else 0
  if not inside:
    return
  path = storage.printable(parent.path)
  folders = [f.shown for f in parent.folders if f.holds_images]
  if count > inside:
    raise DataError(
        f"{path}: is the data set the {counted(inside, 'image')} in the "
        f"folders {listed(folders)}, or the {count:,} beside them? For the "
        "first, move the others away; for the second, give them labels in "
        f"{path}/labels.csv with the columns file_name,label")
  names = [storage.printable(image.rpartition("/")[2])
           for image in parent.images]
  warn_once(
      f"{path}: {counted(count, 'image')} beside the folders {listed(folders)} "
      f"without label, ignored: {shorten(names, 3)}")


def listed(names: Sequence[str]) -> str:
  """Returns the first names, for messages."""
  return shorten(names, 4)
