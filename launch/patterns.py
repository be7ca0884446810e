"""What names, addresses and numbers of a job may look like.

They end up in command lines, in YAML, in metadata and in a script that runs as
root, so a field holds what Google Cloud allows for it and nothing else.
"""

import dataclasses
import re
from typing import Any

from launch.gcloud import UsageError

_PLACE = r"gs://[a-z0-9][-._a-z0-9]{1,220}[a-z0-9](/[A-Za-z0-9][-.\w]*){0,20}"
_NAME = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
_TIME = r"\d{4}-\d\d-\d\d(T[0-9:.]+(Z|[-+]\d\d:?\d\d)?)?"
_ACCOUNT = r"[a-z0-9][-.a-z0-9]{0,99}(@[a-z0-9][-.a-z0-9]{0,199})?"

# Field of Job -> what it matches, and how to say so.
_TEXTS = {
    "name": (r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", "at most 40 lower-case "
             "letters, digits and hyphens, a letter first"),
    "accelerator": (r"[A-Za-z0-9]{1,20}-\d{1,6}", "a type such as "
                    "v5litepod-16"),
    "zone": (r"[a-z]+-[a-z]+\d+-[a-z0-9]+", "a zone such as us-west4-a"),
    "bucket": (_PLACE, "gs://BUCKET or gs://BUCKET/FOLDER, of letters, digits "
               "and . _ -"),
    "data": (rf"{_PLACE}|none", "gs://BUCKET/FOLDER or none"),
    "data_on": (r"disk|ram|mount", "disk, ram or mount"),
    "project": (r"([a-z0-9.-]{1,60}:)?[a-z][-a-z0-9]{4,28}[a-z0-9]",
                "a project's id: 6 to 30 lower-case letters, digits and "
                "hyphens"),
    "backend": (r"queued-resources|compute-engine",
                "queued-resources or compute-engine"),
    "tier": (r"spot|on-demand|reserved|guaranteed",
             "spot, on-demand, reserved or guaranteed"),
    "service_account": (_ACCOUNT, "an account such as "
                        "NAME@PROJECT.iam.gserviceaccount.com"),
    "valid_until": (rf"(\d{{1,6}}[smhd])+|{_TIME}", "a duration such as "
                    "6h, or a time such as 2030-01-01T00:00:00Z"),
    "reservation": (rf"(projects/[-.:a-z0-9]+/reservations/)?{_NAME}",
                    "a reservation's name"),
    "network": (rf"(projects/[-.:a-z0-9]+/global/networks/)?{_NAME}",
                "a network's name"),
    "subnetwork": (r"(projects/[-.:a-z0-9]+/regions/[-a-z0-9]+/subnetworks/)?"
                   + _NAME, "a subnetwork's name"),
    "runtime": (r"[a-z0-9][-._a-z0-9]{0,99}", "a version such as "
                "v2-alpha-tpuv6e"),
    "image_family": (_NAME, "an image family's name"),
    "disk": (r"[1-9]\d{0,4}(GB|TB)", "a size such as 200GB"),
    "python": (r"3\.\d{1,2}(\.\d{1,2})?", "a version such as 3.12"),
}
_NUMBERS = {"slices": (1, 1000), "max_restarts": (1, 1000),
            "max_hours": (0, 100_000), "data_gb": (0, 65_536),
            "data_files": (0, 10**9), "data_bytes": (0, 10**18)}
_LISTS = ("args", "env")
# Fields that every job has; the others may be "".
_NEEDED = ("name", "accelerator", "disk", "python", "backend", "tier")
_RESERVED = "VIT_"  # Begins the names of startup.sh's own settings.


def check_fields(job: Any) -> None:
  """Checks the form of every field of a job, whoever wrote it.

  Args:
    job: a launch.job.Job, its fields of any type.

  Raises:
    UsageError: a field is not what Google Cloud or the launcher allows.
  """
  for field in dataclasses.fields(job):
    value, flag = getattr(job, field.name), "--" + field.name.replace("_", "-")
    if field.name in _TEXTS:
      pattern, expected = _TEXTS[field.name]
      empty = value == "" and field.name not in _NEEDED
      if not empty and not (isinstance(value, str) and re.fullmatch(
          pattern, value, re.ASCII)):
        raise UsageError(f"{flag}={_shown(value)}: expected {expected}")
    elif field.name in _NUMBERS:
      low, high = _NUMBERS[field.name]
      if type(value) is not int or not low <= value <= high:
        raise UsageError(f"{flag}={_shown(value)}: expected a number from "
                         f"{low} to {high}")
    elif field.name in _LISTS:
      _check_words(flag, value)
    elif type(value) is not bool:
      raise UsageError(f"{flag}={_shown(value)}: expected true or false")
  for pair in job.env:
    if not re.match(r"[A-Za-z_][A-Za-z0-9_]*=", pair, re.ASCII):
      raise UsageError(f"--env={_shown(pair)}: expected NAME=VALUE")
    if pair.startswith(_RESERVED):
      raise UsageError(f"--env={_shown(pair)}: names that begin with "
                       f"{_RESERVED} are the launcher's own; it has flags for "
                       "them")


def _check_words(flag: str, words: Any) -> None:
  if not isinstance(words, tuple) or not all(
      isinstance(word, str) for word in words):
    raise UsageError(f"{flag}={_shown(words)}: expected a list of texts")
  for word in words:
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000
           for c in word):
      raise UsageError(f"{_shown(word)}: a line break or another control "
                       "character cannot be sent")


def _shown(value: Any) -> str:
  """Returns a value for a message of one line."""
  text = value if isinstance(value, str) else repr(value)
  return (text if text.isprintable() else repr(text))[:200]
