#!/usr/bin/env bash
# bash tools/dist_train.sh CONFIG NUM_PROCESSES [ARGUMENTS OF train.py ...]
# One process a GPU; without a GPU, processes on the CPU. Several machines:
# NNODES, NODE_RANK, MASTER_ADDR and PORT, and the command on each of them.
# MAX_RESTARTS=N starts all processes again, up to N times, where one of them
# ends early; with --resume they go on from the last checkpoint.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n 2,6p "$0" >&2
    exit 2
fi
ROOT=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec torchrun \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$2" \
    --max_restarts="${MAX_RESTARTS:-0}" \
    "$ROOT/tools/train.py" "$1" --launcher pytorch "${@:3}"
