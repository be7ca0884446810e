"""A real HTTP server on loopback whose every answer can be made to go wrong.

Each GET takes the next step of `plan` (then the default):
  status        answer that status and nothing else
  cut           close the connection after that many bytes of the body
  reset         with a reset instead of a close
  stall         then say nothing for that many seconds, and close
  lie           add this to the Content-Length
  ranges        False: ignore Range
  versions      False: send neither ETag nor Last-Modified
  weak          True: a weak ETag and no Last-Modified
  pace          seconds to wait after each 64 KiB
  before        called before answering, to change `files`
"""

import contextlib
import hashlib
import http.server
import io
import socket
import struct
import threading

import numpy as np

FILE = "/augreg/Ti.npz"
PIECE = 1 << 16
QUICK = dict(backoff=0.01, timeout=5.0)


def npz(seed, size=100_000):
  """Returns an .npz file; incompressible, so that every byte counts."""
  f = io.BytesIO()
  np.savez(f, a=np.random.default_rng(seed).bytes(size))
  return f.getvalue()


def same(path, data):
  """Whether the file holds these bytes; first shows that it could tell."""
  assert path.read_bytes() != data[:-1] + bytes([data[-1] ^ 1])
  return path.read_bytes() == data


class FileServer(http.server.ThreadingHTTPServer):
  """Serves `files` ({path: bytes}) and logs requests as they are answered."""

  daemon_threads = True
  request_queue_size = 64

  def __init__(self):
    super().__init__(("127.0.0.1", 0), _Handler)
    self.files = {}
    self.plan = []
    self.default = {}
    self.requests = []  # (path, Range header or None, status)
    self.sent = 0  # bytes of bodies
    self.stop = threading.Event()
    self.mutex = threading.Lock()

  @property
  def url(self):
    return f"http://127.0.0.1:{self.server_port}"

  def statuses(self):
    return [status for _, _, status in self.requests]

  def handle_error(self, request, client_address):
    pass  # clients that give up are part of the tests


class _Handler(http.server.BaseHTTPRequestHandler):

  def do_GET(self):
    server = self.server
    with server.mutex:
      step = server.plan.pop(0) if server.plan else server.default
      if "before" in step:
        step["before"]()
    data = server.files.get(self.path)
    status = step.get("status", 200 if data is not None else 404)
    asked = self.headers.get("Range")
    if status != 200:
      return self._answer(status, b"", asked, {})
    etag = f'"{hashlib.md5(data).hexdigest()}"'
    headers = {"ETag": etag}
    if not step.get("versions", True):
      headers = {}
    if step.get("weak"):
      headers = {"ETag": "W/" + etag}
    start = 0
    if asked and step.get("ranges", True):
      if self.headers.get("If-Range") in (None, etag):
        start, status = int(asked[len("bytes="):-1]), 206
    if status == 206 and start >= len(data):
      return self._answer(
          416, b"", asked, {"Content-Range": f"bytes */{len(data)}"})
    if status == 206:
      headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    self._answer(status, data[start:], asked, headers, step)

  def _answer(self, status, body, asked, headers, step=None):
    step = step or {}
    self.server.requests.append((self.path, asked, status))
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name, value)
    self.send_header("Content-Length", str(len(body) + step.get("lie", 0)))
    self.end_headers()
    body = body[:step.get("cut")]
    for start in range(0, len(body), PIECE):
      piece = body[start:start + PIECE]
      # Counted first: who has received it may look at the count at once.
      with self.server.mutex:
        self.server.sent += len(piece)
      self.wfile.write(piece)
      self.server.stop.wait(step.get("pace", 0))
    if "stall" in step:
      self.wfile.flush()
      self.server.stop.wait(step["stall"])
    if step.get("reset"):
      self.connection.setsockopt(
          socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
      self.connection.close()

  def log_message(self, *_):
    pass


@contextlib.contextmanager
def serving():
  """Yields a FileServer that runs in a thread and has FILE."""
  server = FileServer()
  server.files[FILE] = npz(seed=0)
  thread = threading.Thread(
      target=server.serve_forever, kwargs={"poll_interval": 0.02})
  thread.start()
  try:
    yield server
  finally:
    server.stop.set()
    server.shutdown()
    server.server_close()
    thread.join()
