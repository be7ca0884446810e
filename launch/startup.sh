#!/usr/bin/env bash
# Runs on every TPU VM at every boot, as root: installs the job that the
# metadata key vit-job names (gs://BUCKET/NAME) and starts it under systemd.
# Running it again repeats nothing that is already done: a boot after maintenance
# goes straight to training, which resumes from the last checkpoint.
#
# The systemd units call this file with a verb:
#   boot       (no argument) install, write the units, start them
#   train      the trainer itself; replaced by python
#   stopped    after each stop of the trainer: send logs, mark success
#   failed     when systemd gives up restarting: mark the failure
#   logs       sends the logs to the bucket, every minute
#   limit      counts the hours, and ends the job when they are used up
#   end        deletes the slice when all workers are done, or one gave up
#   preempted  waits for the preemption notice, then stops the trainer
#
# Exit codes of the trainer: 0 done; 42 preempted, restart; 2 wrong usage and 3
# will fail again, no restart; others: restart, with up to VIT_MAX_RESTARTS
# starts per day.

set -uo pipefail

ROOT=${VIT_ROOT:-} # the tests' sandbox; empty on a VM
STATE=$ROOT/opt/vit
DATA=$ROOT/mnt/vit-data
LOGS=$ROOT/var/log/vit
UNITS=$ROOT/etc/systemd/system
PREEMPTED=$ROOT/run/vit-preempted # gone after a reboot
ME=$STATE/startup.sh
VENV=$STATE/venv
PAGES=$ROOT/sys/kernel/mm/transparent_hugepage/enabled
PLACE='^gs://[a-z0-9][a-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+$'
METADATA=http://metadata.google.internal/computeMetadata/v1/instance
export HOME=${HOME:-/root} PATH=$PATH:/snap/bin:$STATE/uv/bin

say() { echo "$(date -u +%FT%TZ) startup.sh: $*" >&2; }

# retry TIMES COMMAND...: waits 2, 4, 8, ... at most 60 s between tries.
retry() {
  local times=$1 wait=2 try
  shift
  for ((try = 1; ; try++)); do
    "$@" && return 0
    ((try >= times)) && break
    say "try $try of $times failed, again in $wait s: $*"
    sleep "$wait"
    wait=$((wait < 30 ? wait * 2 : 60))
  done
  say "gave up after $times tries: $*"
  return 1
}

metadata() { curl -sf -H 'Metadata-Flavor: Google' "$METADATA/$1"; }

# tpu_env KEY: one value of the metadata key tpu-env, whose lines are KEY: 'V'.
tpu_env() {
  metadata attributes/tpu-env | sed -n "s/^$1: *//p" | tr -d "'" | head -n 1
}

# bucket VERB ...: cp, ls, rm of Cloud Storage.
bucket() {
  if command -v gcloud >/dev/null; then gcloud storage "$@"; else gsutil "$@"; fi
}

# setting NAME DEFAULT: a line of the job's env file.
setting() {
  local value
  value=$(sed -n "s/^$1=//p" "$STATE/job/env" | tail -n 1)
  echo "${value:-$2}"
}

# number NAME DEFAULT: a setting that must be a whole number, for arithmetic
# would run whatever else stands there.
number() {
  local value
  value=$(setting "$1" "$2")
  if [[ ! $value =~ ^[0-9]{1,18}$ ]]; then
    say "$1=$value in $JOB/job/env: expected a number; taking $2"
    value=$2
  fi
  echo "$((10#$value))"
}

