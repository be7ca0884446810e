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
# JAX finds the processes through Slurm's variables. Slurm sends SIGTERM 180 s
# before the time limit, or at preemption: the trainer saves and exits with 42,
# and the job is requeued; it resumes in the same working directory.
set -uo pipefail
if (($# == 0)); then
  echo "usage: sbatch launch/slurm.sh --config=... --workdir=/shared/run" >&2
  exit 2
fi
cd "${SLURM_SUBMIT_DIR:-.}" || exit 1
export PYTHONUNBUFFERED=1
python=${VIT_PYTHON:-.venv/bin/python}

# When one process dies, the others cannot continue.
srun --kill-on-bad-exit=1 "$python" -m vit_jax.main "$@"
code=$?
# 42 is always requeued. So is everything but success and wrong usage (a node
# that died, processes that were killed), but only so many times.
restarts=${SLURM_RESTART_COUNT:-0}
if ((code == 0 || code == 2)); then
  exit "$code"
elif ((code == 42 || restarts < ${VIT_MAX_RESTARTS:-10})); then
  echo "exit code $code after $restarts restarts: back into the queue"
  scontrol requeue "$SLURM_JOB_ID" && exit 0
fi
exit "$code"
