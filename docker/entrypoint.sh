#!/bin/sh
# ottla server FILE [OPTION...]        runs a broker
# ottla coordinator FILE [OPTION...]   runs a coordinator member; OTTLA_MY_ID is its number
# anything else is run as it is
set -eu
case ${1:-} in
server | coordinator)
  if [ -n "${OTTLA_MY_ID:-}" ]; then
    mkdir -p /var/lib/ottla/data
    echo "$OTTLA_MY_ID" >/var/lib/ottla/data/myid
  fi
  daemon=$1
  shift
  exec python -m "ottla.scripts.$daemon" "$@"
  ;;
*)
  exec "$@"
  ;;
esac
