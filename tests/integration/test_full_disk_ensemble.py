"""One member of an ensemble has a full disk: it steps aside, the others go on, it comes back."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

from tests.benchmarks.zookeeper_wire import ask
from tests.support.clusters import wait_until
from tests.support.processes import ROOT, end_all, free_ports

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small file system")
    where = tmp_path / "small"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(where)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def mode(port: int) -> str:
    try:
        lines = ask(port, "srvr").splitlines()
    except OSError:
        return "down"
    return next((line.split(": ")[1] for line in lines if line.startswith("Mode: ")), "looking")


def test_a_member_whose_disk_is_full_steps_aside_and_comes_back(
    tmp_path: Path, small_disk: Path
) -> None:
    base = free_ports(6)
    ports = {me: base + me - 1 for me in (1, 2, 3)}
    servers = [f"server.{me}=127.0.0.1:{base + 2 + me}:{base + 2 + me}" for me in ports]
    processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(me: int) -> None:
        data = (small_disk if me == 1 else tmp_path) / f"member-{me}"
        data.mkdir()
        (data / "myid").write_text(str(me))
        config = tmp_path / f"{me}.cfg"
        lines = [f"dataDir={data}", f"clientPort={ports[me]}", "tickTime=1000", *servers]
        config.write_text("\n".join([*lines, "admin.enableServer=false"]))
        command = [sys.executable, "-m", "ottla.scripts.coordinator", str(config)]
        with (tmp_path / f"{me}.out").open("wb") as out:
            processes[me] = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)

    client = KazooClient(
        ",".join(f"127.0.0.1:{port}" for port in ports.values()),
        timeout=20,
        connection_retry=KazooRetry(max_tries=-1, max_delay=0.5),
        command_retry=KazooRetry(max_tries=-1, max_delay=0.5, deadline=60),
    )
    try:
        for me in ports:
            start(me)
        wait_until(lambda: "leader" in map(mode, ports.values()), "there is a leader")
        client.start(timeout=30)
        client.create("/n", b"")
        (small_disk / "filler").write_bytes(bytes(4 << 20))
        out = tmp_path / "1.out"
        for number in range(400):
            client.retry(client.set, "/n", b"%03d" % number + bytes(50_000))
            if "coordinator.stepped_aside" in out.read_text():
                break
        assert "coordinator.stepped_aside" in out.read_text()
        client.retry(client.set, "/n", b"without it")
        assert processes[1].poll() is None
        assert sorted(map(mode, (ports[2], ports[3]))) == ["follower", "leader"]
        (small_disk / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,size=128m", str(small_disk)], check=True)
        wait_until(lambda: mode(ports[1]) in {"follower", "leader"}, "it is back", bound_s=60)
        with_it = KazooClient(f"127.0.0.1:{ports[1]}", timeout=20)
        with_it.start(timeout=30)
        try:
            assert with_it.get("/n")[0] == b"without it"
        finally:
            with_it.stop()
            with_it.close()
    finally:
        client.stop()
        client.close()
        end_all(list(processes.values()))
