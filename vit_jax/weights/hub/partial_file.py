"""The files of an unfinished download, kept so that the next try resumes it.

`NAME.part` contains the first bytes, `NAME.part.json` the address and version
of the file that they belong to: bytes of two versions are never joined.
"""

import json
import pathlib


def partial_size(part: pathlib.Path) -> int:
  """Returns how many bytes have arrived."""
  return part.stat().st_size if part.exists() else 0


def begin_partial(part: pathlib.Path, url: str, version: str | None) -> None:
  """Records which file the bytes will belong to, before they arrive."""
  part.unlink(missing_ok=True)
  _note(part).write_text(json.dumps({"url": url, "version": version}))


def forget_partial(part: pathlib.Path) -> None:
  """Removes both files."""
  part.unlink(missing_ok=True)
  _note(part).unlink(missing_ok=True)


def resume_point(part: pathlib.Path, url: str) -> tuple[int, str | None]:
  """Returns how many bytes can be kept, and their version; else (0, None)."""
  try:
    note = json.loads(_note(part).read_text())
  except (OSError, ValueError):
    note = {}
  if note.get("url") == url and note.get("version") and partial_size(part):
    return partial_size(part), note["version"]
  forget_partial(part)
  return 0, None


def _note(part: pathlib.Path) -> pathlib.Path:
  return part.with_name(part.name + ".json")