# Who this machine is: JOB, SLICE, WORKER, STARTED (of this VM, not this boot).
identify() {
  JOB=$(retry 6 metadata attributes/vit-job) || return 1
  if [[ ! $JOB =~ $PLACE ]]; then
    say "the metadata key vit-job is '$JOB': expected gs://BUCKET/NAME"
    return 1
  fi
  WORKER=$(metadata attributes/agent-worker-number || tpu_env WORKER_ID)
  if [[ -z $WORKER ]]; then
    # Two workers that both believe they are number 0 would both write.
    if [[ $(metadata attributes/worker-network-endpoints) == *,* ]]; then
      say "the metadata do not tell which worker of the slice this is"
      return 1
    fi
    WORKER=0
  fi
  SLICE=$(tpu_env MEGASCALE_SLICE_ID)
  SLICE=${SLICE:-0}
  if [[ ! $SLICE =~ ^[0-9]+$ || ! $WORKER =~ ^[0-9]+$ ]]; then
    say "slice '$SLICE' and worker '$WORKER' in the metadata: expected numbers"
    return 1
  fi
  [[ -s $STATE/started ]] || date -u +%Y%m%dT%H%M%SZ >"$STATE/started"
  printf '%s\n' "JOB=$JOB" "SLICE=$SLICE" "WORKER=$WORKER" \
    "STARTED=$(<"$STATE/started")" >"$STATE/identity"
}

# The other verbs read what identify wrote at boot.
recall() {
  # shellcheck disable=SC1091 # written by identify
  source "$STATE/identity"
  LOG=$LOGS/train-$STARTED.log
  SENT=$JOB/logs/slice_${SLICE}_worker_$WORKER
}

fetch() {
  rm -rf "$STATE/job.new" && mkdir -p "$STATE/job.new"
  retry 6 bucket cp "$JOB/job/*" "$STATE/job.new/" || return 1
  # A job that was sent by halves, or twice at once, is not started.
  (cd "$STATE/job.new" && sha256sum --check --strict --quiet SHA256SUMS) ||
    return 1
  if grep -nvE '^[A-Za-z_][A-Za-z0-9_]*=' "$STATE/job.new/env"; then
    say "env: expected NAME=VALUE in every line"
    return 1
  fi
  rm -rf "$STATE/job" && mv "$STATE/job.new" "$STATE/job"
}

# count: the number and the bytes of the files in $DATA.
count() {
  find "$DATA" -name lost+found -prune -o -type f -printf '%s\n' |
    awk '{ n++; b += $1 } END { printf "%.0f %.0f\n", n, b }'
}

mount_disk() {
  local device=$ROOT/dev/disk/by-id/google-vit-data
  if [[ ! -e $device ]]; then
    say "the machine has no data disk ($device)"
    return 1
  fi
  # Formatted once: a disk that holds a file system keeps it.
  if ! blkid "$device" >/dev/null; then
    mkfs.ext4 -q -m 0 "$device" || return 1
  fi
  mount -o noatime,discard "$device" "$DATA"
}

mount_ram() {
  local bytes=$1 free
  free=$(awk '/^MemAvailable/ { printf "%.0f", $2 * 1024 }' "$ROOT/proc/meminfo")
  if ((bytes + (32 << 30) > free)); then
    say "$bytes bytes of data and 32 GiB for the trainer do not fit in the" \
      "$free bytes of memory that are free; use --data-on=mount"
    return 1
  fi
  mount -t tmpfs -o "noatime,mode=755,size=$((bytes + (bytes >> 6) + (1 << 30)))" \
    tmpfs "$DATA"
}

get_gcsfuse() {
  command -v gcsfuse >/dev/null && return 0
  local key=$ROOT/usr/share/keyrings/cloud.google.asc list release
  list=$ROOT/etc/apt/sources.list.d/gcsfuse.list
  mkdir -p "${key%/*}" "${list%/*}"
  # Packages from here are checked against the key; it is trusted for nothing
  # else.
  curl -fsSL -o "$key" https://packages.cloud.google.com/apt/doc/apt-key.gpg ||
    return 1
  release=$(lsb_release -cs) || return 1
  echo "deb [signed-by=$key] https://packages.cloud.google.com/apt gcsfuse-$release main" >"$list"
  apt-get update -qq && apt-get install -y -qq gcsfuse
}

