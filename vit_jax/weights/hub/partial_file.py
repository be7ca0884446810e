"""The files of an unfinished download, kept so that the next try goes on.

`NAME.part` holds the first bytes, `NAME.part.json` the address and version of
the file that they belong to: bytes of two versions are never glued together.
"""

import json
import pathlib


def size(part: pathlib.Path) -> int:
  """Returns how many bytes are here."""
  return part.stat().st_size if part.exists() else 0


def begin(part: pathlib.Path, url: str, version: str | None) -> None:
  """Notes what the bytes to come belong to, before they come."""
  part.unlink(missing_ok=True)
  _note(part).write_text(json.dumps({"url": url, "version": version}))


def forget(part: pathlib.Path) -> None:
  """Removes both files."""
  part.unlink(missing_ok=True)
  _note(part).unlink(missing_ok=True)


def resume_point(part: pathlib.Path, url: str) -> tuple[int, str | None]:
  """Returns the bytes here and their version, (0, None) if that is unsure."""
  try:
    note = json.loads(_note(part).read_text())
  except (OSError, ValueError):
    note = {}
  if note.get("url") == url and note.get("version") and size(part):
    return size(part), note["version"]
  forget(part)
  return 0, None


def _note(part: pathlib.Path) -> pathlib.Path:
  return part.with_name(part.name + ".json")
