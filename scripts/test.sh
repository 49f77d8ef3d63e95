#!/usr/bin/env bash
# Runs every check and test; with arguments, only pytest with them: scripts/test.sh tests/unit -k isr
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment test
cd -- "$OTTLA_HOME"
if (($#)); then
  exec "$OTTLA_BIN/python" -m pytest "$@"
fi

failed=()
check() { # NAME COMMAND...: goes on after a failure, so that one run shows them all
  local name=$1
  shift
  printf '== %s\n' "$name"
  "$@" || failed+=("$name")
}
check "ruff check" "$OTTLA_BIN/ruff" check --quiet .
check "ruff format" "$OTTLA_BIN/ruff" format --quiet --check .
check "mypy" "$OTTLA_BIN/mypy"
check "import contracts" "$OTTLA_BIN/lint-imports"
check "pytest" "$OTTLA_BIN/python" -m pytest
if ((${#failed[@]})); then
  printf 'failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
