#!/usr/bin/env bash
# bash tools/quickstart.sh [VIDEO ...]
# First the trained networks that come with the package, x16 and x4, are
# compared with bicubic interpolation: a minute. Then a small DKSAN x16 is
# trained on a CPU and compared as well: two more. Tables and pages with
# pictures are left in work_dirs/quickstart.
#
# With two videos or more (files or folders of frames, at least 256x256) the
# last one is held out for the test; one video is split into its first three
# quarters and its last quarter. With none, short clips are rendered from
# photographs that installed packages ship, and that no network was trained on.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
OUT=$ROOT/work_dirs/quickstart
CONFIG=$ROOT/configs/dksan-small_quickstart_x16.py
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
# an earlier result is kept; what an earlier failure left is not
if [ -e "$OUT/table.md" ]; then
    rm -rf "$OUT.previous"
    mv "$OUT" "$OUT.previous"
fi
rm -rf "$OUT"
mkdir -p "$OUT"

step 'Prepare the data: HR frames, and LR frames by MATLAB-bicubic x1/16 and x1/4'
CONVERTER=$ROOT/tools/dataset_converters/videos/preprocess_videos.py
if [ $# -eq 0 ]; then
    python "$ROOT/tools/dataset_converters/render_demo_clips.py" "$OUT/clips"
    SOURCES=(--train "$OUT"/clips/train/* --val "$OUT"/clips/val/*)
else
    SOURCES=(--videos "$@" --val-count 1 --max-frames 60 --max-val-frames 24)
fi
for scale in 16 4; do
    python "$CONVERTER" "$OUT/data_x$scale" --name quickstart \
        --scale $scale "${SOURCES[@]}"
done
DATA=(--data-root "$OUT/data_x16")

table() { # RESULTS...
    for metric in PSNR SSIM; do
        python "$ROOT/tools/benchmark_tables.py" "$@" --metric $metric
    done
}

for scale in 16 4; do
    step "Restore x$scale with the trained networks, and compare with bicubic"
    RESULTS=$OUT/trained_x$scale/results
    python "$ROOT/tools/test.py" "$ROOT/configs/bicubic_x$scale.py" \
        --work-dir "$OUT/trained_x$scale/log" --system bicubic \
        --data-root "$OUT/data_x$scale" --result-dir "$RESULTS/bicubic" \
        --save-frames
    for name in $(python -c 'from dksan_mm import weights; print(*weights.names())'); do
        case $name in *_x$scale) ;; *) continue ;; esac
        python "$ROOT/tools/test.py" "$ROOT/configs/$name.py" "$name" \
            --work-dir "$OUT/trained_x$scale/log" --system "$name" \
            --data-root "$OUT/data_x$scale" --result-dir "$RESULTS/$name" \
            --save-frames
    done
    python "$ROOT/tools/report.py" "$RESULTS"/* \
        -o "$OUT/trained_x$scale/report" --title "Trained networks, x$scale"
    table "$RESULTS"/* | tee "$OUT/trained_x$scale/table.md"
    printf '\nPage: %s\n' "$OUT/trained_x$scale/report/index.html"
done

step 'Train the small DKSAN'
python "$ROOT/tools/train.py" "$CONFIG" --work-dir "$OUT/dksan" "${DATA[@]}"
CHECKPOINT=$(cat "$OUT/dksan/last_checkpoint")

step 'Test the small DKSAN'
mkdir -p "$OUT/results"
cp -r "$OUT/trained_x16/results/bicubic" "$OUT/results/bicubic"
python "$ROOT/tools/test.py" "$CONFIG" "$CHECKPOINT" --work-dir "$OUT/dksan" \
    "${DATA[@]}" --system 'DKSAN (small)' \
    --result-dir "$OUT/results/dksan" --save-frames

step 'Write the page'
python "$ROOT/tools/report.py" "$OUT/results/bicubic" "$OUT/results/dksan" \
    -o "$OUT/report" --title 'DKSAN: quick start'

step 'Results'
table "$OUT"/results/* | tee "$OUT/table.md"
printf '\nTable: %s\nPage: %s\nCheckpoint: %s\nTime: %d s\n' \
    "$OUT/table.md" "$OUT/report/index.html" "$CHECKPOINT" \
    $((SECONDS - started))
