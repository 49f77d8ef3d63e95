#!/usr/bin/env bash
# Moves partitions to other brokers and log directories; --help for more.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment tools
exec "$OTTLA_BIN/python" -m ottla.scripts.tools.reassign_partitions "$@"
