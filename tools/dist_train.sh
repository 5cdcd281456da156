#!/usr/bin/env bash
# bash tools/dist_train.sh CONFIG NUM_PROCESSES [ARGUMENTS OF train.py ...]
# One process a GPU; without a GPU, processes on the CPU. Several machines:
# NNODES, NODE_RANK, MASTER_ADDR and PORT, and the command on each of them.
# MAX_RESTARTS=N starts all processes again, up to N times, where one of them
# ends early; with --resume they go on from the last checkpoint, and --max-time
# counts from here.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n 2,7p "$0" >&2
    exit 2
fi
ROOT=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
DKSAN_MM_START=$(date +%s)  # in seconds; for MaxTimeHook
export DKSAN_MM_START
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
ADDRESS=${MASTER_ADDR:-127.0.0.1}
MEETING=(--node_rank="${NODE_RANK:-0}" --master_addr="$ADDRESS"
    --master_port="${PORT:-29500}")
if [ "${MAX_RESTARTS:-0}" != 0 ]; then
    # each try meets anew: where processes meet by master_addr alone, they may
    # find addresses of those that are gone, and wait for ever
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    MEETING=(--rdzv_backend=c10d --rdzv_endpoint="$ADDRESS:${PORT:-29500}"
        --rdzv_id="${PORT:-29500}")
fi
exec torchrun \
    --nnodes="${NNODES:-1}" \
    "${MEETING[@]}" \
    --nproc_per_node="$2" \
    --max_restarts="${MAX_RESTARTS:-0}" \
    "$ROOT/tools/train.py" "$1" --launcher pytorch "${@:3}"
