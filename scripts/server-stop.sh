#!/usr/bin/env bash
# Stops brokers that were started from here: scripts/server-stop.sh [--broker-id N]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment
exec "$OTTLA_BIN/python" -m ottla.scripts.stop broker "$@"
