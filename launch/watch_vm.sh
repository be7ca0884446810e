#!/usr/bin/env bash
# Runs on the small machine of --watch-vm at every boot, as root: watches the job
# that the metadata key vit-job names with launch/watch.py until it has ended,
# then deletes the machine itself. Needs gcloud and Python 3.11, which the image
# has.
set -uo pipefail

HERE=${VIT_ROOT:-}/opt/vit-watch
METADATA=http://metadata.google.internal/computeMetadata/v1/instance

say() { echo "$(date -u +%FT%TZ) watch_vm.sh: $*" >&2; }

metadata() { curl -sf -H 'Metadata-Flavor: Google' "$METADATA/$1"; }

fetch() {
  rm -rf "$HERE" && mkdir -p "$HERE/src" &&
    gcloud storage cp "$JOB/job/source.tar.gz" "$JOB/job/SHA256SUMS" "$HERE/" &&
    (cd "$HERE" && sha256sum --check --strict --quiet --ignore-missing \
      SHA256SUMS) &&
    tar -xzf "$HERE/source.tar.gz" -C "$HERE/src"
}

PLACE='^gs://[a-z0-9][a-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+$'
until JOB=$(metadata attributes/vit-job) && [[ $JOB =~ $PLACE ]] && fetch; do
  say "$JOB/job/ could not be fetched; again in a minute"
  sleep 60
done
while :; do
  python3 "$HERE/src/launch/watch.py" "$JOB"
  code=$?
  # Verdicts: done, failed, no such job. Anything else may pass.
  ((code <= 2)) && break
  say "the watcher ended with $code; again in five minutes"
  sleep 300
done
say "the job has ended with $code: deleting this machine"
until gcloud compute instances delete "$(metadata name)" \
  --zone="$(basename "$(metadata zone)")" --quiet; do
  say "this machine could not be deleted and costs money: may its account?"
  sleep 300
done