# What was read stays in up to half of the memory, in whole files.
mount_bucket() {
  local path=${1#gs://} folder cache=$ROOT/dev/shm/vit-data
  folder=${path#"${path%%/*}"}
  folder=${folder#/}
  mkdir -p "$cache"
  retry 5 get_gcsfuse || return 1
  retry 3 gcsfuse -o ro --implicit-dirs --metadata-cache-ttl-secs=-1 \
    --cache-dir="$cache" --file-cache-cache-file-for-range-read \
    --file-cache-max-size-mb="$(awk '/^MemTotal/ { printf "%.0f", $2 / 2048 }' \
      "$ROOT/proc/meminfo")" \
    ${folder:+--only-dir="$folder"} "${path%%/*}" "$DATA"
}

# Brings the data to $DATA: once, and on from where it broke off.
feed() {
  local from how files bytes
  from=$(setting VIT_DATA '')
  [[ $from ]] || return 0
  how=$(setting VIT_DATA_ON ram)
  files=$(number VIT_DATA_FILES 0)
  bytes=$(number VIT_DATA_BYTES 0)
  if [[ ! $from =~ $PLACE && ! $from =~ ^gs://[a-z0-9._-]+$ ||
    ! $how =~ ^(disk|ram|mount)$ ]]; then
    say "VIT_DATA=$from, VIT_DATA_ON=$how in $JOB/job/env: not understood"
    return 1
  fi
  mkdir -p "$DATA"
  if mountpoint -q "$DATA"; then
    say "$DATA is mounted already"
  elif [[ $how == mount ]]; then
    mount_bucket "$from" || return 1
  else
    "mount_$how" "$bytes" || return 1
  fi
  [[ $how != mount ]] || return 0
  if [[ $files != 0 && $(count) == "$files $bytes" ]]; then
    say "the data are here already: $files files, $bytes bytes"
    return 0
  fi
  say "copying $from to $DATA"
  retry 5 bucket rsync -r "$from" "$DATA" >/dev/null || return 1
  say "copied: $(count) (files, bytes)"
  if [[ $files != 0 && $(count) != "$files $bytes" ]]; then
    say "expected $files files and $bytes bytes, as $from had when the job" \
      "was sent; if it was changed since, delete the job and send it again"
    return 1
  fi
}

get_uv() {
  command -v uv >/dev/null && return 0
  if ! python3 -m pip --version >/dev/null 2>&1; then
    apt-get update -qq && apt-get install -y -qq python3-pip || return 1
  fi
  python3 -m pip install -q --require-hashes --only-binary=:all: \
    --target "$STATE/uv" -r "$STATE/src/launch/uv.txt"
}

# The image's Python is too old for the newest JAX, so uv installs one.
install_job() {
  local stamp version
  version=$(setting VIT_PYTHON 3.12)
  [[ $version =~ ^3\.[0-9.]+$ ]] || return 1
  stamp=$(cat "$STATE/job/source.tar.gz" "$STATE/job/constraints.txt" \
    <(echo "$version") | sha256sum)
  if [[ -x $VENV/bin/python && $stamp == "$(cat "$STATE/installed" 2>&1)" ]]; then
    say "installed already"
    return 0
  fi
  rm -rf "$STATE/installed" "$STATE/src" "$VENV" && mkdir -p "$STATE/src"
  tar -xzf "$STATE/job/source.tar.gz" -C "$STATE/src" || return 1
  retry 5 get_uv && retry 5 uv venv --python "$version" --clear "$VENV" || return 1
  # epath-gcs is how JAX's cache and Orbax reach gs:// without TensorFlow.
  retry 5 uv pip install --python "$VENV/bin/python" \
    --constraint "$STATE/job/constraints.txt" \
    "vit_jax[tpu] @ file://$STATE/src" 'etils[epath-gcs]' || return 1
  uv pip freeze --python "$VENV/bin/python" >"$LOGS/packages.txt"
  echo "$stamp" >"$STATE/installed"
}

# unit NAME LINES...: writes vit-NAME.service.
unit() { printf '%s\n' "${@:2}" >"$UNITS/vit-$1.service"; }

write_units() {
  # On stop only the trainer gets SIGTERM (KillMode=mixed), not its loader
  # processes, so that it can save; 42 then counts as success, but leads to a
  # restart unless the machine itself is stopping.
  unit train '[Unit]' "Description=vit_jax: $JOB" \
    'After=network-online.target' 'Wants=network-online.target' \
    'OnFailure=vit-failed.service' 'StartLimitIntervalSec=86400' \
    "StartLimitBurst=$(number VIT_MAX_RESTARTS 10)" '' \
    '[Service]' 'Type=exec' "ExecStart=/bin/bash $ME train" \
    "ExecStopPost=/bin/bash $ME stopped" \
    'Restart=on-failure' 'RestartSec=30' 'SuccessExitStatus=42' \
    'RestartForceExitStatus=42' 'RestartPreventExitStatus=2 3' \
    'KillMode=mixed' 'KillSignal=SIGTERM' 'TimeoutStopSec=90' \
    'LimitNOFILE=100000' 'LimitMEMLOCK=infinity'
  unit failed '[Unit]' "Description=vit_jax: marks the failure of $JOB" '' \
    '[Service]' 'Type=oneshot' "ExecStart=/bin/bash $ME failed"
  for verb in logs preempted limit end; do
    unit "$verb" '[Unit]' "Description=vit_jax: $verb of $JOB" \
      'After=network-online.target' '' '[Service]' \
      "ExecStart=/bin/bash $ME $verb" 'Restart=on-failure' 'RestartSec=10'
  done
  systemctl daemon-reload
}

# Sends the logs if anything was written since the last time.
send_logs() {
  [[ ! -e $STATE/sent || -n $(find "$LOGS" -newer "$STATE/sent") ]] || return 0
  touch "$STATE/sent.new"
  bucket cp "$LOGS"/* "$SENT/" >/dev/null 2>&1 &&
    mv "$STATE/sent.new" "$STATE/sent"
}

# mark FILE TEXT: writes a file of the job's folder for the watcher.
mark() {
  printf '%s\n' "$2" >"$STATE/mark"
  retry 5 bucket cp "$STATE/mark" "$JOB/$1"
}

give_up() {
  say "$1"
  sleep 1 # the log's last lines pass through tee
  send_logs
  mark FAILED "slice $SLICE worker $WORKER: $1
$(tail -n 30 "$2")"
  if [[ -e $UNITS/vit-end.service ]]; then
    systemctl start --no-block vit-end
  else # The machine was not even set up.
    end
  fi
  exit 1
}

boot() {
  mkdir -p "$STATE" "$LOGS" "$UNITS" "$ROOT/run"
  identify || exit 1
  recall
  local log=$LOGS/startup-$STARTED.log
  exec > >(tee -a "$log") 2>&1
  say "job $JOB, slice $SLICE, worker $WORKER"
  if bucket ls "$JOB/DONE" >/dev/null 2>&1; then
    say "the job is done; nothing to do"
    end
    exit 0
  fi
  # As a new file: bash may still be reading the old one in another unit.
  [[ $0 -ef $ME ]] || cp --remove-destination "$0" "$ME"
  # Without transparent huge pages, JAX starts and stops slowly (v5e and later).
  [[ -w $PAGES ]] && echo always >"$PAGES"
  fetch || give_up "the job could not be fetched from $JOB/job/" "$log"
  # The data come while the packages are installed.
  local feeding
  feed &
  feeding=$!
  install_job || give_up "the installation failed" "$log"
  wait "$feeding" || give_up "the data of $(setting VIT_DATA '') could not be brought to $DATA" "$log"
  write_units
  systemctl reset-failed vit-train.service 2>/dev/null
  systemctl start --no-block vit-logs vit-preempted vit-limit vit-train
  say "started; follow with: journalctl -fu vit-train"
}

train() {
  local args line
  mapfile -t args <"$STATE/job/args"
  ulimit -n 100000 2>/dev/null
  rm -f "$ROOT/tmp/libtpu_lockfile" # of a trainer that was killed
  [[ -z $(setting VIT_DATA '') ]] || export TFDS_DATA_DIR=$DATA
  # Starts at the same step, after which the trainer ends with code 3.
  export VIT_MAX_REPEATS=3
  export PYTHONUNBUFFERED=1 JAX_COMPILATION_CACHE_DIR="${JOB%/*}/jax_cache"
  while IFS= read -r line; do export "${line?}"; done <"$STATE/job/env"
  cd "$STATE/src" || exit 1
  exec > >(exec tee -a "$LOG") 2>&1 # a file, and on to the journal
  exec "$VENV/bin/python" -m vit_jax.main "${args[@]}" --workdir="$JOB"
}

stopped() {
  say "trainer stopped: ${EXIT_CODE:-?} ${EXIT_STATUS:-?}" 2>&1 | tee -a "$LOG"
  send_logs
  [[ ${EXIT_CODE:-} == exited && ${EXIT_STATUS:-} == 0 ]] || return 0
  mark "logs/slice_${SLICE}_worker_$WORKER/done" "exit status 0"
  if ((SLICE == 0 && WORKER == 0)); then
    mark DONE "exit status 0, $(date -u +%FT%TZ)"
    systemctl start --no-block vit-end
  fi
}

failed() {
  if [[ -e $PREEMPTED || $(systemctl is-system-running) == stopping ]]; then
    say "the machine is being taken away; no failure of the job"
    return 0
  fi
  give_up "the trainer failed and is not started again" "$LOG"
}

logs() { while :; do send_logs; sleep 60; done; }

# One machine counts the minutes of them all, in the bucket, so that the count
# goes on in the next slice.
limit() {
  local hours minutes
  hours=$(number VIT_MAX_HOURS 0)
  ((SLICE == 0 && WORKER == 0 && hours > 0)) || return 0
  minutes=$(bucket cat "$JOB/minutes" 2>/dev/null)
  [[ $minutes =~ ^[0-9]{1,9}$ ]] || minutes=0
  minutes=$((10#$minutes))
  while ((minutes < hours * 60)); do
    sleep 60
    ((++minutes % 5)) || mark minutes "$minutes"
  done
  say "$hours hours are used up: SIGTERM to the trainer, which saves"
  systemctl stop vit-train
  send_logs
  mark FAILED "slice 0 worker 0: the limit of $hours hours (--max-hours) is
reached; the state is saved. To go on: the same command with a higher limit"
  systemctl start --no-block vit-end
}

# Deletes the slice this machine belongs to, so that nothing has to watch.
end() {
  local wanted try zone group
  [[ $(setting VIT_SELF_DELETE 1) == 1 ]] || return 0
  wanted=$(number VIT_WORKERS 1)
  # The others' last logs; after a failure there is nobody to wait for long.
  for ((try = 0; try < 20; try++)); do
    bucket ls "$JOB/FAILED" >/dev/null 2>&1 && break
    (($(bucket ls "$JOB/logs/*/done" 2>/dev/null | wc -l) >= wanted)) && break
    sleep 30
  done
  sleep 60 # Logs are sent every minute.
  zone=$(metadata zone) && zone=${zone##*/}
  group=$(metadata attributes/created-by)
  say "deleting the slice"
  if [[ $group == */instanceGroupManagers/* ]]; then
    retry 5 gcloud compute instance-groups managed delete "${group##*/}" \
      --zone="$zone" --quiet
  else
    retry 5 gcloud compute tpus queued-resources delete "${JOB##*/}" \
      --zone="$zone" --force --quiet --async
  fi || {
    say "the slice could not be deleted and costs money: may this account?"
    mark NOT_DELETED "$(date -u +%FT%TZ): the slice could not delete itself;
give its account the role in launch/README.md, and delete it by hand"
  }
}

# First without waiting: wait_for_change misses a notice that came before it.
preempted() {
  until [[ $(metadata preempted) == TRUE ||
    $(metadata 'preempted?wait_for_change=true') == TRUE ]]; do
    sleep 5
  done
  say "preempted: SIGTERM to the trainer, which saves and stops"
  touch "$PREEMPTED"
  systemctl stop --no-block vit-train
  sleep 600 # the machine goes away
}

case ${1:-boot} in
  boot) boot ;;
  train | stopped | failed | logs | preempted | limit | end) recall; "$1" ;;
  *) echo "startup.sh: unknown verb $1" >&2; exit 2 ;;
esac
