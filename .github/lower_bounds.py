r"""Prints the lower bounds of setup.py as constraints for pip.

    python .github/lower_bounds.py > bounds.txt
    pip install -e ".[test]" -c bounds.txt
"""

import ast
import pathlib
import re

SETUP = pathlib.Path(__file__).parents[1] / "setup.py"


def literal(name: str) -> dict[str, list[str]] | list[str]:
  """Returns a constant of setup.py, which is read, not run."""
  for node in ast.parse(SETUP.read_text(encoding="utf-8")).body:
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
      return ast.literal_eval(node.value)
  raise SystemExit(f"{SETUP}: expected a constant {name}")


def constraints(requirements: list[str]) -> list[str]:
  """Turns "etils[epath]>=1.13.0" into "etils==1.13.0"."""
  return [re.sub(r"\[.*?\]", "", text).replace(">=", "==")
          for text in requirements]


if __name__ == "__main__":
  print("\n".join(constraints(
      [*literal("REQUIREMENTS"), *literal("EXTRAS")["test"]])))
