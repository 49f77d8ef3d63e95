"""Starts and stops a whole local cluster: behind cluster-start.sh and cluster-stop.sh.

All daemons are started at the same time, each a process of its own; brokers wait for the ensemble
by themselves. The start is over when a write with acks=all to a replicated topic was acknowledged.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ottla.scripts import run_files
from ottla.scripts.background import Background
from ottla.scripts.cluster_layout import (
    HOST,
    Layout,
    LayoutError,
    Member,
    members,
    prepare,
    saved_layout,
)
from ottla.scripts.local_members import MODULES, launch
from ottla.scripts.ports import holder_of, is_free


class Failed(Exception):
    """The command cannot do what it should; the text is for the user."""


def _default_home() -> Path:
    return run_files.home() / "var" / "cluster"


def start(arguments: list[str]) -> int:
    """cluster-start.sh; the exit code."""
    began = time.monotonic()
    options = _start_parser().parse_args(arguments)
    home: Path = options.data.absolute()
    try:
        layout = _layout(home, options)
        _refuse_running(home)
        _refuse_taken_ports(layout)
        prepare(home, layout)
        _bring_up(home, layout, began + options.wait)
    except OSError as error:
        print(f"{error.filename or home}: {error.strerror or error}", file=sys.stderr)
        return 1
    except (Failed, LayoutError) as error:
        print(error, file=sys.stderr)
        return 1
    _tell(home, layout, time.monotonic() - began)
    return 0


def stop(arguments: list[str]) -> int:
    """cluster-stop.sh; the exit code."""
    options = _stop_parser().parse_args(arguments)
    home: Path = options.data.absolute()
    if not (home / "cluster.json").exists():
        print(f"there is no cluster in {home}", file=sys.stderr)
        return 1
    code = 0
    # Brokers first: they hand over and close their sessions, for which the ensemble must be there.
    for kind in ("broker", "coordinator"):
        daemons = run_files.find([home / "run"], kind)
        left = run_files.stop(daemons, options.wait)
        for daemon in left:
            print(f"{daemon} has not ended in {options.wait:g} s", file=sys.stderr)
            code = 1
        stopped = ", ".join(str(daemon.id) for daemon in daemons if daemon not in left)
        if stopped:
            print(f"stopped {kind} {stopped}")
    if options.wipe and code == 0:
        shutil.rmtree(home)
        print(f"removed {home}")
    return code


def _start_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cluster-start.sh",
        description="Starts a local cluster, or resumes the one that is in the data directory, and"
        " waits until it takes a write.",
    )
    parser.add_argument("--brokers", type=int, metavar="N", help="default: 3")
    parser.add_argument("--coordinators", type=int, metavar="N", help="odd; default: 3")
    parser.add_argument(
        "--data", type=Path, default=_default_home(), metavar="DIR", help="default: var/cluster"
    )
    parser.add_argument(
        "--base-port", type=int, metavar="P", help="first broker's port; default: 9092"
    )
    parser.add_argument(
        "--coordinator-base-port",
        type=int,
        metavar="P",
        help="first coordinator's client port, default: 2181; ports for the peers are 1000 above",
    )
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="give up after; default: 60"
    )
    return parser


def _stop_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cluster-stop.sh",
        description="Stops the local cluster cleanly: brokers, then coordinators.",
    )
    parser.add_argument(
        "--data", type=Path, default=_default_home(), metavar="DIR", help="default: var/cluster"
    )
    parser.add_argument("--wipe", action="store_true", help="remove its data afterwards")
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="for each kind; default: 60"
    )
    return parser


def _layout(home: Path, options: argparse.Namespace) -> Layout:
    """The layout asked for; of an existing cluster, its own, with more brokers if asked for."""
    asked = {
        name: value
        for name in ("brokers", "coordinators", "base_port", "coordinator_base_port")
        if (value := getattr(options, name)) is not None
    }
    saved = saved_layout(home)
    if saved is None:
        layout = Layout(**asked)
    else:
        for name, value in asked.items():
            kept = getattr(saved, name)
            if value != kept and (name != "brokers" or value < kept):
                option = "--" + name.replace("_", "-")
                raise Failed(
                    f"{option} {value}: the cluster in {home} was made with {kept};"
                    " remove it (cluster-stop.sh --wipe) or name another --data"
                )
        layout = Layout(
            brokers=asked.get("brokers", saved.brokers),
            coordinators=saved.coordinators,
            base_port=saved.base_port,
            coordinator_base_port=saved.coordinator_base_port,
        )
    layout.check()
    return layout


def _refuse_running(home: Path) -> None:
    running = [daemon for kind in MODULES for daemon in run_files.find([home / "run"], kind)]
    if running:
        listed = ", ".join(str(daemon) for daemon in running)
        raise Failed(
            f"the cluster in {home} is running: {listed}; scripts/cluster-stop.sh stops it"
        )


def _refuse_taken_ports(layout: Layout) -> None:
    for option, port in layout.ports():
        if not is_free(HOST, port):
            holder = holder_of(port)
            by = f" by {holder}" if holder else ""
            raise Failed(f"port {port} is taken{by}; stop that, or use another {option}")


def _bring_up(home: Path, layout: Layout, deadline: float) -> None:
    started: list[tuple[Member, Background]] = []
    try:
        for member in members(home, layout):
            started.append((member, launch(member)))  # noqa: PERF401  known when one fails
        # Imported while the daemons start.
        from ottla.scripts.first_write import NotYet, wait_first_write

        for member, child in started:
            code = child.wait_ready(deadline)
            if code is not None:
                told = child.output().rstrip() or f"it ended with code {code}"
                raise Failed(f"{member.name} did not start: {told}\n(log: {member.log})")
        brokers = [(HOST, layout.base_port + n) for n in range(layout.brokers)]
        try:
            wait_first_write(brokers, min(3, layout.brokers), deadline)
        except NotYet as error:
            raise Failed(
                f"the cluster runs but took no write in time: {error} (logs: {home / 'logs'})"
            ) from None
    except BaseException:
        _take_down([child for _, child in started])
        raise
    for _, child in started:
        child.let_go()


def _take_down(children: Sequence[Background]) -> None:
    """End what was started, brokers before the coordinators that they need."""
    for child in reversed(children):
        child.terminate()
    for child in reversed(children):
        child.wait_ended(10.0)


def _tell(home: Path, layout: Layout, seconds: float) -> None:
    first = f"{HOST}:{layout.base_port}"
    print(
        f"""\
The cluster takes writes after {seconds:.1f} s: {layout.brokers} brokers, \
{layout.coordinators} coordinators.

  bootstrap servers   {layout.bootstrap}
  coordinators        {layout.connect}
  data                {home}
  logs                {home / "logs"}
  pid files           {home / "run"}

Next:
  echo hello | kcat -b {first} -t greetings -P && kcat -b {first} -t greetings -C -e
  scripts/server-stop.sh --broker-id {layout.brokers}
  scripts/cluster-stop.sh"""
        + ("" if home == _default_home().absolute() else f" --data {home}")
    )


def main(arguments: list[str]) -> int:
    """`start` or `stop`, then the script's own arguments."""
    command, *rest = arguments
    return {"start": start, "stop": stop}[command](rest)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        code = 1
    sys.exit(code)
