#!/usr/bin/env bash
# A container engine for the tests of the images, on a Debian machine that has none.
#
#   .ci/docker-engine.sh start   use the engine that runs, else install one and start it (needs root)
#   .ci/docker-engine.sh stop    stop the engine, if it was started from here
#
# Where the base image cannot be pulled, an image of the same name is made from Debian's own
# packages: Python 3.11 of bookworm, with this machine's certificates and pip settings, so that the
# Dockerfile builds unchanged.
set -euo pipefail

base=python:3.11-slim-bookworm
state=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)/var/docker-engine

answers() { timeout 10 docker info >/dev/null 2>&1; }

have_compose() { docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null; }

install_packages() {
  local wanted=()
  command -v dockerd >/dev/null || wanted+=(docker.io iptables)
  have_compose || wanted+=(docker-compose)
  command -v debootstrap >/dev/null || wanted+=(debootstrap)
  ((${#wanted[@]})) || return 0
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    printf 'missing, and only root can install them: %s\n' "${wanted[*]}" >&2
    return 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
}

start_engine() {
  mkdir -p -- "$state"
  local try
  setsid dockerd --pidfile "$state/pid" >"$state/log" 2>&1 </dev/null &
  for ((try = 0; try < 60; try++)); do
    answers && return 0
    sleep 0.5
  done
  printf 'the engine does not answer; the end of its log:\n' >&2
  tail -n 20 -- "$state/log" >&2
  return 1
}

make_base_image() {
  local root file
  docker image inspect "$base" >/dev/null 2>&1 && return
  timeout 120 docker pull --quiet "$base" >/dev/null 2>&1 && return
  root=$(mktemp -d)
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
    bookworm "$root" >"$state/debootstrap.log" 2>&1
  ln -sf python3 "$root/usr/bin/python"
  rm -f -- "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
    if [[ -f $file ]]; then cp -- "$file" "$root$file"; fi
  done
  tar -C "$root" -c . | docker import \
    --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    - "$base" >/dev/null
  rm -rf -- "$root"
}

case ${1:-} in
start)
  mkdir -p -- "$state"
  install_packages
  answers || start_engine
  make_base_image
  ;;
stop)
  if [[ -f $state/pid ]]; then
    pid=$(<"$state/pid")
    if [[ $(<"/proc/$pid/comm") == dockerd ]]; then
      kill -- "$pid"
      for ((try = 0; try < 60; try++)); do
        [[ -d /proc/$pid ]] || break
        sleep 0.5
      done
    fi
    rm -f -- "$state/pid"
  fi 2>/dev/null
  ;;
*)
  printf 'usage: %s start|stop\n' "$0" >&2
  exit 2
  ;;
esac
