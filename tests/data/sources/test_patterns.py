"""Braces as bash expands them."""

import subprocess

import pytest

from vit_jax.data.sources.patterns import expand_braces, matching_files
from vit_jax.errors import DataError, UsageError


@pytest.mark.parametrize("text", [
    "a", "a{0..3}b", "{000..012}", "{8..11}", "{08..11}", "{3..1}", "{0..9..3}",
    "{a,b}", "{a,}x", "x{a,b{1,2},{c,d}}y", "{a,b}-{0..1}", "{-1..1}",
    "x-{train-{00..02},val-0}.tar"])
def test_as_bash_does(text):
  words = subprocess.run(
      ["bash", "-c", f"echo {text}"], check=True, capture_output=True,
      text=True).stdout.split()
  assert expand_braces(text) == words


@pytest.mark.parametrize("text,reason", [
    ("{a,b", "without its }"), ("a}", "without its {"), ("{a}", "neither a ra"),
    ("{1..999999999}", "more than 100,000"), ("x{}y", "neither a range"),
    ("{1..999}{1..999}", "more than 100,000"), ("{{a,b}", "without its }")])
def test_refuses(text, reason):
  with pytest.raises(UsageError) as error:
    expand_braces(text)
  assert reason in str(error.value)


def test_files_in_order_and_once(tmp_path):
  for name in ("b1", "b10", "b2", "a"):
    (tmp_path / name).write_text("")
  paths = matching_files("{b*,a,b1}", str(tmp_path))
  assert [path.rpartition("/")[2] for path in paths] == ["b1", "b10", "b2", "a"]
  with pytest.raises(DataError, match="c: no such file, one of 1 missing of"):
    matching_files("{a,c}", str(tmp_path))
