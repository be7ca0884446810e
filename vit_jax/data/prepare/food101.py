"""Food-101: images/CLASS/ID.jpg and the lists meta/{train,test}.txt."""

from vit_jax.data.prepare import archives
from vit_jax.data.prepare.contents import Contents, Request, Rows
from vit_jax.errors import DataError

PAGE = "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101"
URL = "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz"
# TFDS's name of a split -> the archive's.
_LISTS = {"train": "meta/train.txt", "validation": "meta/test.txt"}


def food101(request: Request) -> Contents:
  """Lists the dishes; classes are in alphabetical order, as in classes.txt."""
  archive = archives.find(request, "food-101.tar.gz", PAGE, url=URL)
  tar = archives.plain(archive, request.scratch)
  members = archives.members(tar, called=archive)
  images = {"/".join(member.name.split("/")[-2:]): member
            for member in members if "/images/" in member.name}
  lists = archives.by_name(
      archive, members, [*_LISTS.values(), "meta/classes.txt"])
  class_names = tuple(sorted(archives.read(
      tar, lists["meta/classes.txt"]).decode().split()))
  splits = {}
  for split, file in _LISTS.items():
    rows = Rows()
    for stem in archives.read(tar, lists[file]).decode().split():
      member = images.get(f"{stem}.jpg")
      class_name = stem.partition("/")[0]
      if member is None or class_name not in class_names:
        raise DataError(
            f"{archive}: {file} lists {stem}, of which there is no image or "
            f"no class; get it again from {PAGE}")
      rows.add(f"{stem}.jpg", class_names.index(class_name), 0,
               member.offset, member.size)
    splits[split] = rows.split()
  return Contents(
      paths=(tar,), splits=splits, class_names=class_names, homepage=PAGE)
