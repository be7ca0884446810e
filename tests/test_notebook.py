"""The notebook runs from top to bottom, in a folder of its own."""

import copy
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")
# What both of its runs end their overrides with, and what makes them short.
LAST = '"--config.train.report=False",'
SHORT = ('"--config.train.steps=8", "--config.train.eval_every=8", '
         '"--config.optim.warmup_steps=2", '
         '"--config.evals.val.split=test[:64]", '
         '"--config.evals.test.split=test[:64]",')


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


@pytest.fixture
def execute(tmp_path, monkeypatch):
  """Returns a function that runs a notebook in an empty folder."""
  nbclient = pytest.importorskip("nbclient", reason="nbclient is missing")
  pytest.importorskip("ipykernel", reason="ipykernel is missing")
  # As a reader runs it: one device, and what is installed.
  monkeypatch.setenv("XLA_FLAGS", "")
  monkeypatch.setenv("PYTHONPATH", str(ROOT))

  def run(notebook):
    """Returns (test accuracy, after fine-tuning), in per cent."""
    for cell in cells(notebook, "code"):
      cell.outputs = []
    nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}}).execute()
    images = [output for cell in cells(notebook, "code")
              for output in cell.outputs
              if "image/png" in output.get("data", {})]
    assert len(images) == 4
    scores = re.search(
        r"test accuracy: ([\d.]+)% at \d+x\d+, ([\d.]+)% at \d+x\d+",
        printed(notebook))
    return float(scores[1]), float(scores[2])

  return run


@pytest.mark.thorough
def test_reaches_the_accuracies_it_tells_of(stored, execute):
  # On Fashion-MNIST, or where it is not installed on the digits.
  found = execute(copy.deepcopy(stored))
  assert min(found) > (75 if FASHION.is_dir() else 90)


@pytest.mark.slow
def test_runs_from_top_to_bottom(stored, execute, monkeypatch):
  # The same cells with a few steps of training: compiling them is what takes
  # time, and is done quickly.
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
  notebook = copy.deepcopy(stored)
  trainings = [c for c in cells(notebook, "code") if LAST in c.source]
  assert len(trainings) == 2
  for cell in trainings:
    cell.source = cell.source.replace(LAST, LAST + SHORT)
  before, after = execute(notebook)
  assert 0 <= before < 75 and 0 <= after < 75


def test_is_stored_with_its_outputs_and_without_places(stored):
  text = NOTEBOOK.read_text(encoding="utf-8")
  assert all(cell.execution_count for cell in cells(stored, "code"))
  assert "image/png" in text and len(text) < 400_000
  # No paths of whoever ran it, and no errors.
  assert not re.search(r"/(tmp|home|root|work|usr)/", printed(stored))
  assert "Traceback" not in text
  assert 10 <= len(stored.cells) <= 20
