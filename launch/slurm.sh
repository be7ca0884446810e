#!/usr/bin/env bash
#SBATCH --job-name=vit
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@180
# One trainer per node on a Slurm cluster (GPUs, or TPU nodes). A recipe: set
# the nodes and what your site requires (--partition, --gpus-per-node=8,
# --account), then, in the checkout, after `pip install -e .` in .venv:
#   sbatch launch/slurm.sh --config=configs/vit.py:b16,cifar10 --workdir=/shared/run
# With VIT_DATA=gs://BUCKET/FOLDER (or a folder of the cluster) and
# VIT_DATA_DIR=/local/data, each node first copies the data there, or what is
# missing of them; TFDS_DATA_DIR is set to it.
# JAX finds the processes through Slurm's variables. Slurm sends SIGTERM 180 s
# before the time limit, or at preemption: the trainer saves and exits with 42,
# and the job is requeued; it resumes in the same working directory.
set -uo pipefail
if (($# == 0)); then
  echo "usage: sbatch launch/slurm.sh --config=... --workdir=/shared/run" >&2
  exit 2
fi
cd "${SLURM_SUBMIT_DIR:-.}" || exit 1
export PYTHONUNBUFFERED=1 VIT_MAX_REPEATS=${VIT_MAX_REPEATS:-3}
python=${VIT_PYTHON:-.venv/bin/python}

# Runs on each node; the numbers of files are compared when all is copied.
# shellcheck disable=SC2016 # expanded by the bash of each node
copy_data='
  set -eu
  mkdir -p "$VIT_DATA_DIR"
  case $VIT_DATA in
    gs://*)
      gcloud storage rsync -r "$VIT_DATA" "$VIT_DATA_DIR"
      there=$(gcloud storage ls "$VIT_DATA/**" | grep -vc "/:\?$") ;;
    *)
      rsync -a --partial "$VIT_DATA/" "$VIT_DATA_DIR/"
      there=$(find "$VIT_DATA" -type f | wc -l) ;;
  esac
  here=$(find "$VIT_DATA_DIR" -type f | wc -l)
  echo "$(hostname): $here files of $VIT_DATA"
  if [ "$here" -ne "$there" ]; then
    echo "$(hostname): expected $there; empty $VIT_DATA_DIR" >&2
    exit 1
  fi'
if [[ ${VIT_DATA:-} ]]; then
  export VIT_DATA VIT_DATA_DIR=${VIT_DATA_DIR:?a folder on the disk of each node}
  if ! srun --kill-on-bad-exit=1 bash -c "$copy_data"; then
    echo "the data were not copied" >&2
    exit 1
  fi
  export TFDS_DATA_DIR=$VIT_DATA_DIR
fi

# When one process dies, the others cannot continue.
srun --kill-on-bad-exit=1 "$python" -m vit_jax.main "$@"
code=$?
# 42 is always requeued. So is everything but success, wrong usage and what will
# fail again (a node that died, processes that were killed), but only so many
# times.
restarts=${SLURM_RESTART_COUNT:-0}
if ((code == 0 || code == 2 || code == 3)); then
  exit "$code"
elif ((code == 42 || restarts < ${VIT_MAX_RESTARTS:-10})); then
  echo "exit code $code after $restarts restarts: back into the queue"
  scontrol requeue "$SLURM_JOB_ID" && exit 0
fi
exit "$code"
