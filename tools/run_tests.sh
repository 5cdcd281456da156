#!/usr/bin/env bash
# bash tools/run_tests.sh [PYTEST ARGUMENTS ...]
# Lint and tests, in the environment that it brings up first. Tests run in as
# many processes as there are cores, four at most, as each takes 1.5 GB of
# memory; -n 0 runs them in one.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/setup_env.sh
source "$ROOT/tools/setup_env.sh" tests
# threads that wait do not spin: beside other work spinning is many times slower
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
cd "$ROOT"
FOLDERS=(dksan_mm configs tools tests)

lint() {
    printf '== Lint: %s\n' "$*"
    "$@" || {
        printf 'run_tests.sh: %s found faults, see above\n' "$1" >&2
        exit 1
    }
}
lint flake8 "${FOLDERS[@]}"
lint isort --check-only --diff "${FOLDERS[@]}"
lint yapf --parallel --recursive --diff "${FOLDERS[@]}"
lint codespell "${FOLDERS[@]}" README.md CONTRIBUTING.md CHANGELOG.md requirements
echo '== Tests'
WORKERS=$(python -c 'import os; print(min(len(os.sched_getaffinity(0)), 4))')
# tests of a file share trainings: they stay in one process; files begin in the
# order of tests/conftest.py
exec python -m pytest -n "$WORKERS" --dist loadfile --no-loadscope-reorder "$@"
