"""The controller on three real coordinators in memory, while their leader is killed."""

import random

import pytest
import trio

from ottla.broker.controller.topics import NewTopic
from ottla.coordinator.main import run_coordinator
from ottla.coordinator.settings import CoordinatorSettings
from ottla.protocol.kafka.errors import ErrorCode
from ottla.runtime.interfaces import Address, Runtime
from ottla.runtime.memory import FixedWallClock, MemoryDisk, MemoryNetwork, RecordingEvents
from tests.unit.controller.conftest import Cluster

pytestmark = pytest.mark.slow


class Coordinators:
    """Three members; `kill` cancels one, `start` brings it back on its own disk."""

    connect = "member-1:2181,member-2:2181,member-3:2181"

    def __init__(self, network, nursery) -> None:
        self._network = network
        self._nursery = nursery
        self._disks = {at: MemoryDisk() for at in (1, 2, 3)}
        self._scopes = {}
        self.handles = {}

    async def start(self, at) -> None:
        settings = CoordinatorSettings(
            "/data",
            my_id=at,
            members={each: Address(f"member-{each}", 2888) for each in (1, 2, 3)},
            client_address=Address(f"member-{at}", 2181),
            tick_time_ms=500,
        )
        runtime = Runtime(
            self._network.at(f"member-{at}"),
            self._disks[at],
            FixedWallClock(follow=True),
            random.Random(at),
            RecordingEvents(),
        )
        self._scopes[at] = trio.CancelScope()
        self.handles[at] = await self._nursery.start(self._run, at, settings, runtime)

    async def _run(self, at, settings, runtime, *, task_status) -> None:
        with self._scopes[at]:
            await run_coordinator(settings, runtime, stop=trio.Event(), task_status=task_status)

    def kill(self, at) -> None:
        self._scopes[at].cancel()
        del self.handles[at]

    @property
    def leader(self) -> int:
        return next(at for at, handle in self.handles.items() if handle.node.role == "leader")


async def test_controller_keeps_office_while_the_ensemble_changes_its_leader(
    autojump_clock, nursery
):
    network = MemoryNetwork()
    coordinators = Coordinators(network, nursery)
    for at in (1, 2, 3):
        await coordinators.start(at)
    cluster = Cluster(coordinators, network, nursery)
    with trio.fail_after(30):
        await cluster.start(1, 2, 3)
        controller = await cluster.controller()
    outcomes = await controller.create_topics([NewTopic("a", 6, 3)], timeout_s=5)
    assert outcomes[0].error is ErrorCode.NONE
    for round_number in range(3):
        victim = coordinators.leader
        coordinators.kill(victim)
        [outcome] = await controller.create_topics(
            [NewTopic(f"b{round_number}", 3, 3)], timeout_s=20
        )
        if outcome.error is ErrorCode.REQUEST_TIMED_OUT:
            # Its write was under way when the leader died and the answer never came.
            assert controller.is_active
        await trio.sleep(3)
        [outcome] = await controller.create_topics(
            [NewTopic(f"c{round_number}", 3, 3)], timeout_s=20
        )
        assert outcome.error is ErrorCode.NONE
        assert controller.is_active
        assert controller.state.epoch == 1
        await coordinators.start(victim)
        await trio.sleep(3)
    for broker in cluster.recorders.values():
        assert {tp for tp in broker.leaders if tp.topic.startswith(("a", "c"))} == {
            tp for tp in controller.state.partitions if tp.topic.startswith(("a", "c"))
        }
    cluster.kill(2)
    await cluster.settle(10)
    assert all(leader in (1, 3) for leader in cluster.recorders[1].leaders.values())
