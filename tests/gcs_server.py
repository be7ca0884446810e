"""Google Cloud Storage on loopback: the JSON API, counted by who asks.

Speaks what the clients of a job need: tensorstore (arrays of checkpoints),
gcsfs (all other files) and google-cloud-storage (with which Orbax removes
folders). Each client gets a port of its own, so that requests and bytes are
counted by process; all ports show the same objects.
"""

import base64
import collections
import contextlib
import dataclasses
import hashlib
import http.server
import itertools
import json
import re
import threading
import time
import urllib.parse

BUCKET = "bucket"
# From https://cloud.google.com/storage/docs/json_api/v1/parameters: a list has
# pages of at most so many objects.
PAGE = 1_000


@dataclasses.dataclass
class Asked:
  """What came in at one port."""

  requests: collections.Counter = dataclasses.field(
      default_factory=collections.Counter)
  bytes_read: int = 0
  bytes_written: int = 0
  log: list = dataclasses.field(default_factory=list)

  def clear(self):
    self.requests.clear()
    self.log.clear()
    self.bytes_read = self.bytes_written = 0


class Store:
  """The objects of one bucket; each change is a new generation."""

  def __init__(self):
    self.objects = {}
    self.uploads = {}
    self.names_of_uploads = map("u{}".format, itertools.count())
    self.lock = threading.Lock()
    self.generation = 1_000_000

  def put(self, name, data, match=None):
    """Returns the object's resource; None where its generation is another."""
    with self.lock:
      old = self.objects.get(name)
      if match is not None and match != (old[1] if old else 0):
        return None
      self.generation += 1
      self.objects[name] = (bytes(data), self.generation, time.time())
    return self.resource(name)

  def resource(self, name):
    data, generation, when = self.objects[name]
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when)) + (
        f".{int(when % 1 * 1000):03d}Z")
    return {
        "kind": "storage#object", "id": f"{BUCKET}/{name}/{generation}",
        "name": name, "bucket": BUCKET, "generation": str(generation),
        "metageneration": "1", "size": str(len(data)), "updated": stamp,
        "timeCreated": stamp, "storageClass": "STANDARD", "etag": "x",
        "contentType": "application/octet-stream",
        "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode()}

  def listed(self, prefix="", delimiter="", start="", end="", after=""):
    """Returns the names and the folders below a prefix."""
    names, folders = [], set()
    with self.lock:
      every = sorted(self.objects)
    for name in every:
      if not name.startswith(prefix) or name < start or (end and name >= end):
        continue
      rest = name[len(prefix):]
      if delimiter and delimiter in rest:
        folders.add(prefix + rest.split(delimiter)[0] + delimiter)
      elif name > after:
        names.append(name)
    return names, sorted(folders)


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"

  def log_message(self, *_):
    pass

  def _body(self):
    if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
      parts = []
      while size := int(self.rfile.readline().split(b";")[0], 16):
        parts.append(self.rfile.read(size))
        self.rfile.readline()
      self.rfile.readline()
      return b"".join(parts)
    return self.rfile.read(int(self.headers.get("Content-Length") or 0))

  def _send(self, status, body=b"", kind="application/json", **headers):
    self.send_response(status)
    self.send_header("Content-Type", kind)
    self.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
      self.send_header(name.replace("_", "-"), str(value))
    self.end_headers()
    if self.command != "HEAD":
      self.wfile.write(body)

  def _json(self, value, status=200, **headers):
    self._send(status, json.dumps(value).encode(), **headers)

  def _error(self, status, message="no such object"):
    self._json({"error": {"code": status, "message": message, "errors": [
        {"message": message, "reason": "x"}]}}, status)

  def _answer(self):
    time.sleep(self.server.latency)
    asked = self.server.asked
    url = urllib.parse.urlsplit(self.path)
    query = {k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()}
    data = self._body()
    if status := self.server.refuses(
        self.command, urllib.parse.unquote(self.path)):
      asked.requests["refused"] += 1
      return self._error(status, "refused by the test")
    kind = self.command, url.path
    for method, pattern, function in _ROUTES:
      found = method == self.command and re.fullmatch(pattern, url.path)
      if found:
        kind = function.__name__.strip("_")
        asked.requests[kind] += 1
        asked.log.append((kind, urllib.parse.unquote(url.path), query))
        try:
          function(self, query, data, *map(
              urllib.parse.unquote, found.groups()))
        except (KeyError, TypeError, ValueError) as error:
          asked.requests["unknown"] += 1
          asked.log.append((self.command, self.path, data[:200]))
          self._error(400, repr(error))
        return None
    asked.requests["unknown"] += 1
    asked.log.append((kind, url.query))
    return self._error(501, f"not simulated: {kind}")

  do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _answer

  # What is asked for.

  def _bucket(self, query, data):
    del query, data
    self._json({"kind": "storage#bucket", "name": BUCKET, "id": BUCKET,
                "location": "US", "locationType": "region",
                "storageClass": "STANDARD"})

  def _layout(self, query, data):
    del query, data
    self._json({"kind": "storage#storageLayout", "bucket": BUCKET,
                "location": "US", "locationType": "region",
                "hierarchicalNamespace": {"enabled": False}})

  def _list(self, query, data):
    del data
    names, folders = self.server.store.listed(
        query.get("prefix", ""), query.get("delimiter", ""),
        query.get("startOffset", ""), query.get("endOffset", ""),
        query.get("pageToken", ""))
    most = min(int(query.get("maxResults", PAGE)), PAGE)
    page, more = names[:most], len(names) > most
    answer = {"kind": "storage#objects"}
    if page:
      answer["items"] = [self.server.store.resource(n) for n in page]
    if folders and not query.get("pageToken"):
      answer["prefixes"] = folders
    if more:
      answer["nextPageToken"] = page[-1]
    self._json(answer)

  def _get(self, query, data, name):
    del data
    found = self.server.store.objects.get(name)
    if not found:
      return self._error(404)
    content, generation, _ = found
    if query.get("ifGenerationNotMatch") == str(generation):
      return self._send(304)
    if query.get("ifGenerationMatch") not in (None, str(generation)):
      return self._error(412, "another generation")
    if query.get("alt") != "media":
      return self._json(self.server.store.resource(name))
    headers = {"x_goog_generation": generation,
               "x_goog_stored_content_length": len(content)}
    part = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
    status, first, last = 200, 0, len(content) - 1
    if part:
      if not part[1]:
        first = max(0, len(content) - int(part[2]))
      else:
        first = int(part[1])
        last = min(int(part[2] or last), last)
      if first >= len(content):
        return self._send(416, Content_Range=f"bytes */{len(content)}")
      status = 206
      headers["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
    self.server.asked.bytes_read += last + 1 - first
    return self._send(status, content[first:last + 1],
                      "application/octet-stream", **headers)

  def _stored(self, name, data, query):
    match = query.get("ifGenerationMatch")
    made = self.server.store.put(
        name, data, None if match is None else int(match))
    if made is None:
      return self._error(412, "another generation")
    self.server.asked.bytes_written += len(data)
    return self._json(made)

  def _insert(self, query, data):
    kind = query.get("uploadType")
    if "upload_id" in query:  # gcsfs sends the parts so too.
      return self._part(query, data)
    if kind == "media":
      return self._stored(query["name"], data, query)
    if kind == "multipart":
      mark = re.search(r"boundary=['\"]?([^'\";]+)",
                       self.headers["Content-Type"])[1].encode()
      _, about, content, _ = re.split(
          rb"(?:^|\r?\n)--" + re.escape(mark) + rb"(?:--)?\r?\n?", data)
      about = json.loads(about.split(b"\n\n" if b"\n\n" in about
                                     else b"\r\n\r\n", 1)[1])
      content = re.split(rb"\r?\n\r?\n", content, maxsplit=1)[1]
      return self._stored(about.get("name") or query["name"], content, query)
    about = json.loads(data or b"{}")
    key = next(self.server.store.names_of_uploads)
    self.server.store.uploads[key] = [
        about.get("name") or query["name"], bytearray(), query]
    host = self.headers["Host"]
    return self._send(200, Location=(
        f"http://{host}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable"
        f"&upload_id={key}"))

  def _part(self, query, data):
    name, content, first = self.server.store.uploads[query["upload_id"]]
    content += data
    total = self.headers.get("Content-Range", "").rpartition("/")[2]
    if total == "*" or (total and int(total) > len(content)):
      return self._send(308, Range=f"bytes=0-{len(content) - 1}")
    del self.server.store.uploads[query["upload_id"]]
    return self._stored(name, content, first)

  def _delete(self, query, data, name):
    del data
    with self.server.store.lock:
      found = self.server.store.objects.get(name)
      match = query.get("ifGenerationMatch")
      if found and match not in (None, str(found[1])):
        return self._error(412, "another generation")
      gone = self.server.store.objects.pop(name, None)
    return self._send(204) if gone else self._error(404)

  def _copy(self, query, data, source, target):
    del query, data
    found = self.server.store.objects.get(source)
    if not found:
      return self._error(404)
    made = self.server.store.put(target, found[0])
    return self._json(made if "/copyTo/" in self.path else {
        "kind": "storage#rewriteResponse", "done": True, "resource": made,
        "totalBytesRewritten": made["size"], "objectSize": made["size"]})

  def _patch(self, query, data, name):
    del query, data
    if name not in self.server.store.objects:
      return self._error(404)
    return self._json(self.server.store.resource(name))

  def _batch(self, query, data):
    del query
    mark = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1]
    answers = []
    for part in data.split(b"--" + mark.encode()):
      asked = re.search(rb"DELETE \S*/o/(\S+) HTTP", part)
      if not asked:
        continue
      name = urllib.parse.unquote(
          asked[1].split(b"?")[0].decode())
      number = re.search(rb"Content-ID: <(.*?)>", part, re.IGNORECASE)
      with self.server.store.lock:
        gone = self.server.store.objects.pop(name, None)
      status = "204 No Content" if gone else "404 Not Found"
      answers.append(
          "--x\r\nContent-Type: application/http\r\nContent-ID: <response-"
          f"{number[1].decode() if number else ''}>\r\n\r\n"
          f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n\r\n")
    self._send(200, ("".join(answers) + "--x--").encode(),
               'multipart/mixed; boundary="x"')


_OBJECT = rf"/storage/v1/b/{BUCKET}/o/([^/]+)"
_ROUTES = (
    ("GET", rf"/storage/v1/b/{BUCKET}", _Handler._bucket),
    ("GET", rf"/storage/v1/b/{BUCKET}/storageLayout", _Handler._layout),
    ("GET", rf"/storage/v1/b/{BUCKET}/o/?", _Handler._list),
    ("GET", rf"(?:/download)?{_OBJECT}", _Handler._get),
    ("POST", rf"/(?:resumable/)?upload/storage/v1/b/{BUCKET}/o",
     _Handler._insert),
    ("PUT", rf"/(?:resumable/)?upload/storage/v1/b/{BUCKET}/o",
     _Handler._part),
    ("DELETE", _OBJECT, _Handler._delete),
    ("PATCH", _OBJECT, _Handler._patch),
    ("POST", rf"{_OBJECT}/(?:copyTo|rewriteTo)/b/{BUCKET}/o/([^/]+)",
     _Handler._copy),
    ("POST", r"/batch/storage/v1", _Handler._batch),
)


class Port(http.server.ThreadingHTTPServer):
  """One client's door to the bucket."""

  daemon_threads = True
  request_queue_size = 128

  def __init__(self, store, latency=0.0):
    super().__init__(("127.0.0.1", 0), _Handler)
    self.store, self.latency, self.asked = store, latency, Asked()
    self.refuses = lambda method, path: 0  # else the status that is answered

  def handle_error(self, *_):
    """A client that goes away is no error of the store's."""

  def environment(self):
    """The variables with which a process goes through this port."""
    url = f"http://127.0.0.1:{self.server_port}"
    return {"STORAGE_EMULATOR_HOST": url, "TENSORSTORE_GCS_HTTP_URL": url,
            # No metadata server is asked who this is, nor over gRPC what kind
            # of bucket it is.
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token", "NO_GCE_CHECK": "true",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}


@contextlib.contextmanager
def bucket(ports, latency=0.0):
  """Yields the store of gs://bucket and so many ports to it."""
  store = Store()
  doors = [Port(store, latency) for _ in range(ports)]
  threads = [threading.Thread(target=door.serve_forever) for door in doors]
  for thread in threads:
    thread.start()
  try:
    yield store, doors
  finally:
    for door, thread in zip(doors, threads, strict=True):
      door.shutdown()
      door.server_close()
      thread.join()
