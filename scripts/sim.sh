#!/usr/bin/env bash
# Whole clusters under a seed: scripts/sim.sh --seeds 200 [--start S] [--minutes M] | --seed N [--trace]
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
ottla_environment test
cd -- "$OTTLA_HOME"
exec "$OTTLA_BIN/python" -m tests.simulation.world "$@"
