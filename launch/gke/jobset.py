#!/usr/bin/env python3
"""Prints the JobSet of a training job on GKE, for kubectl.

  launch/gke/jobset.py --accelerator=v5litepod-16 --bucket=gs://my-bucket \\
      --image=us-docker.pkg.dev/my-project/vit/vit:1 \\
      --data=gs://my-bucket/data \\
      -- --config=configs/vit.py:l16,imagenet2012 | kubectl apply -f -

A recipe that was never applied to a cluster. The cluster needs the JobSet
controller and a node pool of the slice's topology; launch/gke/Dockerfile builds
the image.
"""

from collections.abc import Sequence
import json
import pathlib
import re
import string
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from launch import data
from launch import job as job_lib
from launch.command import Parser, one_line
from launch.gcloud import UsageError

TEMPLATE = pathlib.Path(__file__).with_name("jobset.yaml")


def render(job: job_lib.Job, image: str) -> str:
  """Returns the JobSet as YAML.

  Raises:
    UsageError: GKE does not offer the generation.
  """
  one = job.slice
  if not one.generation.gke:
    raise UsageError(f"--accelerator={job.accelerator}: GKE has no "
                     f"{one.generation.name}")
  text = TEMPLATE.read_text()
  mark = re.compile(r" *# (IF|END) (\w+)\n")
  for name, wanted in (("DATA", data.has_data(job)),
                       ("SPOT", job.tier == "spot")):
    if not wanted:
      text = re.sub(rf"(?ms)^ *# IF {name}\n.*?^ *# END {name}\n", "", text)
  template = string.Template(mark.sub("", text))
  bucket, _, folder = job.data.removeprefix("gs://").partition("/")
  options = ["implicit-dirs", "metadata-cache:ttl-secs:-1",
             "file-cache:max-size-mb:-1",
             "file-cache:cache-file-for-range-read:true",
             *([f"only-dir={folder}"] if folder else [])]
  # JSON strings are YAML strings, whatever is in them.
  return template.substitute(
      {"WORDS": "$WORDS"}, NAME=job.name, SLICES=job.slices, HOSTS=one.hosts,
      SERVICE_ACCOUNT=job.service_account or "default",
      LABEL=one.generation.gke, TOPOLOGY=one.topology,
      IMAGE=json.dumps(image), CHIPS=one.chips_per_host,
      DATA_BUCKET=json.dumps(bucket), DATA=data.MOUNT,
      DATA_OPTIONS=json.dumps(",".join(options)),
      SECONDS=(job.max_hours or 365 * 24) * 3600,
      ARGS=json.dumps([*job.args, f"--workdir={job.folder}"]),
      CACHE=json.dumps(f"{job.bucket}/jax_cache"))


@one_line("launch/gke/jobset.py")
def main(argv: Sequence[str]) -> int:
  """The command line; returns the exit code."""
  argv = list(argv)
  cut = argv.index("--") if "--" in argv else len(argv)
  parser = Parser("launch/gke/jobset.py", __doc__)
  add = parser.add_argument
  add("--accelerator", required=True)
  add("--bucket", required=True)
  add("--image", required=True)
  add("--name", default="")
  add("--slices", type=int, default=1)
  add("--data", default="", metavar="gs://BUCKET/FOLDER|none",
      help="mounted by the cluster's Cloud Storage FUSE driver")
  add("--tier", default="spot", choices=("spot", "on-demand"),
      help="kind of the nodes (default spot)")
  add("--service-account", default="", help="of Kubernetes")
  add("--max-hours", type=int, default=168, metavar="N",
      help="of each start of the pods (default 168)")
  args = parser.read(argv[:cut])
  trainer = tuple(argv[cut + 1:])
  job = job_lib.Job(
      name=args.name or job_lib.default_name(trainer),
      accelerator=args.accelerator, zone="", args=trainer,
      bucket=args.bucket.rstrip("/"), slices=args.slices,
      service_account=args.service_account, data=args.data.rstrip("/"),
      tier=args.tier, max_hours=args.max_hours,
      data_on="mount" if args.data.startswith("gs:") else "")
  job_lib.validate_names(job)
  data.check(job)
  print(render(job, args.image), end="")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
