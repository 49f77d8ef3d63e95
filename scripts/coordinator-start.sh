#!/usr/bin/env bash
# Runs a coordinator member: scripts/coordinator-start.sh [-daemon] config/coordinator.properties
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment
exec "$OTTLA_BIN/python" -m ottla.scripts.coordinator "$@"
