"""docs/own-images-layouts.md says what happens to each layout: it is so."""

import os
import pathlib
import re

from made_folders import make
import pytest

from vit_jax.data.sources import make_source
from vit_jax.data.sources.folder import scan
from vit_jax.errors import DataError

PAGE = pathlib.Path(__file__).parents[3] / "docs/own-images-layouts.md"


def table_rows():
  """Returns layout, classes, splits and remark of all rows of all tables."""
  rows = [[cell.strip() for cell in line.strip("|").split(" | ")]
          for line in PAGE.read_text(encoding="utf-8").splitlines()
          if line.startswith("| `")]
  return [(row + [""])[:4] if len(row) == 3 else row for row in rows]


ROWS = table_rows()


def patterns(cell):
  """Returns the patterns of a layout as `made_folders.make` takes them."""
  for code in re.findall(r"`([^`]+)`", cell):
    if "\\u" in code:
      code = code.encode().decode("unicode_escape")
    if "\\x" in code:
      code = os.fsdecode(
          code.encode().decode("unicode_escape").encode("latin-1"))
    last = code.rpartition("/")[2]
    image = not code.endswith("/") and "." not in last and "->" not in code
    yield code + ".jpg" * image


def test_the_page_has_the_layouts():
  assert len(ROWS) >= 38
  assert sum("refused" in row[1] for row in ROWS) >= 12
  assert all(len(row) == 4 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].replace("`", ""))
def test_a_row_is_so(tmp_path, caplog, row):
  layout, classes, splits, remark = row
  root = make(tmp_path / "ROOT", *patterns(layout))
  if classes == "refused":
    with pytest.raises(DataError) as error:
      for split in ("train", "test"):
        make_source(str(root), split=split)
    assert "\n" not in str(error.value)
    return
  listing = scan(str(root))
  assert ", ".join(listing.class_names) == classes
  assert splits == (
      "by hash" if listing.by_hash else ", ".join(listing.files))
  for split, members in listing.files.items():
    if members and not listing.by_hash:  # A hash leaves few to val and test.
      make_source(str(root), split=split)
  assert bool(caplog.messages) == ("warning" in remark), caplog.messages
