"""Apache ZooKeeper 3.9 and Ottla answer the same to the same random conversations.

`docs/zookeeper-differences.md` names what differs on purpose; no conversation asks for that. Needs
Java and, in OTTLA_ZOOKEEPER_LIBS, the directory of ZooKeeper's jars. Thousands at once:
`python -m tests.compat.zookeeper_differential.compare --count 3000`.
"""

from contextlib import ExitStack

import pytest

from tests.compat.zookeeper_differential.compare import difference
from tests.compat.zookeeper_differential.servers import ottla, zookeeper
from tests.support.jars import ZOOKEEPER

pytestmark = [pytest.mark.compat, pytest.mark.slow]

CONVERSATIONS = 60
STEPS = 60


@pytest.fixture(scope="module", params=[1, 3], ids=["one member", "three members"])
def ports(request, tmp_path_factory):
    jars = ZOOKEEPER.named()
    if jars is None:
        pytest.skip("OTTLA_ZOOKEEPER_LIBS must name the jars of ZooKeeper 3.9; java must be there")
    place = tmp_path_factory.mktemp("differential")
    with ExitStack() as stack:
        yield (
            stack.enter_context(zookeeper(place / "zookeeper", jars)),
            stack.enter_context(ottla(place / "ottla", request.param)),
        )


def test_conversations_go_the_same_way_on_both(ports):
    for seed in range(CONVERSATIONS):
        lines = difference(ports, seed, STEPS)
        assert not lines, "\n".join([f"seed {seed}", *lines])
