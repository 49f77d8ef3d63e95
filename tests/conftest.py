"""What all tests share: hypothesis without deadlines, and a cluster for those that need one."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.processes import LocalCluster, local_cluster

# Several runs share a machine, so a slow example says nothing.
settings.register_profile("ottla", deadline=None, max_examples=100)
settings.load_profile("ottla")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three coordinators and three brokers for all tests that do not harm them."""
    with local_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started
