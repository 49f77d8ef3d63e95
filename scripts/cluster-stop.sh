#!/usr/bin/env bash
# Stops the local cluster; --wipe removes its data.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment
exec "$OTTLA_BIN/python" -m ottla.scripts.cluster stop "$@"
