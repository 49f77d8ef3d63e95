#!/usr/bin/env bash
# Shows and changes the configuration of topics and brokers while they run; --help for more.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment tools
exec "$OTTLA_BIN/python" -m ottla.scripts.tools.configs "$@"
