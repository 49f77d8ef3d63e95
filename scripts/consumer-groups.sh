#!/usr/bin/env bash
# Lists, describes and deletes consumer groups, and moves their offsets; --help for more.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment tools
exec "$OTTLA_BIN/python" -m ottla.scripts.tools.consumer_groups "$@"
