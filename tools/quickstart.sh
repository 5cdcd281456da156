#!/usr/bin/env bash
# bash tools/quickstart.sh [VIDEO ...]
# Train a small DKSAN x16 on a CPU, test it against bicubic, and write a table
# and a page with pictures into work_dirs/quickstart. With two videos or more (files or
# folders of frames, at least 256x256) the last one is held out for the test;
# one video is split into its first three quarters and its last quarter. With
# none, short clips are rendered from photographs that installed packages ship.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
CALLER=$PWD
OUT=${QUICKSTART_DIR:-$ROOT/work_dirs/quickstart}
OUT=${OUT%/}
CONFIG=$ROOT/configs/dksan-small_quickstart_x16.py
BICUBIC=$ROOT/configs/bicubic_vid3oc_x16.py
# shellcheck source=tools/setup_env.sh
source "$ROOT/tools/setup_env.sh" runtime
# threads that wait do not spin: beside other work spinning is many times slower
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
# warnings of MMagic's dependencies about each other
export PYTHONWARNINGS=ignore

step() {
    STEP=$1
    printf '\n== %s\n' "$STEP"
}
trap 'printf "\nquickstart.sh: the step \"%s\" failed; the message above says why\n" "$STEP" >&2' ERR

started=$SECONDS
step 'Prepare the data: HR frames, and LR frames by MATLAB-bicubic x1/16'
# an earlier result is kept; what an earlier failure left is not
if [ -e "$OUT/table.md" ]; then
    rm -rf "$OUT.previous"
    mv "$OUT" "$OUT.previous"
fi
rm -rf "$OUT"
mkdir -p "$OUT"
CONVERTER=$ROOT/tools/dataset_converters/videos/preprocess_videos.py
if [ $# -eq 0 ]; then
    python "$ROOT/tools/dataset_converters/render_demo_clips.py" "$OUT/clips"
    python "$CONVERTER" "$OUT/data" --name quickstart \
        --train "$OUT"/clips/train/* --val "$OUT"/clips/val/*
else
    (cd "$CALLER" && python "$CONVERTER" "$OUT/data" --name quickstart \
        --videos "$@" --val-count 1 --max-frames 60 --max-val-frames 24)
fi
DATA=(--data-root "$OUT/data")

step 'Train the small DKSAN'
python "$ROOT/tools/train.py" "$CONFIG" --work-dir "$OUT/dksan" "${DATA[@]}"
CHECKPOINT=$(cat "$OUT/dksan/last_checkpoint")

step 'Test bicubic'
python "$ROOT/tools/test.py" "$BICUBIC" --work-dir "$OUT/bicubic" \
    "${DATA[@]}" --system bicubic \
    --result-dir "$OUT/results/bicubic" --save-frames

step 'Test the small DKSAN'
python "$ROOT/tools/test.py" "$CONFIG" "$CHECKPOINT" --work-dir "$OUT/dksan" \
    "${DATA[@]}" --system 'DKSAN (small)' \
    --result-dir "$OUT/results/dksan" --save-frames

step 'Write the page'
python "$ROOT/tools/report.py" "$OUT/results/bicubic" "$OUT/results/dksan" \
    -o "$OUT/report" --title 'DKSAN: quick start'

step 'Results'
for metric in PSNR SSIM; do
    python "$ROOT/tools/benchmark_tables.py" "$OUT"/results/* --metric $metric
done | tee "$OUT/table.md"
printf '\nTable: %s\nPage: %s\nCheckpoint: %s\nTime: %d s\n' \
    "$OUT/table.md" "$OUT/report/index.html" "$CHECKPOINT" \
    $((SECONDS - started))
