"""A stand-in TPU VM: startup.sh's root folder, and the programs it calls."""

import hashlib
import pathlib
import shutil
import subprocess

from launch import source

SCRIPT = source.ROOT / "launch" / "startup.sh"
FOLDER = "gs://bkt/x"
TOOLS = {
    # Answers from a folder of metadata, one file a key.
    "curl": r"""#!/bin/bash
for url in "$@"; do :; done
key=${url##*/instance/}
echo "curl $key" >> "$FAKE_LOG"
[[ -f $FAKE_METADATA/${key%%\?*} ]] || exit 22
if [[ $key == *wait_for_change* ]]; then
  cat "$FAKE_METADATA/changed"
else
  cat "$FAKE_METADATA/$key"
fi
""",
    "uv": r"""#!/bin/bash
echo "uv $*" >> "$FAKE_LOG"
case $1 in
  venv)
    mkdir -p "${!#}/bin"
    cp "$FAKE_PYTHON" "${!#}/bin/python" ;;
  pip) [[ $2 == freeze ]] && echo "jax==9.9"; [[ ! -e $FAKE_BROKEN ]] ;;
esac
""",
    "systemctl": r"""#!/bin/bash
echo "systemctl $*" >> "$FAKE_LOG"
[[ $1 != is-system-running ]] || cat "$FAKE_METADATA/system"
""",
    "mountpoint": '#!/bin/bash\ngrep -qxF "${!#}" "$FAKE_MOUNTS"\n',
    "mount": r"""#!/bin/bash
echo "mount $*" >> "$FAKE_LOG"
echo "${!#}" >> "$FAKE_MOUNTS"
""",
    "gcsfuse": r"""#!/bin/bash
echo "gcsfuse $*" >> "$FAKE_LOG"
echo "${!#}" >> "$FAKE_MOUNTS"
""",
    "blkid": '#!/bin/bash\n[[ -s $1 ]]\n',
    "mkfs.ext4": r"""#!/bin/bash
echo "mkfs.ext4 $*" >> "$FAKE_LOG"
echo formatted > "${!#}"
""",
    "sleep": '#!/bin/bash\necho "sleep $*" >> "$FAKE_LOG"\n',
}
TRAINER = r"""#!/bin/bash
printf '%s\n' "$@" "cache=$JAX_COMPILATION_CACHE_DIR" "X=$X" "at $PWD"
"""


class Machine:
  """One TPU VM: a root folder, its metadata, and what was called."""

  def __init__(self, cloud, folder: pathlib.Path, inputs: pathlib.Path):
    self.cloud, self.root = cloud, folder / "root"
    self.metadata, self.log = folder / "metadata", folder / "log"
    pages = self.root / "sys/kernel/mm/transparent_hugepage"
    for one in (self.metadata / "attributes", pages, self.root / "tmp"):
      one.mkdir(parents=True)
    (pages / "enabled").write_text("madvise")
    self.device = self.root / "dev/disk/by-id/google-vit-data"
    self.device.parent.mkdir(parents=True)
    self.device.touch()
    (self.root / "proc").mkdir()
    (self.root / "proc/meminfo").write_text(
        "MemTotal:       188743680 kB\nMemFree:          1 kB\n"
        "MemAvailable:   178257920 kB\n")
    self.mounts = folder / "mounts"
    self.mounts.touch()
    for name, text in TOOLS.items():
      cloud.tool(name, text)
    cloud.tool("trainer", TRAINER)
    self.tell("attributes/vit-job", FOLDER)
    self.tell("attributes/agent-worker-number", "0")
    self.tell("zone", "projects/1/zones/us-west4-a")
    self.tell("system", "running")
    self.env = cloud.env | {
        "HOME": str(folder), "VIT_ROOT": str(self.root),
        "FAKE_MOUNTS": str(self.mounts),
        "FAKE_LOG": str(self.log), "FAKE_METADATA": str(self.metadata),
        "FAKE_PYTHON": str(cloud.bin / "trainer"),
        "FAKE_BROKEN": str(folder / "broken")}
    self.inbox = cloud.bucket / "bkt" / "x" / "job"
    shutil.copytree(inputs, self.inbox, dirs_exist_ok=True)

  def set(self, **settings: str) -> None:
    """Changes settings of the job's env in the bucket."""
    path = self.inbox / "env"
    path.write_text(path.read_text() + "".join(
        f"VIT_{name}={value}\n" for name, value in settings.items()))
    self.seal()

  def seal(self) -> None:
    """Writes the sums anew after a change."""
    (self.inbox / "SHA256SUMS").write_text("".join(
        f"{hashlib.sha256((self.inbox / name).read_bytes()).hexdigest()}"
        f"  {name}\n" for name in source.FILES if name != source.SUMS))

  def tell(self, key: str, value: str) -> None:
    (self.metadata / key).write_text(value)

  def run(self, *verb: str, code: int = 0, **env: str):
    done = subprocess.run(["bash", str(SCRIPT), *verb], env=self.env | env,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done.stderr
    return done

  def called(self, *words: str) -> list[str]:
    lines = self.log.read_text().splitlines() if self.log.exists() else []
    return [line for line in lines if all(w in line for w in words)]

  def sent(self, name: str) -> str | None:
    path = self.cloud.bucket / "bkt" / "x" / name
    return path.read_text() if path.exists() else None

  def unit(self, name: str) -> str:
    return (self.root / f"etc/systemd/system/vit-{name}.service").read_text()
