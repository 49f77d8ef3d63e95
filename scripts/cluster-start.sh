#!/usr/bin/env bash
# Starts a whole local cluster, or resumes it; --help lists the options.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment
exec "$OTTLA_BIN/python" -m ottla.scripts.cluster start "$@"
