# Sourced by the other scripts: finds a Python, makes the virtual environment at its first use.
#
#   ottla_environment [EXTRA]   afterwards $OTTLA_BIN has python and what was installed
#
# EXTRA is an optional dependency group of pyproject.toml: tools or test. OTTLA_PYTHON names another
# Python, OTTLA_VENV another place for the environment.

OTTLA_HOME=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
export OTTLA_HOME

ottla_say() { printf '%s\n' "$*" >&2; }

ottla_find_python() {
  local candidate
  for candidate in ${OTTLA_PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if command -v -- "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  local found
  found=$(python3 --version 2>/dev/null || printf 'no python3')
  ottla_say "Python 3.11 or newer is needed; this machine has ${found#Python }. Install it, or name one with OTTLA_PYTHON=/path/to/python."
  return 1
}

ottla_environment() {
  local extra=${1:-} venv=${OTTLA_VENV:-$OTTLA_HOME/.venv} sum name
  OTTLA_BIN=$venv/bin
  read -r sum _ < <(sha256sum -- "$OTTLA_HOME/pyproject.toml")
  # A group that was installed has its own stamp; test contains tools.
  for name in "$extra" test; do
    if [[ -x $OTTLA_BIN/python && -f $venv/.installed-${name:-base} ]] &&
      [[ $(<"$venv/.installed-${name:-base}") == "$sum" ]]; then
      return
    fi
  done
  mkdir -p -- "$OTTLA_HOME/var"
  (
    flock 9
    if [[ -f $venv/.installed-${extra:-base} ]] &&
      [[ $(<"$venv/.installed-${extra:-base}") == "$sum" ]]; then
      exit 0 # another script was quicker
    fi
    ottla_install "$venv" "$extra" && printf '%s\n' "$sum" >"$venv/.installed-${extra:-base}"
  ) 9>"$OTTLA_HOME/var/.venv.lock" || exit 1
}

ottla_install() {
  local venv=$1 extra=$2 python log
  if [[ ! -x $venv/bin/python ]]; then
    python=$(ottla_find_python) || return 1
    ottla_say "Making a virtual environment in $venv, once ..."
    if "$python" -c 'import ensurepip' >/dev/null 2>&1; then
      "$python" -m venv "$venv" || return 1
    elif ! { "$python" -m venv --without-pip "$venv" &&
      "$venv/bin/python" "$OTTLA_HOME/scripts/install-pip.py"; }; then
      rm -rf -- "$venv"
      ottla_say "$python comes without pip; install its venv module (on Debian: apt install python3-venv)."
      return 1
    fi
  fi
  ottla_say "Installing ottla${extra:+ and what $extra needs} ..."
  log=$(mktemp)
  if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --editable "$OTTLA_HOME${extra:+[$extra]}" >"$log" 2>&1; then
    ottla_say "pip could not install it:"
    tail -n 15 -- "$log" >&2
    rm -f -- "$log"
    return 1
  fi
  rm -f -- "$log"
  "$venv/bin/python" -m compileall -q "$OTTLA_HOME/src" >/dev/null || true
}
