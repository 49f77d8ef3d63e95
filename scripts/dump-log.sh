#!/usr/bin/env bash
# Prints what the files of partitions and coordinators hold; --help for more.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment
exec "$OTTLA_BIN/python" -m ottla.scripts.dump_log "$@"
