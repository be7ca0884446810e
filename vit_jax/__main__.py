"""Runs `python -m vit_jax VERB ...`, also installed as the command vit_jax.

To add a verb, write vit_jax/cli/VERB.py (`vit_jax.cli` says how) and add its
line to VERBS. The exit codes are in `vit_jax.errors`.
"""

from collections.abc import Sequence
import importlib
import os
import sys
from types import ModuleType

from vit_jax.cli import process
from vit_jax.errors import (
    EXIT_BROKEN_PIPE,
    EXIT_INTERRUPTED,
    UsageError,
    UserError,
    suggest,
)

VERBS = {
    "train": "train a model from a config, or resume the run in --workdir",
    "evaluate": "score a checkpoint on every example of a data set",
    "predict": "classify images: the most probable classes of each",
    "features": "write features of images for other programs, as .npz",
    "inspect": "show a checkpoint, model or config: parameters, cost, scores",
    "convert": "write weights in another layout: .npz, timm, transformers",
    "report": "write report.html and curves.png of a run, or compare runs",
    "checkpoints": "list the released checkpoints, search AugReg's 52,268",
    "prepare": "turn published archives into files for training",
    "sweep": "choose the learning rate on the dev split, then train with it",
    "study": "run an experiment of the paper and print its table",
    "fewshot": "score frozen features by a few-shot linear probe",
    "vtab": "print the VTAB-1k table of finished runs",
    "paper": "print the paper's costs, figures and claims beside ours",
    "analyze": "show what a network learned: filters, positions, attention",
    "layers": "compare two networks layer by layer, over the same images",
    "export": "write a model as one StableHLO file that runs with jax alone",
    "compile": "estimate a run's memory and speed on TPUs, without a TPU",
    "benchmark": "measure images per second and the largest batch (Figure 12)",
}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one verb and returns its exit code; a user's error is one line.

  Args:
    argv: the verb and its arguments. None takes the process's own, sets the
      process up for them and ends it (`vit_jax.cli.process`).
  """
  if argv is None:
    process.set_up()
    process.leave_with(main(sys.argv[1:]))
  try:
    code = _dispatch(argv)
    # What is still in the buffer may meet a closed pipe: find out here.
    sys.stdout.flush()
    return code
  except SystemExit as exit:  # After --help, with a number.
    if isinstance(exit.code, str):
      raise
    return exit.code or 0
  except UserError as error:
    return _fail(str(error), error.exit_code)
  except KeyboardInterrupt:
    return EXIT_INTERRUPTED
  except BrokenPipeError:
    # The reader (head, less) has enough. Python flushes once more at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_BROKEN_PIPE
  except Exception as error:
    # Not above: what is imported there delays a quiet Ctrl-C.
    from vit_jax.cli import failures

    if (message := failures.in_one_line(error)) is None:
      raise
    return _fail(message, 1)


def _dispatch(argv: Sequence[str]) -> int:
  """Finds the verb, parses its arguments and runs it."""
  if not argv or argv[0] in ("-h", "--help", "help"):
    print(_help(), end="")
    return 0 if argv else 2
  verb, *words = argv
  if verb == "--version":
    print(_version())
    return 0
  if verb not in VERBS:
    raise UsageError(
        f"unknown verb {verb!r}{suggest(verb, VERBS)}; known: "
        f"{', '.join(VERBS)}")
  module = _module(verb)
  # Here and not above: the fewer imports, the sooner Ctrl-C is quiet.
  from vit_jax.cli import arguments, logs

  parser = arguments.Parser(verb, module.__doc__)
  module.add_arguments(parser)
  args = parser.parse(words)
  logs.show_warnings()
  return module.run(args) or 0


def _module(verb: str) -> ModuleType:
  return importlib.import_module(f"vit_jax.cli.{verb}")


def _help() -> str:
  """Returns the list of verbs."""
  from vit_jax.cli import arguments

  width, program = max(map(len, VERBS)), arguments.program()
  return "\n".join([
      f"usage: {program} VERB ...", "",
      "Vision Transformers: pre-train, fine-tune, evaluate, predict.", "",
      *(f"  {verb:{width}}  {summary}" for verb, summary in VERBS.items()), "",
      f"{program} VERB --help explains one verb, with an example.", ""])


def _version() -> str:
  """Returns the versions of this package and of what it computes with."""
  from importlib import metadata

  import vit_jax

  versions = [f"{name} {metadata.version(name)}"
              for name in ("jax", "jaxlib", "flax")]
  return ", ".join([f"vit_jax {vit_jax.__version__}", *versions,
                    f"Python {sys.version.split()[0]}"])


def _fail(message: str, code: int) -> int:
  print(f"vit_jax: error: {message}", file=sys.stderr)
  return code


if __name__ == "__main__":
  main()
