"""A pytest plugin for kazoo's own test suite: its harness runs Ottla where it would run Java.

Loaded by name in kazoo's environment (`-p ottla_servers`), so it imports kazoo and the standard
library only. Kazoo's harness builds clusters of `ManagedZooKeeper`; here that class writes the same
settings to a file of Ottla's own and starts the coordinator's entry. Key stores are handed over as
PEM, the form that needs no Java. Environment: OTTLA_PYTHON is the interpreter that has Ottla,
OTTLA_LOGS a directory where the members' logs are to stay.
"""

import os
import pathlib
import subprocess

import OpenSSL
from kazoo.testing import common

_STARTED = []


class OttlaServer(common.ManagedZooKeeper):
    """One member: a process of its own, stopped by the harness as it stops Java's."""

    def run(self):
        if self.running:
            return
        place = pathlib.Path(self.working_path)
        (place / "data").mkdir(parents=True, exist_ok=True)
        (place / "data" / "myid").write_text(str(self.server_info.server_id))
        config = place / "coordinator.properties"
        config.write_text("\n".join(self._settings(place)) + "\n")
        logs = pathlib.Path(os.environ.get("OTTLA_LOGS", place))
        name = "zookeeper.log" if logs == place else f"member-{self.server_info.server_id}.log"
        with (logs / name).open("ab") as log:
            self.process = subprocess.Popen(
                [
                    os.environ["OTTLA_PYTHON"],
                    *("-m", "ottla.scripts.coordinator", str(config), "--run-dir", str(place)),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        _STARTED.append(self.process)
        self._running = True

    def _settings(self, place):
        info = self.server_info
        yield f"dataDir={place / 'data'}"
        yield f"clientPort={info.client_port}"
        yield "maxClientCnxns=0"
        yield f"admin.serverPort={info.admin_port}"
        yield "readonlymode.enabled=true"
        yield "initLimit=4"
        yield "syncLimit=2"
        yield from self.configuration_entries
        for text in self.java_system_properties:
            if text.startswith("-Dzookeeper."):
                yield text.removeprefix("-Dzookeeper.")
        for peer in (info, *self.peers):
            ports = f"{peer.leader_port}:{peer.election_port}:{peer.peer_type}"
            yield f"server.{peer.server_id}=localhost:{ports}"
        if self.jaas_config:
            (place / "jaas.conf").write_text(self.jaas_config)
            yield f"java.security.auth.login.config={place / 'jaas.conf'}"
        yield from self._tls(place)

    def _tls(self, place):
        made = self.ssl_configuration
        pem = OpenSSL.crypto.FILETYPE_PEM
        key = OpenSSL.crypto.dump_privatekey(pem, made["server_key"])
        certificate = OpenSSL.crypto.dump_certificate(pem, made["server_cert"])
        (place / "key_store.pem").write_bytes(key + certificate)
        (place / "trust_store.pem").write_bytes(made["ca_cert_pem"])
        yield f"secureClientPort={self.server_info.secure_client_port}"
        yield f"ssl.keyStore.location={place / 'key_store.pem'}"
        yield f"ssl.trustStore.location={place / 'trust_store.pem'}"


common.ManagedZooKeeper = OttlaServer


def pytest_unconfigure():
    """Nothing outlives the run, whatever a test left behind."""
    left = [process for process in _STARTED if process.poll() is None]
    for process in left:
        process.terminate()
    for process in left:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
