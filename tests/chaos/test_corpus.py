"""What fuzzing has found, read once more: as it is, or refused in one line.

`fuzz.py` found these inputs by the lines that they reach.
"""

import collections
import pathlib
import traceback
import zipfile

import pytest
from readers import READERS
import tally

from vit_jax.errors import UserError

CORPUS = pathlib.Path(__file__).with_name("corpus")


def archive_of(name):
  return CORPUS / f"{name.replace(' ', '-')}.zip"


@pytest.mark.parametrize(
    "name", [name for name in READERS if archive_of(name).exists()])
def test_corpus(name, tmp_path, monkeypatch):
  monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "cache"))
  path, _, read = READERS[name][0](tmp_path)
  read()
  with zipfile.ZipFile(archive_of(name)) as archive:
    inputs = {info.filename: archive.read(info)
              for info in archive.infolist()}
  assert len(inputs) >= 10
  counts, examples = collections.Counter(), []
  for found, content in inputs.items():
    path.write_bytes(content)
    try:
      read()
      kind = "read"
    except UserError as error:
      kind = "refused" if "\n" not in str(error) else "other"
    except Exception:
      kind = "other"
      examples.append(f"{found}: {traceback.format_exc()[-1500:]}")
    counts[kind] += 1
  tally.add(f"{name}, found by fuzzing", counts, examples)
