"""A conversation with the shell of ZooKeeper's C client (Debian: zookeeper-bin)."""

import re
import subprocess
import threading
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from tests.compat.zookeeper_differential.servers import ottla

CLI = Path("/usr/lib/zookeeper/bin/cli_mt")

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    pytest.mark.skipif(not CLI.exists(), reason="needs Debian's zookeeper-bin"),
]

CONVERSATION = [
    ("create /a", r"\[/a\]: rc = 0"),
    ("create /a", r"rc = -110"),  # NODEEXISTS
    ("create2 /b", r"\[/b\]: rc = 0[\s\S]*version=0\taversion=0\s+ephemeralOwner = 0"),
    ("create +s /seq", r"name = /seq0000000002"),
    ("create +e /mine", r"\[/mine\]: rc = 0"),
    ("create +c /container", r"\[/container\]: rc = 0"),
    ("ls /", r"/: rc = 0[\s\S]*\tmine\n"),
    ("ls2 /", r"numChildren|ephemeralOwner = 0"),
    ("set /a world", r"/a: rc = 0 Stat:[\s\S]*version=1\taversion=0"),
    ("get /a", r"value_len = 5\s+world[\s\S]*version=1\t"),
    ("exists /nowhere", r"-101"),  # NONODE
    ("wexists /later", r"-101"),
    ("create /later", r"CREATED_EVENT state = CONNECTED_STATE for path /later"),
    ("get /nowhere", r"rc = -101"),
    ("addauth digest user:password", ""),  # a refusal would end the connection
    ("sync /", r"rc = 0"),
    ("delete /a", r"/a: rc = 0"),
    ("delete /a", r"rc = -101"),
    ("delete /", r"rc = -8"),  # BADARGUMENTS
]


class Shell:
    """The client as a process: one command, then its output up to a pattern."""

    def __init__(self, connect: str) -> None:
        self._process = subprocess.Popen(
            ["stdbuf", "-o0", str(CLI), connect],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self._chunks: SimpleQueue[bytes] = SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while chunk := self._process.stdout.read(65536):
            self._chunks.put(chunk)

    def say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")

    def hear(self, pattern: str) -> str:
        heard = ""
        while not re.search(pattern, heard):
            try:
                heard += self._chunks.get(timeout=10).decode(errors="replace")
            except Empty:
                pytest.fail(f"{pattern!r} never came, but {heard!r}")
        return heard

    def end(self) -> int:
        self.say("quit")
        return self._process.wait(10)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)
        self._reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.mark.parametrize("size", [1, 3])
def test_conversation(tmp_path: Path, size: int) -> None:
    with ottla(tmp_path / "ensemble", size) as ports:
        shell = Shell(f"127.0.0.1:{ports[-1]}")
        try:
            shell.hear("Got a new session id")
            for command, answer in CONVERSATION:
                shell.say(command)
                shell.hear(answer)
            assert shell.end() == 0
        finally:
            shell.kill()
