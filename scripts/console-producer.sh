#!/usr/bin/env bash
# Writes a record for each line of the input; --help for more.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment tools
exec "$OTTLA_BIN/python" -m ottla.scripts.tools.console_producer "$@"
