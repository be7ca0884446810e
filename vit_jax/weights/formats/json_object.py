"""JSON that others wrote: an object of bounded size, or one line of refusal."""

import json
from typing import Any

# Far above every file that is read: descriptions, configs, headers.
MAX_BYTES = 100 << 20


def parse_object(text: str | bytes) -> dict[str, Any]:
  """Returns a JSON object.

  Raises:
    ValueError: it is not JSON, not an object, nested too deeply, or too large;
      the message is one line that goes behind the name of the file.
  """
  if len(text) > MAX_BYTES:
    raise ValueError(f"{len(text):,} bytes of JSON are too many")
  try:
    value = json.loads(text)
  except UnicodeDecodeError:
    raise ValueError("not JSON (not UTF-8)") from None
  except RecursionError:
    raise ValueError("not JSON that makes sense (nested too deeply)") from None
  # A number of thousands of digits is a ValueError, too.
  except ValueError as error:
    raise ValueError(f"not JSON ({error})") from None
  if not isinstance(value, dict):
    raise ValueError(
        f"a JSON object was expected, found {type(value).__name__}")
  return value
