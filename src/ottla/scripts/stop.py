"""Stops daemons that were started here: behind server-stop.sh and coordinator-stop.sh."""

import argparse
import os
import signal
import sys
from pathlib import Path

from ottla.scripts import run_files


def main(arguments: list[str]) -> int:
    """`broker` or `coordinator`, then the script's own arguments; the exit code."""
    kind, *rest = arguments
    option, word = ("--broker-id", "broker") if kind == "broker" else ("--id", "member")
    parser = argparse.ArgumentParser(
        prog="server-stop.sh" if kind == "broker" else "coordinator-stop.sh",
        description=f"Stops {kind}s that were started from here: cleanly, and waits for their end.",
    )
    parser.add_argument(option, dest="id", type=int, metavar="N", help=f"only this {word}")
    parser.add_argument(
        "--run-dir",
        type=Path,
        metavar="DIR",
        help="where the pid files are; default: var/run and var/cluster/run",
    )
    parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="default: 60")
    parser.add_argument("--kill", action="store_true", help="kill -9 instead of a clean stop")
    options = parser.parse_args(rest)
    run_dirs = [options.run_dir] if options.run_dir else run_files.known_run_dirs()
    daemons = run_files.find(run_dirs, kind, options.id)
    if not daemons:
        which = kind if options.id is None else f"{kind} {options.id}"
        print(f"no {which} runs that was started from here", file=sys.stderr)
        return 1
    if options.kill:
        for daemon in daemons:
            os.kill(daemon.pid, signal.SIGKILL)
        left = run_files.wait_ended(daemons, options.wait)
    else:
        left = run_files.stop(daemons, options.wait)
    for daemon in daemons:
        print(f"{daemon} {'has not ended yet' if daemon in left else 'stopped'}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
