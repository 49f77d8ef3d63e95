#!/usr/bin/env bash
# Kills leaders under load in a cluster of its own and shows that nothing is lost; --help for more.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment tools
exec "$OTTLA_BIN/python" -m ottla.scripts.failover_demo "$@"
