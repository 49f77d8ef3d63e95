"""The two servers of a differential run, each a process with a directory of its own."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
SUPER_DIGEST = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="  # of super:test
_KEYS = {
    "DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
    "enforceQuota": "true",
    "extendedTypesEnabled": "true",
    "forceSync": "no",
    "maxClientCnxns": "0",
    "tickTime": "6000",  # a machine with much else to do changes no leader in between
    "znode.container.checkIntervalMs": "86400000",  # nothing goes by itself
}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def zookeeper(directory: Path, jars: Path):
    """Apache ZooKeeper, one member; yields its port in a list."""
    config, port = _configure(directory, {})
    command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", f"{jars}/*"]
    command += [f"-D{key}={value}" for key, value in _KEYS.items() if key.startswith("znode.")]
    command += ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config)]
    with _running(command, directory):
        _wait_serving([port])
        yield [port]


@contextmanager
def ottla(directory: Path, size: int = 1):
    """Ottla's coordinators, as many as asked for; yields their ports."""
    directory.mkdir()
    peers = [free_port() for _ in range(size)] if size > 1 else []
    lines = {f"server.{n}": f"127.0.0.1:{port}" for n, port in enumerate(peers, 1)}
    with ExitStack() as stack:
        ports = []
        for me in range(1, size + 1):
            place = directory / str(me)
            config, port = _configure(place, lines)
            (place / "data").mkdir()
            (place / "data" / "myid").write_text(str(me))
            module = ("-m", "ottla.scripts.coordinator", str(config), "--run-dir", str(place))
            stack.enter_context(_running([sys.executable, *module], place))
            ports.append(port)
        _wait_serving(ports)
        yield ports


def _configure(directory: Path, more):
    directory.mkdir()
    port = free_port()
    keys = {
        **_KEYS,
        **more,
        "admin.enableServer": "false",
        "dataDir": directory / "data",
        "clientPort": port,
    }
    keys["clientPortAddress"] = "127.0.0.1"
    config = directory / "zoo.cfg"
    config.write_text("".join(f"{key}={value}\n" for key, value in keys.items()))
    return config, port


@contextmanager
def _running(command, directory: Path):
    with (directory / "out").open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
        assert process.poll() is None, (directory / "out").read_text()[-4000:]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _wait_serving(ports) -> None:
    deadline = time.monotonic() + 20
    for port in ports:
        while not _is_serving(port):
            assert time.monotonic() < deadline, "the servers do not come up"
            time.sleep(0.05)


def _is_serving(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
            sock.sendall(b"srvr")
            return b"Mode: " in sock.recv(4096)
    except OSError:
        return False


__all__ = ["SUPER_DIGEST", "ottla", "zookeeper"]
