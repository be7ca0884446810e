"""A stand-in for Google Cloud: plays scripted states, records every call.

The `gcloud` that it puts on the PATH is a shell script of a few milliseconds,
which asks the server in this process over the loopback interface.

A script:
  lives    a list of states for each creation; a state is taken per describe,
           the last one stays. "+DONE" and "+FAILED" write that marker into
           the job's folder and say ACTIVE; "!text" fails with that text.
           For Compute Engine "RUNNING,STAGING:ERROR" is a word a machine.
  create   outcomes of the first creations: "ok", or an error text
  workers  how many workers send their last log with +DONE
  broken   (worker, text): ssh to that worker with that text in it fails
  outages  how many copies fail before one succeeds
  torn     how many rsyncs leave out the last file; all but the last of them
           also fail
"""

import fnmatch
import pathlib
import shutil
import socketserver
import threading

CLIENT = r"""#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/@PORT@
printf '%s\0' "$#" "$PWD" "$@" >&3
IFS= read -r -d '' code <&3
IFS= read -r -d '' out <&3
IFS= read -r -d '' err <&3
printf '%s' "$out"
printf '%s' "$err" >&2
exit "$code"
"""


class Refused(Exception):
  """What gcloud says on standard error, with exit status 1."""


class FakeCloud:
  """The cloud's state, in memory; the bucket is a folder."""

  def __init__(self, bucket: pathlib.Path):
    self.bucket = bucket
    self.script = {}
    self.calls = []
    self.machines = {}  # name -> the call that created it
    self.copied = []  # names of files, by rsync
    self.made = set()  # templates and policies
    self.life, self.step, self.creations = -1, 0, 0
    self.state, self.folder = "missing", ""

  def answer(self, argv, cwd) -> str:
    self.calls.append(argv)
    words = [a for a in argv if not a.startswith("-")]
    if words[0] == "storage":
      return self.storage(words[1], words[2:], pathlib.Path(cwd),
                          long="--long" in argv)
    assert words[0] == "compute", argv
    for arg in argv:
      if arg.startswith("--metadata=vit-job="):
        self.folder = arg.removeprefix("--metadata=vit-job=")
    if words[1:3] == ["tpus", "queued-resources"]:
      return self.queued_resources(words[3], argv)
    if words[1:4] == ["tpus", "tpu-vm", "list"]:
      return self.script.get("nodes", "[]")
    if words[1:3] == ["tpus", "tpu-vm"] or words[1] in ("ssh", "scp"):
      return self.ssh(argv)
    if words[1:3] == ["instances", "create"]:
      if words[3] in self.machines:
        raise Refused("The resource 'x' already exists")
      self.machines[words[3]] = argv
      return ""
    if words[1:3] == ["instances", "delete"]:
      if self.machines.pop(words[3], None) is None:
        raise Refused("The resource 'x' was not found")
      return ""
    if words[1:3] == ["instances", "list"]:
      return self.script.get(words[1], "[]")
    if words[1] == "instance-groups":
      return self.group(words[3], argv)
    return self.definition(words[1], "create" in words)

  def queued_resources(self, verb, argv) -> str:
    if verb == "list":
      return self.script.get("requests", "[]")
    if verb == "create":
      return self.create()
    if verb == "delete":
      self.delete()
      return ""
    if "--format=yaml(state)" in argv:
      return ("state:\n  state: FAILED\n  failedData:\n    error:\n"
              "      message: no capacity, says the fake\n")
    return self.describe() + "\n"

  def group(self, verb, argv) -> str:
    if verb == "create":
      return self.create()
    if verb == "delete":
      self.delete()
      self.state = "missing"  # this command waits for the end
      return ""
    if "--format=value(name)" in argv:
      return "m-0\nm-1\n"
    state = self.describe()
    workers = self.script.get("workers", 0)
    state = ",".join(["RUNNING"] * workers) if state == "ACTIVE" else state
    rows = [word.partition(":") for word in state.split(",")]
    return "".join(f"{status}\t{error}\n" for status, _, error in rows)

  def definition(self, kind, create) -> str:
    if create and kind in self.made:
      raise Refused("The resource 'x' already exists")
    if not create and kind not in self.made:
      raise Refused("The resource 'x' was not found")
    (self.made.add if create else self.made.remove)(kind)
    return ""

  def create(self) -> str:
    outcomes = self.script.get("create", [])
    number, self.creations = self.creations, self.creations + 1
    if self.state != "missing":
      raise Refused("ALREADY_EXISTS: Resource 'x' already exists")
    if number < len(outcomes) and outcomes[number] != "ok":
      raise Refused(outcomes[number])
    self.life, self.step, self.state = self.life + 1, 0, "there"
    return ""

  def delete(self) -> None:
    if self.state == "missing":
      raise Refused("NOT_FOUND: Resource 'x' was not found")
    self.state = "leaving"

  def describe(self) -> str:
    if self.state == "missing":
      raise Refused("NOT_FOUND: Resource 'projects/p/x' was not found")
    if self.state == "leaving":
      self.state = "missing"
      return "DELETING"
    life = self.script["lives"][self.life]
    state = life[min(self.step, len(life) - 1)]
    self.step += 1
    if state.startswith("!"):
      raise Refused(state[1:])
    if not state.startswith("+"):
      return state
    names = [state[1:], *(f"logs/slice_0_worker_{w}/done"
                          for w in range(self.script.get("workers", 0)))]
    for name in names if state == "+DONE" else names[:1]:
      path = self.local(f"{self.folder}/{name}")
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text("slice 0 worker 0: said the fake\n")
    return "ACTIVE"

  def ssh(self, argv) -> str:
    worker, text = self.script.get("broken", ("-1", "-"))
    line = " ".join(argv)
    if text in line and (f"--worker={worker}" in argv or worker in argv):
      raise Refused("remote command failed")
    return f"{argv[-1][:60]}\n"

  def local(self, path) -> pathlib.Path:
    if path.startswith("gs://"):
      return self.bucket / path.removeprefix("gs://")
    return pathlib.Path(path)

  def matches(self, url) -> list[str]:
    """The objects that a gs:// address with wildcards names."""
    pattern = url.removeprefix("gs://")
    names = [p.relative_to(self.bucket).as_posix()
             for p in self.bucket.rglob("*") if p.is_file()]
    return sorted(n for n in names if fnmatch.fnmatchcase(n, pattern)
                  and (pattern.endswith("/**")
                       or n.count("/") == pattern.count("/")))

  def rsync(self, source, target) -> None:
    """Copies what differs in size, one file less than asked for if "torn"."""
    files = [p for p in sorted(self.local(source).rglob("*")) if p.is_file()]
    if self.script.get("torn", 0):
      self.script["torn"] -= 1
      files = files[:-1]
    for file in files:
      goal = target / file.relative_to(self.local(source))
      if not goal.exists() or goal.stat().st_size != file.stat().st_size:
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, goal)
        self.copied.append(goal.name)
    if self.script.get("torn", 0):
      raise Refused("HTTPError 503: try again")

  def storage(self, verb, args, cwd, long=False) -> str:
    missing = Refused("The following URLs matched no objects or files")
    if verb == "rsync":
      self.rsync(args[0], cwd / args[1])
      return ""
    if verb == "ls" and long:
      found = self.matches(args[0])
      if not found:
        raise missing
      sizes = [(self.bucket / name).stat().st_size for name in found]
      return "".join(
          f"{size:>10}  2026-01-01T00:00:00Z  gs://{name}\n"
          for size, name in zip(sizes, found, strict=True)) + (
              f"TOTAL: {len(found)} objects, {sum(sizes)} bytes (1kiB)\n")
    if verb == "ls":
      (url,) = args
      found = {f"gs://{m}" for m in self.matches(
          url + "*" * url.endswith("/"))}
      if url.endswith("/") and self.local(url).is_dir():
        found |= {f"{url}{p.name}/" for p in self.local(url).iterdir()
                  if p.is_dir()}
      if not found:
        raise missing
      return "\n".join(sorted(found)) + "\n"
    if verb == "cp" and self.script.get("outages", 0):
      self.script["outages"] -= 1
      raise Refused("HTTPError 503: try again")
    if verb == "cp":
      *sources, target = args
      for source in sources:
        files = ([self.local(f"gs://{m}") for m in self.matches(source)]
                 if source.startswith("gs://") else [cwd / source])
        if not files or not all(f.is_file() for f in files):
          raise missing
        for file in files:
          goal = self.local(target)
          goal = goal / file.name if target.endswith("/") else goal
          goal.parent.mkdir(parents=True, exist_ok=True)
          shutil.copyfile(file, goal)
      return ""
    path = self.local(args[0])
    if not path.is_file():
      raise missing
    if verb == "cat":
      return path.read_text()
    assert verb == "rm", verb
    path.unlink()
    return ""


def serve(cloud: FakeCloud) -> socketserver.ThreadingTCPServer:
  """Starts answering; server_address[1] is the port for CLIENT."""
  lock = threading.Lock()

  class Handler(socketserver.StreamRequestHandler):

    def word(self) -> str:
      data = b""
      while (byte := self.rfile.read(1)) not in (b"\0", b""):
        data += byte
      return data.decode()

    def handle(self) -> None:
      count = int(self.word())
      cwd = self.word()
      argv = [self.word() for _ in range(count)]
      try:
        with lock:
          reply = ("0", cloud.answer(argv, cwd), "")
      except Refused as refused:
        reply = ("1", "", f"ERROR: (gcloud.fake) {refused}\n")
      except Exception as error:  # the stand-in itself is wrong
        reply = ("99", "", f"fake cloud: {argv}: {error!r}\n")
      self.wfile.write("".join(f"{r}\0" for r in reply).encode())

  server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
  server.daemon_threads = True
  threading.Thread(target=server.serve_forever, args=(0.02,),
                   daemon=True).start()
  return server
