"""One cluster for all outside clients, a topic of its own for each test."""

from collections.abc import Callable
from itertools import count

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.compat.clients import CLIENTS, Kcat, Outside
from tests.support.processes import LocalCluster

MakeTopic = Callable[..., str]
_numbers = count(1)


@pytest.fixture
def bootstrap(cluster: LocalCluster) -> str:
    return cluster.bootstrap


@pytest.fixture(scope="session")
def admin(cluster: LocalCluster) -> AdminClient:
    return AdminClient({"bootstrap.servers": cluster.bootstrap})


@pytest.fixture
def make_topic(admin: AdminClient, request: pytest.FixtureRequest) -> MakeTopic:
    """make_topic(partitions=3, **config): a new topic named after the test."""

    def make(partitions: int = 3, **config: str) -> str:
        name = f"{request.function.__name__.removeprefix('test_')[:60]}-{next(_numbers)}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        admin.create_topics([NewTopic(name, partitions, config=settings)])[name].result(30)
        return name

    return make


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> Outside:
    if isinstance(request.param, Kcat) and not Kcat.is_there():
        pytest.skip("kcat is not installed (Debian: apt install kcat)")
    return request.param
