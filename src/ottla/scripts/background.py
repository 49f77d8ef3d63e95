"""Daemons started in the background: processes with a session, a log file and a way to say "up"."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

READY = b"ready\n"
"""What a daemon writes to its `--ready-fd` once it is up."""


class Background:
    """A daemon that was started and has not yet said that it is up."""

    def __init__(self, process: subprocess.Popen[bytes], ready: int, log: Path, start: int) -> None:
        self._process = process
        self._ready = ready
        self._log = log
        self._start = start

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self, deadline: float) -> int | None:
        """None when it is up; else its exit code, or 1 when it is not up in time.

        `deadline` is on the scale of `time.monotonic`.
        """
        found, _, _ = select.select([self._ready], [], [], max(0.0, deadline - time.monotonic()))
        said = os.read(self._ready, len(READY)) if found else b""
        os.close(self._ready)
        if said == READY:
            return None
        if not found:
            self.terminate()
            return 1
        code = self._process.wait()
        return code if code > 0 else 1

    def terminate(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def wait_ended(self, timeout_s: float) -> None:
        """Wait for the end, and force it after `timeout_s`."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def let_go(self) -> None:
        """Leave it running: nobody here will wait for its end."""
        self._process.returncode = 0  # else Popen's destructor warns of a process left behind

    def output(self) -> str:
        """What it has printed since it was started, the end of it."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._start)
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "".join(line + "\n" for line in text.splitlines()[-20:])


def start_background(module: str, words: Sequence[str], log: Path) -> Background:
    """Start an entry module in a session of its own, its output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    reader, writer = os.pipe()
    command = [sys.executable, "-m", module, *words, "--ready-fd", str(writer)]
    with log.open("ab") as output:
        start = output.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(writer,),
        )
    os.close(writer)
    return Background(process, reader, log, start)


__all__ = ["READY", "Background", "start_background"]
