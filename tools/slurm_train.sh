#!/usr/bin/env bash
# [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] \
# bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [ARGUMENTS OF train.py ...]
set -euo pipefail
if [ $# -lt 4 ]; then
    sed -n 2,3p "$0" >&2
    exit 2
fi
ROOT=$(cd "$(dirname "$0")/.." && pwd)
export MASTER_PORT=$((12000 + RANDOM % 20000))
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
# SRUN_ARGS is a list of words
# shellcheck disable=SC2086
exec srun -p "$1" \
    --job-name="$2" \
    --gres=gpu:"${GPUS_PER_NODE:-8}" \
    --ntasks="${GPUS:-8}" \
    --ntasks-per-node="${GPUS_PER_NODE:-8}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u "$ROOT/tools/train.py" "$3" --work-dir "$4" --launcher slurm "${@:5}"
