"""docs/families.md holds what these tests measure, for every family."""

import pathlib
import re

import family_cases as cases
import pixel_cases
import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "families.md"
_ROW = re.compile(r"\| (timm|transformers) \| ([^|]+) \| `(\w+)` \| (.*) \|")
_PIXELS = re.compile(r"\| (timm|transformers) \| ([^|]+) \| (\d\S+) \|")


def on_the_page():
  return _ROW.findall(PAGE.read_text("utf-8"))


def test_every_family_is_on_the_page():
  assert {(row[0], row[1]) for row in on_the_page()} == {
      *(("timm", family) for family in cases.TIMM),
      *(("transformers", family) for family in cases.HUGGING_FACE)}
  for _, family, _, numbers in on_the_page():
    found = [n for n in numbers.split(" | ") if n != "read only"]
    assert len(found) >= 2 and max(map(float, found)) <= cases.TOLERANCE, family


def test_every_processor_is_on_the_page():
  rows = _PIXELS.findall(PAGE.read_text("utf-8"))
  assert {row[:2] for row in rows} == {
      *(("timm", case) for case in pixel_cases.TIMM),
      *(("transformers", case) for case in pixel_cases.HUGGING_FACE)}
  assert max(float(row[2]) for row in rows) <= pixel_cases.TOLERANCE


@pytest.mark.oracle
@pytest.mark.parametrize("case", pixel_cases.HUGGING_FACE)
def test_pixels_of_transformers(tmp_path, case):
  found = pixel_cases.difference(pixel_cases.hugging_face, case, tmp_path)
  assert found <= pixel_cases.TOLERANCE


@pytest.mark.oracle
@pytest.mark.parametrize("case", pixel_cases.TIMM)
def test_pixels_of_timm(tmp_path, case):
  found = pixel_cases.difference(pixel_cases.timm, case, tmp_path)
  assert found <= pixel_cases.TOLERANCE


def with_rows(text, pattern, rows):
  """Returns the page with the rows of a table replaced."""
  lines = text.splitlines()
  old = [i for i, line in enumerate(lines) if pattern.fullmatch(line)]
  lines[old[0]:old[-1] + 1] = rows
  return "\n".join(lines) + "\n"


@pytest.mark.thorough
@pytest.mark.oracle
def test_the_page_is_what_is_measured(tmp_path):
  """Writes the page anew, to be copied to docs/ where it has changed."""
  rows = cases.table(tmp_path)
  text = with_rows(PAGE.read_text("utf-8"), _ROW, rows)
  text = with_rows(text, _PIXELS, pixel_cases.table(tmp_path))
  written = tmp_path / "families.md"
  written.write_text(text, "utf-8")
  print(f"measured again: {written}")
  old = {row[:3]: row[3] for row in on_the_page()}
  new = {match[:3]: match[3] for match in _ROW.findall(text)}
  assert old.keys() == new.keys()
  for key, numbers in new.items():
    for was, now in zip(old[key].split(" | "), numbers.split(" | "),
                        strict=True):
      assert (was == "read only") == (now == "read only"), key
      assert was == now or float(now) <= cases.TOLERANCE, key
  found = [float(row[2]) for row in _PIXELS.findall(text)]
  assert max(found) <= pixel_cases.TOLERANCE
