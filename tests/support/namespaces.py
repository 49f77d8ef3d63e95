"""Hosts of their own for processes on this machine: network namespaces with cuts between them.

Needs root and `ip` (Debian: iproute2). The bridge is in a namespace too, so that what a container
engine does to this machine's packet filter does not reach it.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


def are_possible() -> bool:
    """Whether this user may make namespaces here."""
    if os.geteuid() or shutil.which("ip") is None:
        return False
    name = f"ottla-{os.getpid()}-try"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return False
    _ip("netns", "del", name)
    return True


class Hosts:
    """Hosts 1..count at `address(n)`; this process reaches all of them, whatever is cut."""

    def __init__(self, count: int) -> None:
        self._numbers = range(1, count + 1)
        self._prefix = f"ottla-{os.getpid()}"
        self._net = f"10.{100 + os.getpid() // 256 % 100}.{os.getpid() % 256}"
        self._cuts: set[tuple[int, int]] = set()

    def address(self, number: int) -> str:
        return f"{self._net}.{number}"

    def command(self, number: int, *words: str) -> list[str]:
        """`words` to be run on a host; the process is that of the command itself."""
        return ["ip", "netns", "exec", self._name(number), *words]

    def cut(self, source: int, target: int) -> None:
        """Nothing that `source` sends reaches `target` any more; the other way is left alone."""
        if (source, target) not in self._cuts:
            self._cuts.add((source, target))
            _ip("-n", self._name(source), "route", "add", "blackhole", f"{self.address(target)}/32")

    def heal(self) -> None:
        for source, target in self._cuts:
            _ip("-n", self._name(source), "route", "del", "blackhole", f"{self.address(target)}/32")
        self._cuts.clear()

    def make(self) -> None:
        hub = f"{self._prefix}-hub"
        _ip("netns", "add", hub)
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge", "stp_state", "0")
        _ip("-n", hub, "link", "set", "bridge", "up")
        own = f"ott{os.getpid()}"
        self._plug(hub, own, None, 254)
        for number in self._numbers:
            name = self._name(number)
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            self._plug(hub, "eth0", name, number)

    def remove(self) -> None:
        """Also what only a part of was made."""
        for name in (f"{self._prefix}-hub", *map(self._name, self._numbers)):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def _name(self, number: int) -> str:
        return f"{self._prefix}-{number}"

    def _plug(self, hub: str, device: str, namespace: str | None, number: int) -> None:
        port = f"p{number}"
        where = [] if namespace is None else ["-n", namespace]
        _ip(*where, "link", "add", device, "type", "veth", "peer", "name", port, "netns", hub)
        _ip("-n", hub, "link", "set", port, "master", "bridge", "up")
        _ip(*where, "address", "add", f"{self.address(number)}/24", "dev", device)
        _ip(*where, "link", "set", device, "up")


@contextmanager
def hosts(count: int) -> Iterator[Hosts]:
    """Gone afterwards, and with them every device and route."""
    made = Hosts(count)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


__all__ = ["Hosts", "are_possible", "hosts"]
