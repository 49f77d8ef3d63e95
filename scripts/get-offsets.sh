#!/usr/bin/env bash
# Prints offsets of partitions: their end, their start, or at a time; --help for more.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment tools
exec "$OTTLA_BIN/python" -m ottla.scripts.tools.get_offsets "$@"
