#!/usr/bin/env bash
# Stops coordinators that were started from here: scripts/coordinator-stop.sh [--id N]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment
exec "$OTTLA_BIN/python" -m ottla.scripts.stop coordinator "$@"
