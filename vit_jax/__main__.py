"""Runs `python -m vit_jax VERB ...`, also installed as the command vit_jax.

Exit codes: 0 done; 1 the work failed; 2 wrong usage; 42 preempted, run the
same command again; 130 interrupted.
"""

import argparse
import ast
from collections.abc import Sequence
import importlib.util
import os
import pkgutil
import sys
from types import ModuleType

from vit_jax import cli
from vit_jax.cli import common
from vit_jax.errors import UsageError, UserError, suggest

# In the order of the help; those whose module is there.
VERBS = (
    "train", "evaluate", "predict", "inspect", "convert", "report",
    "checkpoints", "prepare", "sweep", "study", "fewshot", "vtab", "paper",
    "analyze", "export", "compile", "benchmark")
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one verb and returns its exit code; errors of users are one line."""
  argv = list(sys.argv[1:] if argv is None else argv)
  try:
    code = _dispatch(argv)
    # What is still in the buffer may meet a closed pipe: find out here.
    sys.stdout.flush()
    return code
  except UserError as error:
    return _fail(str(error), error.exit_code)
  except KeyboardInterrupt:
    return INTERRUPTED
  except BrokenPipeError:
    # The reader (head, less) has enough. Python flushes once more at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE
  except OSError as error:
    if error.filename is None or error.strerror is None:
      raise
    return _fail(f"{error.filename}: {error.strerror}", 1)
  except RuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return _fail(f"the device is out of memory; use a smaller batch "
                 f"({str(error).splitlines()[0][:200]})", 1)


def _dispatch(argv: list[str]) -> int:
  """Finds the verb, parses its arguments and runs it."""
  verbs = known_verbs()
  if not argv or argv[0] in ("-h", "--help", "help"):
    print(_help(verbs), end="")
    return 0 if argv else 2
  verb, *rest = argv
  if verb == "--version":
    print(_version())
    return 0
  if verb not in verbs:
    raise UsageError(
        f"unknown verb {verb!r}{suggest(verb, verbs)}; known: "
        f"{', '.join(verbs)}")
  module = _module(verb)
  if hasattr(module, "main"):
    return module.main(rest) or 0
  parser = common.Parser(
      prog=f"{common.program()} {verb}", description=module.__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False)
  module.add_arguments(parser)
  args = parser.parse(rest)
  common.log_to_stderr()
  return module.run(args) or 0


def known_verbs() -> list[str]:
  """Returns the verbs whose module is installed."""
  present = {module.name for module in pkgutil.iter_modules(cli.__path__)}
  return [verb for verb in VERBS if verb in present]


def _module(verb: str) -> ModuleType:
  return importlib.import_module(f"vit_jax.cli.{verb}")


def _summary(verb: str) -> str:
  """Returns a verb's HELP, or how its docstring begins.

  Read off the source: importing every verb would take seconds.
  """
  spec = importlib.util.find_spec(f"vit_jax.cli.{verb}")
  tree = ast.parse(spec.loader.get_source(spec.name))
  for node in tree.body:
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HELP":
      return ast.literal_eval(node.value)
  return ast.get_docstring(tree).partition("\n")[0]


def _help(verbs: Sequence[str]) -> str:
  """Returns the list of verbs."""
  width, called = max(map(len, verbs)), common.program()
  lines = [f"  {verb:{width}}  {_summary(verb)}" for verb in verbs]
  return "\n".join([
      f"usage: {called} VERB ...", "",
      "Vision Transformers: pre-train, fine-tune, evaluate, predict.", "",
      *lines, "",
      f"{called} VERB --help explains one verb, with an example.", ""])


def _version() -> str:
  """Returns the versions of this package and of what it computes with."""
  from importlib import metadata

  import vit_jax

  parts = [f"vit_jax {getattr(vit_jax, '__version__', '(not installed)')}"]
  parts += [f"{name} {metadata.version(name)}"
            for name in ("jax", "jaxlib", "flax")]
  return ", ".join([*parts, f"Python {sys.version.split()[0]}"])


def _fail(message: str, code: int) -> int:
  print(f"vit_jax: error: {message}", file=sys.stderr)
  return code


if __name__ == "__main__":
  sys.exit(main())
