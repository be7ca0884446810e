"""A headless browser with real clicks, driven with nothing but Python.

Chromium reads DevTools commands from file descriptor 3 and answers on 4 when
it is started with --remote-debugging-pipe: JSON, each followed by a zero byte.
"""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_AS_3_AND_4 = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); "
    "os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])")


def find():
  """Returns the path of an installed browser, or None."""
  return next(filter(None, map(shutil.which, NAMES)), None)


def _pipe():
  """Returns (read, write), neither of them 3 or 4, which Chromium wants."""
  ends = os.pipe()
  high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
  for end in ends:
    os.close(end)
  return high


class Page:
  """One tab. Commands are those of the Chrome DevTools Protocol."""

  def __init__(self, write, read):
    self._write, self._read, self._buffer = write, read, b""
    self._numbers = itertools.count(1)
    self._session = None
    self.problems = []  # exceptions and console errors of the page
    target = self.send("Target.createTarget", url="about:blank")["targetId"]
    self._session = self.send(
        "Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Network"):
      self.send(f"{domain}.enable")
    self.requests = []

  def send(self, method, **params):
    """Sends a command and returns its result."""
    number = next(self._numbers)
    message = {"id": number, "method": method, "params": params}
    if self._session:
      message["sessionId"] = self._session
    os.write(self._write, json.dumps(message).encode() + b"\0")
    while True:
      answer = self._receive()
      if answer.get("id") == number:
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]
      self._note(answer)

  def _receive(self, seconds=60):
    while b"\0" not in self._buffer:
      ready, _, _ = select.select([self._read], [], [], seconds)
      assert ready, "the browser does not answer"
      part = os.read(self._read, 1 << 20)
      assert part, "the browser has ended"
      self._buffer += part
    line, _, self._buffer = self._buffer.partition(b"\0")
    return json.loads(line)

  def _note(self, event):
    method, params = event.get("method"), event.get("params", {})
    if method == "Runtime.exceptionThrown":
      details = params["exceptionDetails"]
      self.problems.append(
          details.get("exception", {}).get("description", details["text"]))
    elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
      self.problems.append(str(params["args"]))
    elif method == "Network.requestWillBeSent":
      self.requests.append(params["request"]["url"][:200])

  def run(self, code):
    """Returns what a JavaScript expression (or promise) gives."""
    answer = self.send("Runtime.evaluate", expression=code, awaitPromise=True,
                       returnByValue=True)
    assert "exceptionDetails" not in answer, answer["exceptionDetails"]
    return answer["result"].get("value")

  def until(self, code, seconds=30):
    """Waits until a JavaScript expression holds."""
    end = time.monotonic() + seconds
    while not self.run(code):
      assert time.monotonic() < end, f"never true: {code}; {self.problems}"
      time.sleep(0.05)

  def size(self, width, height, dark=False, scale=1):
    """Sets the window's size and the colour scheme."""
    self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
              deviceScaleFactor=scale, mobile=False)
    self.send("Emulation.setScrollbarsHidden", hidden=True)
    self.send("Emulation.setEmulatedMedia", features=[{
        "name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

  def click(self, selector, x=0.5, y=0.5):
    """Clicks an element, at fractions of its width and height."""
    at = self.run(
        f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
        "e.scrollIntoView({block: 'center', behavior: 'instant'});"
        "const b = e.getBoundingClientRect();"
        f"return [b.left + {x} * b.width, b.top + {y} * b.height]; }})()")
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
      self.send("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1],
                button="none" if kind == "mouseMoved" else "left",
                clickCount=0 if kind == "mouseMoved" else 1)

  def press(self, key):
    """Presses and releases a key."""
    for kind in ("keyDown", "keyUp"):
      self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key)

  def screenshot(self, path):
    """Writes the whole page as PNG."""
    data = self.send("Page.captureScreenshot", captureBeyondViewport=True)
    pathlib.Path(path).write_bytes(base64.b64decode(data["data"]))


@contextlib.contextmanager
def open_page(profile, program=None):
  """Yields a `Page` of a fresh browser, and ends it."""
  commands, answers = _pipe(), _pipe()
  process = subprocess.Popen(
      [sys.executable, "-c", _AS_3_AND_4, str(commands[0]), str(answers[1]),
       program or find(), "--headless=new", "--remote-debugging-pipe",
       # Containers have neither user namespaces nor much shared memory.
       "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
       "--no-first-run", "--disable-background-networking",
       f"--user-data-dir={profile}", "about:blank"],
      pass_fds=(commands[0], answers[1]), stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  os.close(commands[0])
  os.close(answers[1])
  try:
    yield Page(commands[1], answers[0])
  finally:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
      process.wait(20)
    process.kill()
    process.wait()
    os.close(commands[1])
    os.close(answers[0])
