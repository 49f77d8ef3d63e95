#!/usr/bin/env bash
# Runs a broker: scripts/server-start.sh [-daemon] config/server.properties [--override key=value]...
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment
exec "$OTTLA_BIN/python" -m ottla.scripts.server "$@"
