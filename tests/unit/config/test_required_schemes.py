"""Which proof clients must bring, from ZooKeeper's keys."""

import pytest

from ottla.config.coordinator import CoordinatorConfig
from ottla.config.problems import ConfigError


def config(tmp_path, **keys):
    users = tmp_path / "jaas.conf"
    module = "org.apache.zookeeper.server.auth.DigestLoginModule required"
    users.write_text(f'Server {{ {module} user_alice="secret"; }};')
    given = {"java.security.auth.login.config": str(users)} if keys.pop("users", True) else {}
    settings = {"dataDir": str(tmp_path), "clientPort": "2181"}
    return CoordinatorConfig.from_properties(settings | given | keys)


@pytest.mark.parametrize(
    ("keys", "schemes"),
    [
        ({}, set()),
        ({"enforce.auth.schemes": "digest"}, set()),
        ({"enforce.auth.enabled": "true", "enforce.auth.schemes": "digest, ip"}, {"digest", "ip"}),
        ({"sessionRequireClientSASLAuth": "true"}, {"sasl"}),
        ({"sessionRequireClientSASLAuth": "true", "enforce.auth.enabled": "true"}, {"sasl"}),
    ],
)
def test_schemes_of_the_keys(tmp_path, keys, schemes):
    assert config(tmp_path, **keys).required_schemes == schemes


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"enforce.auth.enabled": "true"}, "enforce.auth.schemes.*is empty"),
        ({"enforce.auth.enabled": "true", "enforce.auth.schemes": "kerberos"}, "kerberos is not"),
        ({"enforce.auth.enabled": "true", "enforce.auth.schemes": "x509"}, "secureClientPort"),
        ({"sessionRequireClientSASLAuth": "true", "users": False}, "sessionRequireClientSASLAuth"),
    ],
)
def test_a_scheme_that_nobody_can_show_is_a_problem(tmp_path, keys, problem):
    with pytest.raises(ConfigError, match=problem):
        config(tmp_path, **keys)
