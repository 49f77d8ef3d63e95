#!/usr/bin/env bash
# Lists, makes, changes, describes and deletes topics; --help for more.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment tools
exec "$OTTLA_BIN/python" -m ottla.scripts.tools.topics "$@"
