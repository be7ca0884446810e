"""Opens a remote file at an offset: http(s) by urllib, buckets by fsspec."""

import http.client
import ssl
from typing import Any, BinaryIO, NamedTuple
import urllib.error
import urllib.request

import fsspec

from vit_jax.errors import UserError

_TRY_AGAIN = (408, 425, 429)
_ADVICE = {
    401: "this server wants a login; ask for a public address",
    403: "the server forbids it; check the address and your rights",
    404: "there is no such file; check the name (`vit_jax checkpoints` lists "
         "the released ones) and the base address (VIT_JAX_CHECKPOINTS)",
    410: "the file is gone",
}


class Interrupted(Exception):
  """A failure that another try may cure."""


class RangeRefused(Exception):
  """HTTP 416: nothing to send from that offset; `total` is the file's size."""

  def __init__(self, total: int | None):
    super().__init__()
    self.total = total


class Answer(NamedTuple):
  """An open remote file.

  Attributes:
    stream: gives the bytes from `start` on.
    start: 0 where the server cannot, or should not, resume.
    total: bytes of the whole file, None if not told.
    version: changes when the file does, None if not told.
  """

  stream: BinaryIO
  start: int
  total: int | None
  version: str | None


def open_url(
    url: str, start: int, version: str | None, timeout: float
) -> Answer:
  """Opens `url` at byte `start` if it still is `version`, else at 0.

  Raises:
    Interrupted: another try may succeed.
    RangeRefused: the server has nothing from `start` on.
    UserError: no other try will succeed; says why.
  """
  if url.startswith(("http://", "https://")):
    return _open_http(url, start, version, timeout)
  return _open_bucket(url, start, version)


def read(stream: BinaryIO, size: int) -> bytes:
  """Reads what has arrived, at most `size` bytes; b"" at the end.

  Raises:
    Interrupted: the connection broke, or the server fell silent.
  """
  try:
    # read1 hands over each piece as it comes, so that nothing that came is
    # lost when the server falls silent.
    if isinstance(stream, http.client.HTTPResponse):
      return stream.read1(size)
    return stream.read(size)
  # Each kind of bucket has errors of its own that share no base class.
  except Exception as error:
    raise Interrupted(_words(error)) from error


def _open_http(
    url: str, start: int, version: str | None, timeout: float
) -> Answer:
  headers = {"User-Agent": "vit_jax", "Accept-Encoding": "identity"}
  if start and version:
    headers |= {"Range": f"bytes={start}-", "If-Range": version}
  try:
    request = urllib.request.Request(url, headers=headers)
    response: Any = urllib.request.urlopen(request, timeout=timeout)
  except urllib.error.HTTPError as error:
    with error:
      raise _http_error(url, error) from error
  except urllib.error.URLError as error:
    if isinstance(error.reason, ssl.SSLCertVerificationError):
      raise UserError(
          f"{url}: the server's certificate is not trusted "
          f"({error.reason.verify_message}); check the address and the clock"
      ) from error
    raise Interrupted(_words(error.reason)) from error
  except (OSError, http.client.HTTPException) as error:
    raise Interrupted(_words(error)) from error
  except ValueError as error:
    raise UserError(f"{url!r} is not a URL ({error})") from error
  return _read_headers(response, start, version)


def _read_headers(response: Any, start: int, version: str | None) -> Answer:
  """Believes a partial answer only if it is the piece that was asked for."""
  found = _version(response)
  if response.status != 206:
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    return Answer(response, 0, total, found)
  span, _, total = (
      response.headers.get("Content-Range", "").removeprefix("bytes ")
      .partition("/"))
  changed = found is not None and found != version
  if changed or span.partition("-")[0] != str(start):
    response.close()
    raise RangeRefused(None)
  return Answer(
      response, start, int(total) if total.isdecimal() else None, version)


def _version(response: Any) -> str | None:
  """Returns what If-Range accepts: a strong ETag, or the date of change."""
  etag = response.headers.get("ETag")
  if etag and not etag.startswith("W/"):
    return etag
  return response.headers.get("Last-Modified")


def _http_error(url: str, error: urllib.error.HTTPError) -> Exception:
  if error.code == 416:
    total = error.headers.get("Content-Range", "").rpartition("/")[2]
    return RangeRefused(int(total) if total.isdecimal() else None)
  if error.code >= 500 or error.code in _TRY_AGAIN:
    return Interrupted(f"HTTP {error.code} {error.reason}")
  advice = _ADVICE.get(error.code, _words(error.reason))
  return UserError(f"{url}: HTTP {error.code}; {advice}")


def _open_bucket(url: str, start: int, version: str | None) -> Answer:
  try:
    system, inner = fsspec.core.url_to_fs(url)
  except (ImportError, ValueError) as error:
    raise UserError(
        f"{url}: {_words(error)}. Addresses are https://, http://, gs:// "
        "(pip install gcsfs) and what else fsspec reads") from error
  try:
    total, found = system.size(inner), system.ukey(inner)
    stream = system.open(inner, "rb")
  except FileNotFoundError as error:
    raise UserError(f"{url}: {_ADVICE[404]}") from error
  except Exception as error:  # as in `read`
    raise Interrupted(_words(error)) from error
  if start and found == version:
    stream.seek(start)
    return Answer(stream, start, total, found)
  return Answer(stream, 0, total, found)


def _words(error: Any) -> str:
  """Returns one line about an error."""
  if isinstance(error, TimeoutError):
    return "the server sent nothing for too long (timeout)"
  return " ".join(str(error).split()) or type(error).__name__
