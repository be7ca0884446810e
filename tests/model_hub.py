"""A Hugging Face hub on loopback: it serves files, cuts them short, refuses.

`models` holds {"OWNER/MODEL": {"FILE": bytes}}. `refusals` holds for a model
(status, X-Error-Code); `cuts` how many bytes of the next answers are sent.
"""

import contextlib
import hashlib
import http.server
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class ModelHub(http.server.ThreadingHTTPServer):
  """Answers HEAD and GET of /OWNER/MODEL/resolve/REVISION/FILE."""

  daemon_threads = True

  def __init__(self):
    super().__init__(("127.0.0.1", 0), _Handler)
    self.models = {}
    self.refusals = {}
    self.cuts = []
    self.requests = []  # (method, path, Range, Authorization)

  @property
  def url(self):
    return f"http://127.0.0.1:{self.server_port}"

  def handle_error(self, request, client_address):
    pass


class _Handler(http.server.BaseHTTPRequestHandler):

  protocol_version = "HTTP/1.1"

  def do_HEAD(self):
    self._answer(body=False)

  def do_GET(self):
    self._answer(body=True)

  def _answer(self, body):
    hub, asked = self.server, self.headers.get("Range")
    hub.requests.append(
        (self.command, self.path, asked, self.headers.get("Authorization")))
    repo, _, rest = self.path[1:].partition("/resolve/")
    revision, _, file = rest.partition("/")
    commit = {"X-Repo-Commit": COMMIT}
    if repo in hub.refusals:
      return self._refuse(*hub.refusals[repo], {})
    if repo not in hub.models:
      return self._refuse(401, "RepoNotFound", {})
    if revision not in ("main", "v1.0", COMMIT):
      return self._refuse(404, "RevisionNotFound", {})
    data = hub.models[repo].get(file)
    if data is None:
      return self._refuse(404, "EntryNotFound", commit)
    start = int(asked[len("bytes="):].partition("-")[0]) if asked else 0
    self.send_response(206 if asked else 200)
    if asked:
      self.send_header(
          "Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    self.send_header("Content-Length", str(len(data) - start))
    self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
    self.send_header("X-Repo-Commit", COMMIT)
    self.end_headers()
    if not body:
      return None
    cut = hub.cuts.pop(0) if hub.cuts else None
    self.wfile.write(data[start:] if cut is None else data[start:start + cut])
    if cut is not None:
      self.close_connection = True
    return None

  def _refuse(self, status, code, headers):
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name, value)
    if code:
      self.send_header("X-Error-Code", code)
    self.send_header("Content-Length", "0")
    self.end_headers()

  def log_message(self, *_):
    pass


@contextlib.contextmanager
def serving():
  """Yields a ModelHub that runs in a thread."""
  hub = ModelHub()
  thread = threading.Thread(
      target=hub.serve_forever, kwargs={"poll_interval": 0.02})
  thread.start()
  try:
    yield hub
  finally:
    hub.shutdown()
    hub.server_close()
    thread.join()
