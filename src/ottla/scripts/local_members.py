"""The daemons of a local cluster, one by one: starting, finding, asking who leads.

Used by cluster-start.sh, by the failover demo and by tests, which do to single members what an
operator would.
"""

import contextlib
import socket
import time
from pathlib import Path

from ottla.scripts import run_files
from ottla.scripts.background import Background, start_background
from ottla.scripts.cluster_layout import HOST, Layout, Member

MODULES = {"coordinator": "ottla.scripts.coordinator", "broker": "ottla.scripts.server"}
_ASK_S = 2.0


class MemberFailed(Exception):
    """A member did not come up, or does not run; the text is for the user."""


def launch(member: Member) -> Background:
    """Start a member with its property file, its log file and its cluster's run directory."""
    words = [str(member.config), "--run-dir", str(member.home / "run")]
    return start_background(MODULES[member.kind], words, member.log)


def start(member: Member, timeout_s: float) -> None:
    """Start a member, wait until it is up, and leave it running. MemberFailed."""
    child = launch(member)
    if child.wait_ready(time.monotonic() + timeout_s) is not None:
        raise MemberFailed(f"{member.name} did not start:\n{child.output()}")
    child.let_go()


def running(home: Path, kind: str, id_: int) -> run_files.Running:
    """The daemon in the cluster's run directory. MemberFailed when there is none."""
    found = run_files.find([home / "run"], kind, id_)
    if not found:
        raise MemberFailed(f"{kind} {id_} does not run")
    return found[0]


def four_letter_word(port: int, word: bytes) -> bytes:
    """What a coordinator member answers to `srvr`, `mntr` and the like. OSError."""
    with socket.create_connection((HOST, port), timeout=_ASK_S) as connection:
        connection.sendall(word)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    return answer


def ensemble_leader(layout: Layout) -> int | None:
    """The member whose `srvr` says that it leads; None when none does."""
    for member in range(1, layout.coordinators + 1):
        port = layout.coordinator_base_port + member - 1
        with contextlib.suppress(OSError):
            if b"Mode: leader" in four_letter_word(port, b"srvr"):
                return member
    return None


__all__ = [
    "MODULES",
    "MemberFailed",
    "ensemble_leader",
    "four_letter_word",
    "launch",
    "running",
    "start",
]
