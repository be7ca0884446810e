"""The bar: where a person watches, and nowhere else."""

import io

import pytest

from vit_jax.data import progress_bar


class Terminal(io.StringIO):
  def isatty(self):
    return True


class Notebook(io.StringIO):
  pass


Notebook.__module__ = "ipykernel.iostream"


@pytest.mark.parametrize("stream, watched", [
    (io.StringIO(), False), (Terminal(), True), (Notebook(), True),
    (None, False)])
def test_a_person_watches_terminals_and_notebooks(
    monkeypatch, stream, watched):
  monkeypatch.setattr("sys.stderr", stream)
  assert progress_bar.is_watched() == watched


@pytest.mark.parametrize("show", [True, False])
def test_it_is_shown_where_it_is_asked_for(capsys, show):
  with progress_bar.progress_bar(total=3, unit="image", show=show) as bar:
    bar.update(3)
  assert ("3/3" in capsys.readouterr().err) == show
