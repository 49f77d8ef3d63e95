"""Only processes that registered themselves are found, and only while they are the same ones."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ottla.scripts import run_files
from ottla.scripts.ports import holder_of, is_free
from tests.support.processes import end_all

_SLEEPER = """
import sys, time
from pathlib import Path
from ottla.scripts import run_files
run_files.register(Path(sys.argv[1]), "broker", int(sys.argv[2]))
print("up", flush=True)
time.sleep(30)
"""


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", _SLEEPER, str(tmp_path), str(id_)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(run_files.__file__).parents[2])},
        )
        for id_ in (1, 2)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
        yield started
    finally:
        end_all(started)
        for process in started:
            assert process.stdout is not None
            process.stdout.close()


def test_daemons_are_found_by_id_and_stopped(
    tmp_path: Path, sleepers: list[subprocess.Popen[str]]
) -> None:
    found = run_files.find([tmp_path], "broker")
    assert [(one.id, one.pid) for one in found] == [(1, sleepers[0].pid), (2, sleepers[1].pid)]
    (second,) = run_files.find([tmp_path], "broker", 2)
    assert run_files.stop([second], 10) == []
    assert [one.id for one in run_files.find([tmp_path], "broker")] == [1]
    assert run_files.find([tmp_path], "coordinator") == []
    assert sleepers[0].poll() is None, "another than the named one was stopped"


def test_file_of_a_dead_process_is_removed_and_its_id_never_signalled(tmp_path: Path) -> None:
    mine = run_files.register(tmp_path, "broker", 7)
    lines = mine.read_text().split("\n")
    assert lines[0] == str(os.getpid())
    # The same process id, but a process that began at another time.
    mine.write_text(f"{os.getpid()}\nstarted=1\nid=7\n")
    assert run_files.find([tmp_path], "broker") == []
    assert not mine.exists()


def test_second_daemon_of_one_id_gets_a_file_of_its_own(
    tmp_path: Path, sleepers: list[subprocess.Popen[str]]
) -> None:
    path = run_files.register(tmp_path, "broker", 1)
    assert path.name == f"broker-1-{os.getpid()}.pid"
    assert {one.pid for one in run_files.find([tmp_path], "broker", 1)} == {
        os.getpid(),
        sleepers[0].pid,
    }


def test_damaged_files_are_no_daemons(tmp_path: Path) -> None:
    for name, text in (("a", ""), ("b", "x\nid=1\n"), ("c", "1\nid=1\n"), ("d", "\xff")):
        (tmp_path / f"broker-{name}.pid").write_text(text, encoding="latin-1")
    assert run_files.find([tmp_path, tmp_path / "nowhere"], "broker") == []


def test_holder_of_a_port_is_named() -> None:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert holder_of(port) is None
        sock.listen()
        assert not is_free("127.0.0.1", port)
        holder = holder_of(port)
    assert holder is not None
    assert f"(pid {os.getpid()})" in holder
    assert is_free("127.0.0.1", port)
