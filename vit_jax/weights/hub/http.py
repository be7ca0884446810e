"""Opens a remote file at an offset: http(s) by urllib, buckets by fsspec."""

import http.client
import re
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
  """A failure that may not happen again."""


class RangeRefused(Exception):
  """HTTP 416: nothing to send from that offset; `total` is the file's size."""

  def __init__(self, total: int | None):
    super().__init__()
    self.total = total


class RemoteFile(NamedTuple):
  """An open remote file.

  Attributes:
    stream: gives the bytes from `start` on.
    start: 0 where the server cannot, or should not, resume.
    total: bytes of the whole file, None if unknown.
    version: changes when the file does, None if unknown.
    md5: of the whole file, base64, None where the server does not say it.
  """

  stream: BinaryIO
  start: int
  total: int | None
  version: str | None
  md5: str | None = None


def open_url(
    url: str, start: int, version: str | None, timeout: float
) -> RemoteFile:
  """Opens `url` at byte `start` if it is still of `version`, else at 0.

  Raises:
    Interrupted: another try may succeed.
    RangeRefused: the server has nothing from `start` on.
    UserError: no other try will succeed; gives the reason.
  """
  if url.startswith(("http://", "https://")):
    return _open_http(url, start, version, timeout)
  return _open_bucket(url, start, version)


def read_chunk(stream: BinaryIO, size: int) -> bytes:
  """Reads what has arrived, at most `size` bytes; b"" at the end.

  Raises:
    Interrupted: the connection broke, or the server fell silent.
  """
  try:
    # read1 returns each piece as it arrives, so that nothing that has arrived
    # is lost when the server falls silent.
    if isinstance(stream, http.client.HTTPResponse):
      return stream.read1(size)
    return stream.read(size)
  # The errors of the various buckets share no base class.
  except Exception as error:
    raise Interrupted(_words(error)) from error


def _open_http(
    url: str, start: int, version: str | None, timeout: float
) -> RemoteFile:
  headers = {"User-Agent": "vit_jax", "Accept-Encoding": "identity"}
  if start and version:
    headers |= {"Range": f"bytes={start}-", "If-Range": version}
  try:
    request = urllib.request.Request(url, headers=headers)
    # Only http:// and https:// come here, see `open_url`.
    response: Any = urllib.request.urlopen(  # nosec B310
        request, timeout=timeout)
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


def _read_headers(response: Any, start: int, version: str | None) -> RemoteFile:
  """Accepts a partial answer only if it is the piece that was asked for."""
  current = _version(response)
  if response.status != 206:
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    return RemoteFile(response, 0, total, current, _md5(response))
  span, _, total = (
      response.headers.get("Content-Range", "").removeprefix("bytes ")
      .partition("/"))
  changed = current is not None and current != version
  if changed or span.partition("-")[0] != str(start):
    response.close()
    raise RangeRefused(None)
  return RemoteFile(
      response, start, int(total) if total.isdecimal() else None, version,
      _md5(response))


def _md5(response: Any) -> str | None:
  """Returns the MD5 that Google's buckets send along, where there is one."""
  sent = ",".join(response.headers.get_all("x-goog-hash") or [])
  found = re.search(r"(?:^|[, ])md5=([A-Za-z0-9+/]{22}==)", sent)
  return found[1] if found else None


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


def _open_bucket(url: str, start: int, version: str | None) -> RemoteFile:
  try:
    system, inner = fsspec.core.url_to_fs(url)
  except (ImportError, ValueError) as error:
    raise UserError(
        f"{url}: {_words(error)}. Addresses are https://, http://, gs:// "
        "(pip install gcsfs) and others that fsspec reads") from error
  except Exception as error:  # as in `read_chunk`: some ask a server here
    raise Interrupted(_words(error)) from error
  try:
    total, current = system.size(inner), system.ukey(inner)
    stream = system.open(inner, "rb")
  except FileNotFoundError as error:
    raise UserError(f"{url}: {_ADVICE[404]}") from error
  except Exception as error:  # as in `read_chunk`
    raise Interrupted(_words(error)) from error
  if start and current == version:
    stream.seek(start)
    return RemoteFile(stream, start, total, current)
  return RemoteFile(stream, 0, total, current)


def _words(error: Any) -> str:
  """Returns one line about an error."""
  if isinstance(error, TimeoutError):
    return "the server sent nothing for too long (timeout)"
  return " ".join(str(error).split()) or type(error).__name__
