"""Lists the licences of everything that vit_jax needs; fails on copyleft.

  python .ci/licences.py [EXTRA ...]

What is installed counts, with what that needs in turn.
"""

from importlib import metadata
import re
import sys

from packaging.requirements import Requirement

# Licences that bind those who use a library, by the words in their names.
COPYLEFT = re.compile(
    r"\b(A?GPL|GNU (Affero )?General|SSPL|EUPL|CC-BY-SA)", re.I)
WEAK = re.compile(r"\b(LGPL|MPL|Mozilla|EPL|Lesser)", re.I)


def licence(name: str) -> str:
  """Returns the licence that a package states."""
  about = metadata.metadata(name)
  stated = about.get("License-Expression")
  if not stated:
    classes = [c.rpartition(" :: ")[2]
               for c in about.get_all("Classifier") or []
               if c.startswith("License :: ")]
    stated = "; ".join(c for c in classes if c != "OSI Approved")
  return stated or (about.get("License") or "not stated").split("\n")[0][:60]


def needed(name: str, extras: set[str], found: set[str]) -> None:
  """Adds a package and everything that it needs to `found`."""
  for text in metadata.requires(name) or []:
    requirement = Requirement(text)
    other = re.sub(r"[-_.]+", "-", requirement.name).lower()
    wanted = requirement.marker is None or any(
        requirement.marker.evaluate({"extra": extra})
        for extra in ("", *extras))
    if not wanted or other in found:
      continue
    try:
      metadata.version(other)
    except metadata.PackageNotFoundError:
      continue
    found.add(other)
    needed(other, set(requirement.extras), found)


def main() -> None:
  """Prints the table; exits with 1 where a licence is copyleft."""
  found: set[str] = set()
  needed("vit_jax", set(sys.argv[1:]), found)
  strong = []
  for name in sorted(found):
    stated = licence(name)
    # A choice of licences is as free as its freest part.
    parts = re.split(r"\s+OR\s+", stated)
    if all(COPYLEFT.search(part) and not WEAK.search(part) for part in parts):
      strong.append(name)
    print(f"{name:32} {metadata.version(name):16} {stated}")
  if strong:
    sys.exit(f"copyleft: {', '.join(strong)}")


if __name__ == "__main__":
  main()
