"""The file with the members' secret: who may read it, what it must hold."""

import pytest

from ottla.config.coordinator import CoordinatorConfig
from ottla.config.problems import ConfigError
from ottla.config.secret_file import read_secret

SECRET = b"0123456789abcdef0123456789abcdef"


def written(tmp_path, content=SECRET, mode=0o600):
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_white_space_at_the_end_is_no_part_of_the_secret(tmp_path, mode):
    assert read_secret(written(tmp_path, SECRET + b"\r\n", mode)) == SECRET


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (SECRET, 0o640, "mode 0640"),
        (SECRET, 0o602, "mode 0602"),
        (b"short\n", 0o600, "has 5 bytes"),
        (b"", 0o600, "has 0 bytes"),
        (b"x" * 4097, 0o600, "16 to 4096"),
    ],
)
def test_file_that_is_no_secret_is_refused(tmp_path, content, mode, reason):
    with pytest.raises(ValueError, match=reason):
        read_secret(written(tmp_path, content, mode))


def config(tmp_path, path):
    settings = {
        "dataDir": str(tmp_path),
        "clientPort": "2181",
        "quorum.auth.secretFile": path,
        "server.1": "a:1:2",
        "server.2": "b:1:2",
        "server.3": "c:1:2",
    }
    return CoordinatorConfig.from_properties(settings, my_id=1)


def test_configuration_has_the_secret_and_does_not_show_it(tmp_path):
    found = config(tmp_path, written(tmp_path))
    assert found.peer_secret == SECRET
    assert SECRET.decode() not in repr(found)


@pytest.mark.parametrize("name", ["missing", "."])
def test_unreadable_secret_is_a_problem_that_names_the_key(tmp_path, name):
    with pytest.raises(ConfigError, match=r"quorum\.auth\.secretFile"):
        config(tmp_path, str(tmp_path / name))


def test_problem_with_the_secret_does_not_tell_it(tmp_path):
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, written(tmp_path, SECRET, 0o644))
    assert SECRET.decode() not in str(caught.value)
