"""Any folder of images, in the layouts that `folder.scan` accepts."""

import os
import re

from vit_jax.data.prepare.contents import Contents, Request, Rows
from vit_jax.data.sources import folder
from vit_jax.data.sources.listing import SPLITS


def any_folder(request: Request) -> Contents:
  """Lists the images of a folder; their order is TFDS's, by hash."""
  root = os.path.abspath(os.path.expanduser(request.manual_dir))
  listing = folder.scan(root, SPLITS)
  paths: list[str] = []
  splits = {}
  for split, members in listing.files.items():
    if not members:
      continue
    rows = Rows()
    for path, label in members:
      whole = os.path.join(listing.root, path)
      rows.add(path, label, len(paths), 0, os.path.getsize(whole))
      paths.append(whole)
    splits[split] = rows.split()
  return Contents(
      paths=tuple(paths), splits=splits, class_names=listing.class_names,
      homepage="")


def name_of(path: str) -> str:
  """Returns a name that TFDS allows: letters, digits, underscores."""
  stem = os.path.basename(os.path.abspath(os.path.expanduser(path)))
  name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
  return name if name[:1].isalpha() else f"folder_{name}".rstrip("_")
