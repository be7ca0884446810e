"""docs/families.md holds what these tests measure, for every family."""

import pathlib
import re

import family_cases as cases
import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "families.md"
_ROW = re.compile(r"\| (timm|transformers) \| ([^|]+) \| `(\w+)` \| (.*) \|")


def on_the_page():
  return _ROW.findall(PAGE.read_text("utf-8"))


def test_every_family_is_on_the_page():
  assert {(row[0], row[1]) for row in on_the_page()} == {
      *(("timm", family) for family in cases.TIMM),
      *(("transformers", family) for family in cases.HUGGING_FACE)}
  for _, family, _, numbers in on_the_page():
    found = [n for n in numbers.split(" | ") if n != "read only"]
    assert len(found) >= 2 and max(map(float, found)) <= cases.TOLERANCE, family


@pytest.mark.slow
@pytest.mark.oracle
def test_the_page_is_what_is_measured(tmp_path):
  rows = cases.table(tmp_path)
  written = tmp_path / "families.md"
  text = PAGE.read_text("utf-8")
  body = "\n".join(line for line in text.splitlines()
                   if not _ROW.fullmatch(line)).rstrip()
  written.write_text("\n".join([body, *rows, ""]), "utf-8")
  print(f"measured again: {written}")
  old = {row[:3]: row[3] for row in on_the_page()}
  new = {match[:3]: match[3] for match in map(
      lambda row: _ROW.fullmatch(row).groups(), rows)}
  assert old.keys() == new.keys()
  for key, numbers in new.items():
    for was, now in zip(old[key].split(" | "), numbers.split(" | "),
                        strict=True):
      assert (was == "read only") == (now == "read only"), key
      assert was == now or float(now) <= cases.TOLERANCE, key
