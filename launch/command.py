"""How launch's programs read their arguments, and how they end."""

import argparse
from collections.abc import Callable, Sequence
import difflib
import functools
import re
import sys
from typing import Any

from launch.gcloud import LaunchError

Main = Callable[[Sequence[str]], int]


class Parser(argparse.ArgumentParser):
  """Names a flag that is mistyped before those that are missing."""

  def __init__(self, prog: str, description: str | None, **more: Any) -> None:
    """Makes a parser whose --help prints `description` as it is."""
    super().__init__(
        prog=prog, description=description, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter, **more)

  def read(self, argv: Sequence[str]) -> argparse.Namespace:
    """Returns the arguments; ends the program with code 2 if one is wrong."""
    known = sorted(set(re.findall(r"--[\w-]+", self.format_help())))
    for word in argv:
      name = word.partition("=")[0]
      if name.startswith("--") and name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        self.error(f"unknown argument {word!r}{hint}")
    return self.parse_args(argv)


def one_line(program: str) -> Callable[[Main], Main]:
  """Makes a `main(argv)` print a LaunchError as one line and return its code.

  Args:
    program: the name before the message, such as "launch/run.py".
  """
  def decorate(main: Main) -> Main:
    @functools.wraps(main)
    def ends(argv: Sequence[str]) -> int:
      try:
        return main(argv)
      except LaunchError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    return ends
  return decorate
