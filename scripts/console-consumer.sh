#!/usr/bin/env bash
# Prints records of a topic as they come; --help for more.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment tools
exec "$OTTLA_BIN/python" -m ottla.scripts.tools.console_consumer "$@"
