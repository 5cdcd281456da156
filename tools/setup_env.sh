# shellcheck shell=bash
# Bring up the environment that quickstart.sh and run_tests.sh share, in the
# shell that sources this file: the active virtual environment if there is one,
# else .venv in the repository. A second call does nothing.
#
# An active environment in which DKSAN runs already (tools/check_env.py) is left
# as it is, but for this package and, for the tests, requirements/tests.txt and
# onnx.txt; any other gets the versions of requirements/runtime.txt. PYTHON
# names the interpreter that makes .venv (default: python3.11, else python3).
# DKSAN_MM_CACHE is where built mmcv wheels are kept (default:
# ~/.cache/dksan_mm).
set -euo pipefail

SETUP_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MMCV_VERSION=2.1.0

setup_fail() {
    printf '\nsetup_env.sh: the step "%s" failed.\nWhat to do: %s\n' "$1" "$2" >&2
    exit 1
}

setup_run() { # STEP CURE COMMAND...
    local step=$1 cure=$2
    shift 2
    printf '== Set-up: %s\n' "$step"
    "$@" || setup_fail "$step" "$cure"
}

setup_check_python() { # INTERPRETER
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' ||
        setup_fail 'check the version of Python' \
            "use Python 3.11 or 3.12, found $1, $("$1" -V 2>&1): install it with venv (Debian, Ubuntu: apt-get install python3.11-venv), name it by PYTHON=..., and leave the active environment if there is one"
}

setup_activate() {
    if [ -z "${VIRTUAL_ENV:-}" ]; then
        if [ ! -f "$SETUP_ROOT/.venv/bin/activate" ]; then
            if [ -z "${PYTHON:-}" ]; then
                PYTHON=$(command -v python3.11 || command -v python3 || true)
            fi
            setup_check_python "${PYTHON:-python3}"
            setup_run 'make the virtual environment .venv' \
                'install Python 3.11 with venv (Debian, Ubuntu: apt-get install python3-venv), or name another interpreter by PYTHON=...; then remove .venv and call again' \
                "${PYTHON:-python3}" -m venv "$SETUP_ROOT/.venv"
        fi
        # shellcheck disable=SC1091
        source "$SETUP_ROOT/.venv/bin/activate"
    fi
    setup_check_python python
}

# wheels differ by mmcv's version, torch's, Python's, CUDA's and the machine
setup_mmcv_key() {
    python - "$MMCV_VERSION" <<'PY'
import os
import platform
import sys
import torch
gpu = torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1'
print(f'mmcv{sys.argv[1]}-torch{torch.__version__}'
      f'-cp{sys.version_info[0]}{sys.version_info[1]}'
      f'-cuda{torch.version.cuda}-{"gpu" if gpu else "cpu"}'
      f'-{platform.machine()}')
PY
}

setup_build_mmcv() { # FOLDER
    local partial=$1.partial.$$
    rm -rf "$partial"
    mkdir -p "$partial"
    # never pip's own cache: it hands out wheels built against another torch
    MMCV_WITH_OPS=1 MAX_JOBS=${MAX_JOBS:-$(nproc)} python -m pip wheel \
        --no-cache-dir --no-build-isolation --no-deps --no-binary mmcv \
        -w "$partial" "mmcv==$MMCV_VERSION" || return 1
    rm -rf "$1"
    mv "$partial" "$1"
}

setup_mmcv() {
    local key folder
    key=$(setup_mmcv_key)
    folder=${DKSAN_MM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/dksan_mm}/$key
    if ! ls "$folder"/mmcv-*.whl >/dev/null 2>&1; then
        setup_run "build mmcv $MMCV_VERSION with its operators (about 8 minutes on two cores; kept in $folder)" \
            'install a C++ compiler (Debian, Ubuntu: apt-get install build-essential python3-dev) and see the compiler messages above; MAX_JOBS=1 needs less memory' \
            setup_build_mmcv "$folder"
    fi
    setup_run "install mmcv from $folder" "remove $folder and call again" \
        python -m pip install -q --no-deps --force-reinstall "$folder"/mmcv-*.whl
}

setup_pins() {
    local constraints=()
    if python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
        constraints=(-c "$SETUP_ROOT/requirements/constraints.txt")
    fi
    setup_run 'install the build tools' \
        'check the network and the disk, then call again' \
        python -m pip install -q -r "$SETUP_ROOT/requirements/build.txt"
    setup_run 'install the pinned packages, torch among them (about 3 GB to download)' \
        'check the network and that the disk has 10 GB free, then call again' \
        python -m pip install -q -r "$SETUP_ROOT/requirements/runtime.txt" "${constraints[@]}"
    setup_mmcv
}

# for the tests of tools/report.py's page; without it they are skipped
setup_browser() {
    if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then
        return
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        printf '== Set-up: %s\n' 'install Chromium, for the tests of the report'
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install \
            -y -qq --no-install-recommends chromium chromium-driver >/dev/null &&
            return
    fi
    printf '== Set-up: %s\n' 'there is no Chromium: the tests that look at the report in a browser are skipped (Debian: apt-get install chromium chromium-driver)'
}

setup_main() {
    local want=${1:-runtime} stamp files
    files=("$SETUP_ROOT"/requirements/*.txt "$SETUP_ROOT/tools/setup_env.sh"
        "$SETUP_ROOT"/setup.* "$SETUP_ROOT"/dksan_mm/ops/csrc/*)
    setup_activate
    stamp="$SETUP_ROOT $(cat "${files[@]}" | cksum)"
    if [ "$(cat "$VIRTUAL_ENV/.dksan_mm_$want" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    if ! python "$SETUP_ROOT/tools/check_env.py" >/dev/null 2>&1; then
        setup_pins
    fi
    if [ "$want" = tests ]; then
        setup_run 'install the test tools' \
            'check the network, then call again' \
            python -m pip install -q -r "$SETUP_ROOT/requirements/tests.txt" \
            -r "$SETUP_ROOT/requirements/onnx.txt"
        setup_browser
    fi
    setup_run "install dksan_mm, with its C++ kernels (half a minute)" \
        'see the messages above' \
        python -m pip install -q --no-deps --no-build-isolation -e "$SETUP_ROOT"
    setup_run 'check the environment' \
        'do what the lines above say, then call again' \
        python "$SETUP_ROOT/tools/check_env.py"
    echo "$stamp" >"$VIRTUAL_ENV/.dksan_mm_$want"
}

setup_main "$@"
