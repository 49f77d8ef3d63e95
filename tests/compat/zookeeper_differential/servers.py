"""The two servers of a differential run, each a process with a directory of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
SUPER_DIGEST = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="  # of super:test
_KEYS = {
    "DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
    "enforceQuota": "true",
    "extendedTypesEnabled": "true",
    "forceSync": "no",
    "maxClientCnxns": "0",
    "tickTime": "2000",
    "znode.container.checkIntervalMs": "86400000",  # nothing goes by itself
}


def libraries() -> Path | None:
    """The directory with the jars of Apache ZooKeeper 3.9 and what they need."""
    directory = os.environ.get("OTTLA_ZOOKEEPER_LIBS")
    return Path(directory) if directory and shutil.which("java") else None


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def zookeeper(directory: Path, jars: Path):
    """Apache ZooKeeper, one member; yields its port."""
    config, port = _configure(directory, {"admin.enableServer": "false"})
    command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", f"{jars}/*"]
    command += [f"-D{key}={value}" for key, value in _KEYS.items() if key.startswith("znode.")]
    command += ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config)]
    with _running(command, directory, port):
        yield port


@contextmanager
def ottla(directory: Path):
    """Ottla's coordinator, one member; yields its port."""
    config, port = _configure(directory, {"admin.enableServer": "false"})
    module = ("-m", "ottla.scripts.coordinator", str(config), "--run-dir", str(directory))
    with _running([sys.executable, *module], directory, port):
        yield port


def _configure(directory: Path, more):
    directory.mkdir()
    port = free_port()
    keys = {**_KEYS, **more, "dataDir": directory / "data", "clientPort": port}
    keys["clientPortAddress"] = "127.0.0.1"
    config = directory / "zoo.cfg"
    config.write_text("".join(f"{key}={value}\n" for key, value in keys.items()))
    return config, port


@contextmanager
def _running(command, directory: Path, port: int):
    with (directory / "out").open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait_serving(process, port)
        yield
        assert process.poll() is None, (directory / "out").read_text()[-4000:]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _wait_serving(process, port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        assert process.poll() is None, "the server ended"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
                sock.sendall(b"srvr")
                if b"Mode: standalone" in sock.recv(4096):
                    return
        except OSError:
            pass
        assert time.monotonic() < deadline, "the server does not come up"
        time.sleep(0.05)


__all__ = ["SUPER_DIGEST", "libraries", "ottla", "zookeeper"]
