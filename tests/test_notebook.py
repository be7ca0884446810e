"""The notebook runs from top to bottom, in a folder of its own."""

import pathlib
import re

import pytest

NOTEBOOK = pathlib.Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


def cells(notebook, kind):
  return [cell for cell in notebook.cells if cell.cell_type == kind]


def printed(notebook):
  return "".join(
      output.text for cell in cells(notebook, "code")
      for output in cell.outputs if output.output_type == "stream")


@pytest.fixture(scope="module")
def stored():
  nbformat = pytest.importorskip("nbformat", reason="nbformat is missing")
  return nbformat.read(NOTEBOOK, as_version=4)


def test_runs_from_top_to_bottom(stored, tmp_path, monkeypatch):
  nbclient = pytest.importorskip("nbclient", reason="nbclient is missing")
  pytest.importorskip("ipykernel", reason="ipykernel is missing")
  # As a reader runs it: one device, and what is installed.
  monkeypatch.setenv("XLA_FLAGS", "")
  monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
  notebook = stored.copy()
  nbclient.NotebookClient(
      notebook, timeout=900, kernel_name="python3",
      resources={"metadata": {"path": str(tmp_path)}}).execute()
  scores = re.search(r"test accuracy: ([\d.]+)% at 16x16, ([\d.]+)% at 24x24",
                     printed(notebook))
  assert float(scores[1]) > 95 and float(scores[2]) > 96
  pictures = [output for cell in cells(notebook, "code")
              for output in cell.outputs
              if "image/png" in output.get("data", {})]
  assert len(pictures) == 3


def test_is_stored_with_its_outputs_and_without_places(stored):
  text = NOTEBOOK.read_text(encoding="utf-8")
  assert all(cell.execution_count for cell in cells(stored, "code"))
  assert "image/png" in text and len(text) < 400_000
  # No paths of whoever ran it, and no errors.
  assert not re.search(r"/(tmp|home|root|work|usr)/", printed(stored))
  assert "Traceback" not in text
  assert 10 <= len(stored.cells) <= 20
