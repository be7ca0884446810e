#!/usr/bin/env bash
# Trains on GKE with XPK, which creates the cluster and queues the job. A recipe,
# written for xpk 1.16 and never run on a cluster; XPK describes itself as meant
# for proofs of concept and testing. CREATE_CLUSTER=1 creates the cluster first.
#   CLUSTER=vit PROJECT=my-project ZONE=us-west4-a BUCKET=gs://my-bucket \
#   IMAGE=us-docker.pkg.dev/my-project/vit/vit:1 \
#     launch/gke/xpk.sh NAME v5litepod-16 1 --config=configs/vit.py:l16,imagenet2012
set -euo pipefail
cd "$(dirname "$0")/../.."
if (($# < 4)); then
  sed -n 's/^#   //p' "$0" >&2
  exit 2
fi
name=$1 accelerator=$2 slices=$3
shift 3
place=(--cluster="${CLUSTER:?}" --project="${PROJECT:?}" --zone="${ZONE:?}")
slice=(--tpu-type="$accelerator" --num-slices="$slices")
: "${BUCKET:?}" "${IMAGE:?}"

command -v xpk >/dev/null || pip install --quiet 'xpk==1.16.*'
xpk config set send-telemetry false # XPK reports its use otherwise
if [[ ${CREATE_CLUSTER:-} ]]; then
  xpk cluster create "${place[@]}" "${slice[@]}" --spot
fi
docker build --file launch/gke/Dockerfile --tag "$IMAGE" .
docker push "$IMAGE"
command=$(printf '%q ' python -m vit_jax.main "$@" --workdir="$BUCKET/$name")
# XPK restarts at 42 (preempted) by itself; 1 is a trainer that died.
xpk workload create --workload="$name" "${place[@]}" "${slice[@]}" \
  --docker-image="$IMAGE" --command="cd /vit && exec $command" \
  --env="JAX_COMPILATION_CACHE_DIR=$BUCKET/jax_cache" \
  --max-restarts=50 --restart-on-exit-codes=1 \
  --termination-grace-period-seconds=90
echo "to delete: xpk workload delete --workload=$name ${place[*]}"
