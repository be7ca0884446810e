"""How the verbs read their arguments, and the arguments that several take."""

import argparse
import ast
from collections.abc import Callable, Iterable, Sequence
import os
import re
import sys
from typing import Any, NoReturn, TypeVar

from vit_jax.errors import UsageError, suggest
from vit_jax.paths import to_write

T = TypeVar("T")

# As in vit_jax.weights.posemb_resize, which takes long to import.
METHODS = ("auto", "corner_aligned", "bilinear", "bicubic", "torch_bicubic",
           "torch_bicubic_aligned")
_CONFIG_FLAGS = ("--config", "-config", "--noconfig")


class Parser(argparse.ArgumentParser):
  """Reads a verb's arguments; what is wrong is a UsageError of one line."""

  def __init__(self, verb: str, description: str | None) -> None:
    """Makes a parser whose --help prints `description` as it is."""
    super().__init__(
        prog=f"{program()} {verb}", description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False)
    self.takes_config = False
    self.rewrite: Callable[[Sequence[str]], Sequence[str]] = list

  def error(self, message: str) -> NoReturn:
    """Raises UsageError instead of printing the whole usage."""
    raise UsageError(f"{message}; see {self.prog} --help")

  def parse(self, argv: Sequence[str]) -> argparse.Namespace:
    """Returns the arguments; for an unknown option, suggests the nearest.

    `rewrite` changes the words first. After `add_config`, args.config_words has
    the words about the config, and args.argv all of them.
    """
    argv = self.rewrite(argv)
    words, config_words = (
        split_config(argv) if self.takes_config else (argv, []))
    # First, as one that is mistyped is missing as well.
    options = {*re.findall(r"--\w+", self.format_help()), "--help", "--"}
    for word in words:
      if word.startswith("--") and word.partition("=")[0] not in options:
        self._refuse(word, options)
    args, unknown = self.parse_known_args(words)
    if unknown:
      self._refuse(unknown[0], options)
    if self.takes_config:
      args.config_words, args.argv = config_words, list(argv)
    return args

  def _refuse(self, word: str, options: Iterable[str]) -> NoReturn:
    """Raises UsageError for a word that is no argument, with the nearest."""
    name = word.partition("=")[0]
    hint = suggest(name, options)
    if self.takes_config:
      from vit_jax.config.schema import keys_called

      keys = [f"--config.{key}" for key in keys_called(name.lstrip("-"))]
      hint = f" (did you mean {' or '.join(keys)}?)" if keys else hint
    self.error(f"unknown argument {word!r}{hint}")


def split_config(argv: Sequence[str]) -> tuple[list[str], list[str]]:
  """Returns a verb's own words, and those about the config as FLAG=VALUE.

  A flag without "=" takes the next word as its value, unless that is a flag
  too: --config.model.scan alone sets a boolean key.
  """
  words: list[str] = []
  config_words: list[str] = []
  value_follows = False
  for word in argv:
    about_config = word in _CONFIG_FLAGS or word.startswith(
        tuple(f"{flag}{sign}" for flag in _CONFIG_FLAGS for sign in "=."))
    if value_follows and not word.startswith("--"):
      config_words[-1] += f"={word}"
    else:
      (config_words if about_config else words).append(word)
    value_follows = about_config and "=" not in word
  return words, config_words


