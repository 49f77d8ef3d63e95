"""A coordinator member's configuration: zoo.cfg names, members, the myid file."""

from pathlib import Path

import pytest

from ottla.config.coordinator import COORDINATOR_KEYS, CoordinatorConfig
from ottla.config.problems import ConfigError

THREE = {f"server.{n}": f"host{n}:2888:3888" for n in (1, 2, 3)}


def test_lone_member_needs_a_data_directory_only() -> None:
    config = CoordinatorConfig.from_properties({"dataDir": "/data"})
    assert (config.my_id, config.members, config.client_port) == (1, {}, 2181)
    assert config.int("jute.maxbuffer") == 1_048_575


def test_members_and_own_id_from_files(tmp_path: Path) -> None:
    (tmp_path / "myid").write_text("2\n")
    path = tmp_path / "coordinator.properties"
    lines = [f"dataDir={tmp_path}", *(f"{key}={value}" for key, value in THREE.items())]
    path.write_text("\n".join(lines))
    config = CoordinatorConfig.load(str(path), ["clientPort=2200"])
    assert config.my_id == 2
    assert config.members[3].host == "host3"
    assert config.members[3].port == 2888
    assert config.client_port == 2200
    assert not config.warnings


def test_client_port_of_the_member_line_counts_when_no_other_is_set() -> None:
    properties = {"dataDir": "/d"} | {f"server.{n}": f"h{n}:1:2:participant;218{n}" for n in (1, 2)}
    config = CoordinatorConfig.from_properties(properties, my_id=2)
    assert config.client_port == 2182
    assert "odd number is better" in str(config.warnings[0])


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        ({}, "dataDir: is not set"),
        ({"dataDir": "/d", "ticktime": "5"}, "did you mean tickTime"),
        ({"dataDir": "/d", "tickTime": "0"}, "tickTime=0: expected an integer >= 1"),
        ({"dataDir": "/d", "forceSync": "maybe"}, "expected one of yes, no"),
        ({"dataDir": "/d", "minSessionTimeout": "90000"}, "leaves no timeout between"),
        ({"dataDir": "/d", "server.x": "h:1"}, "number from 0 to 255"),
        ({"dataDir": "/d", "server.1": "h"}, "expected host:peerport"),
        ({"dataDir": "/d", "server.1": "h:1:2:observer"}, "nobody has a vote"),
        ({"dataDir": "/d", "server.1": "h:1:2:guest"}, "neither participant nor observer"),
        ({"dataDir": "/d", "server.1": "h:1", "server.2": "h:1"}, "address of server.1"),
        ({"dataDir": "/nowhere"} | THREE, "/nowhere/myid: myid: cannot be read"),
    ],
)
def test_faults_are_named(properties: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        CoordinatorConfig.from_properties(properties)


@pytest.mark.parametrize(("content", "text"), [("7", "is none of server.1"), ("x", "a number")])
def test_wrong_own_id_is_named(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "myid").write_text(content)
    with pytest.raises(ConfigError, match=text):
        CoordinatorConfig.from_properties({"dataDir": str(tmp_path)} | THREE)


def test_every_default_is_a_value_its_own_row_accepts() -> None:
    for row in COORDINATOR_KEYS.values():
        text = row.type.format(row.default)
        if text is not None:
            assert row.read(text) == row.default, row.name


JAAS = """
// who may come in
Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_super="super_secret"
    user_alice="won\\"der";
};
Client { org.apache.zookeeper.server.auth.DigestLoginModule required user_other="x"; };
"""


def with_jaas(tmp_path: Path, text: str) -> CoordinatorConfig:
    path = tmp_path / "jaas.conf"
    path.write_text(text)
    keys = {"dataDir": "/d", "java.security.auth.login.config": str(path)}
    return CoordinatorConfig.from_properties(keys)


def test_sasl_users_come_from_the_server_entry_of_a_jaas_file(tmp_path: Path) -> None:
    config = with_jaas(tmp_path, JAAS)
    assert config.sasl_users == {"super": "super_secret", "alice": 'won"der'}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no entry"),
        ("Server { com.sun.security.auth.module.Krb5LoginModule required x=y; };", "Krb5"),
        (JAAS.replace("user_", "usr_"), "no user_NAME"),
    ],
)
def test_jaas_files_without_users_are_problems(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        with_jaas(tmp_path, text)


def test_observers_are_members_without_a_vote() -> None:
    lines = THREE | {"dataDir": "/d", "server.4": "host4:2888:3888:observer;2181"}
    config = CoordinatorConfig.from_properties(lines, my_id=4)
    assert [id_ for id_, one in config.members.items() if one.is_observer] == [4]
    assert not config.warnings
