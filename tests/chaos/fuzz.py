"""Fuzzes a binary reader where the code leads, with atheris (libFuzzer).

  pip install atheris
  python tests/chaos/fuzz.py npz /tmp/found -max_total_time=600

NAME is that of a reader in readers.py. Begins with the inputs that an earlier
search has found, in corpus/NAME.zip, and writes new ones, which reached other
lines, to the folder. An input that is neither read nor refused in one line ends
the search, and libFuzzer writes it to crash-*. What is worth keeping is added:

  zip -jX9 tests/chaos/corpus/npz.zip /tmp/found/*

`test_corpus.py` reads what is kept, in the default run.
"""

import importlib
import logging
import os
import pathlib
import resource
import sys
import tempfile
import warnings
import zipfile

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent), str(HERE)]
MEMORY = 4 << 30  # bytes
FORMATS = ("zipfile", "tarfile")


def main(name, folder, options):
  import atheris

  for module in FORMATS:  # Imported anew, to be followed as well.
    sys.modules.pop(module, None)
  with atheris.instrument_imports(include=["vit_jax", *FORMATS]):
    for module in FORMATS:
      importlib.import_module(module)
    from readers import READERS

    from vit_jax.errors import UserError

    place = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm"))
    os.environ["VIT_JAX_CACHE"] = str(place / "cache")
    path, _, read = READERS[name][0](place)
    read()
  resource.setrlimit(resource.RLIMIT_AS, (MEMORY, -1))
  warnings.simplefilter("ignore")
  logging.disable(logging.CRITICAL)

  def one_input(data):
    path.write_bytes(data)
    try:
      read()
    except UserError as error:
      assert "\n" not in str(error)

  seeds = place / "seeds"
  seeds.mkdir()
  (seeds / "whole").write_bytes(path.read_bytes())
  kept = HERE / "corpus" / f"{name.replace(' ', '-')}.zip"
  if kept.exists():
    with zipfile.ZipFile(kept) as archive:
      archive.extractall(seeds)
  pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
  # libFuzzer reads all folders and writes new inputs to the first.
  atheris.Setup([sys.argv[0], folder, str(seeds), *options], one_input)
  atheris.Fuzz()


if __name__ == "__main__":
  main(sys.argv[1], sys.argv[2], sys.argv[3:])