def config_changes(words: Sequence[str]) -> dict[str, Any]:
  """Returns "section.key" -> value for words such as --config.KEY=VALUE."""
  changes: dict[str, Any] = {}
  for word in words:
    flag, equals, text = word.partition("=")
    prefix, _, name = flag.partition(".")
    if not equals:  # --config.KEY and --noconfig.KEY set a boolean.
      changes[name] = not prefix.endswith("noconfig")
      continue
    try:
      changes[name] = ast.literal_eval(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
      changes[name] = text
  return changes


def program() -> str:
  """Returns how this command was called, for help texts."""
  called = os.path.basename(sys.argv[0])
  return "vit_jax" if called == "vit_jax" else "python -m vit_jax"


def add_config(parser: Parser, file: bool = True) -> None:
  """Adds --config=FILE (if `file`) and --config.KEY=VALUE.

  Listed for --help only: `Parser.parse` hands the words on to
  `vit_jax.config.find.load_config`.
  """
  parser.takes_config = True
  if file:
    parser.add_argument(
        "--config", metavar="FILE[:ARGS]", help="config file, a shipped one "
        "(configs/NAME.py) or your own; its docstring explains ARGS")
  parser.add_argument(
      "--config.KEY", metavar="VALUE", help="change a key of the config, such "
      "as --config.train.steps=1000")


def add_processes(parser: argparse.ArgumentParser) -> None:
  """Adds the addresses of a job of several processes."""
  add = parser.add_argument
  add("--coordinator", metavar="HOST:PORT",
      help="address of process 0, where no cluster manager provides it")
  add("--num_processes", type=int, metavar="N",
      help="processes of the job, with --coordinator")
  add("--process_id", type=int, metavar="I",
      help="number of this process, from 0, with --coordinator")


def add_json(parser: argparse.ArgumentParser) -> None:
  """Adds --json."""
  parser.add_argument(
      "--json", action="store_true",
      help="print one JSON object on standard output instead of a table")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
  """Adds --checkpoint, which `opening.locate` understands."""
  parser.add_argument(
      "--checkpoint", required=True, metavar="FILE",
      help=".npz or .safetensors file, released name (imagenet21k/ViT-B_16), "
      "hf:OWNER/MODEL or timm:NAME on the Hugging Face hub, URL, --workdir of "
      "a run, or one of its checkpoints/STEP")
  add_fitting(parser)


def add_fitting(parser: argparse.ArgumentParser) -> None:
  """Adds how a file is read, and how it is fitted to other images."""
  add_reading(parser)
  parser.add_argument(
      "--method", choices=METHODS, default=None,
      help="how position embeddings are resized to another --image_size "
      "(default: auto, as the code that the file is of)")


def add_reading(parser: argparse.ArgumentParser) -> None:
  """Adds what the arrays of some libraries do not show."""
  parser.add_argument(
      "--num_heads", type=positive, metavar="N",
      help="attention heads, for a file of PyTorch's libraries without "
      "config.json")
  parser.add_argument(
      "--old_grid", type=image_size, metavar="ROWSxCOLUMNS",
      help="patches of the position embedding, for a file without a "
      "description whose images are not square")
  parser.add_argument(
      "--posemb", metavar="KIND",
      help="none, sincos2d, rope2d or rope2d_unit: the position embedding of a "
      "file that has no arrays for it and no description")


def add_preprocess(parser: argparse.ArgumentParser) -> None:
  """Adds --preprocess and --image_size."""
  parser.add_argument(
      "--preprocess", metavar="OPS",
      help="such as 'resize_small(448)|central_crop({size})' (default: what is "
      "stored with the checkpoint)")
  add_image_size(parser)


def add_flip(parser: argparse.ArgumentParser) -> None:
  """Adds --flip."""
  parser.add_argument(
      "--flip", action="store_true",
      help="average the logits of each picture and its mirror image")


def add_image_size(parser: argparse.ArgumentParser) -> None:
  """Adds --image_size: one side, or HEIGHTxWIDTH."""
  parser.add_argument(
      "--image_size", type=image_size, metavar="N",
      help="side of the images in pixels, or HEIGHTxWIDTH (default: that of "
      "the checkpoint); position embeddings are resized to it")


def add_batch_size(parser: argparse.ArgumentParser) -> None:
  """Adds --batch_size, of images that files and folders name."""
  parser.add_argument(
      "--batch_size", type=positive, default=8, metavar="N",
      help="images at a time (default: 8)")


def add_loading(parser: argparse.ArgumentParser) -> None:
  """Adds how a data set is read: batch size, threads, broken images."""
  add = parser.add_argument
  add("--batch_size", type=positive, metavar="N",
      help="images per step over all devices (default: 32 per device)")
  add("--num_threads", type=positive, default=-1, metavar="N",
      help="threads that read and decode (default: one a processor, at "
      "least 16)")
  add("--max_broken", type=int, default=0, metavar="N",
      help="broken images to skip before giving up (default: 0)")


def image_size(text: str) -> tuple[int, int]:
  """Reads "384" or "224x320" as (height, width)."""
  sides = text.split("x")
  if not all(s.isdecimal() and int(s) > 0 for s in sides) or len(sides) > 2:
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a size; expected 384 or 224x320 (height x width)")
  return int(sides[0]), int(sides[-1])


def output_path(text: str) -> str:
  """Returns the path of a file or folder to write, for `type=`."""
  return str(to_write(text))


def positive(text: str) -> int:
  """Reads a whole number from 1."""
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a whole number from 1")
  return int(text)


def number(text: str) -> float:
  """Reads a number."""
  try:
    return float(text)
  except ValueError:
    raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def list_of(
    read: Callable[[str], T], separator: str = ","
) -> Callable[[str], tuple[T, ...]]:
  """Returns an argument type that reads "A,B,C", each item by `read`."""

  def read_list(text: str) -> tuple[T, ...]:
    items = [item.strip() for item in text.split(separator)]
    return tuple(read(item) for item in items if item)

  return read_list
