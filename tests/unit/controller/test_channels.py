"""What a controller tells one broker, over a link that a test holds."""

from uuid import UUID

import trio

from ottla.broker.controller.channels import Channels
from ottla.broker.controller.notices import Notices
from ottla.broker.controller.state import ControllerState
from ottla.broker.ensemble.values import Assignment
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.messages.leader_and_isr import LeaderAndIsrResponse
from ottla.protocol.kafka.messages.update_metadata import UpdateMetadataResponse
from ottla.runtime.memory import RecordingEvents
from tests.unit.controller.brokers import info

T0 = TopicPartition("t", 0)


class LastAnswer:
    """Answers once; in the same moment its broker's registration ends."""

    def __init__(self, cluster: ControllerState) -> None:
        self.channels: Channels | None = None
        self.asked: list[object] = []
        self.is_closed = trio.Event()
        self._cluster = cluster

    async def request(self, message, *, version: int, timeout_s: float):
        self.asked.append(message)
        await trio.lowlevel.checkpoint()
        if len(self.asked) == 1:
            assert self.channels is not None
            self.channels.close(2)
            self._cluster.on_brokers_gone([2])
            return UpdateMetadataResponse(error_code=0)
        return LeaderAndIsrResponse(error_code=0, topics=[])

    def close(self) -> None:
        self.is_closed.set()


async def test_broker_that_is_gone_when_it_answers_is_told_nothing_more() -> None:
    """What comes next is built from the controller's state, in which it is no more."""
    cluster = ControllerState(1, 4, 3)
    cluster.on_brokers_came([info(1), info(2)])
    cluster.put_topic("t", UUID(int=1), {0: Assignment((1, 2))})
    link = LastAnswer(cluster)

    async def on_answer(_answer: object) -> None:
        raise AssertionError("nobody is there to answer")

    channels = link.channels = Channels(
        cluster,
        connect=lambda _broker: link,
        listener="PLAINTEXT",
        on_answer=on_answer,
        events=RecordingEvents(),
        timeout_s=1.0,
    )
    notices = Notices()
    notices.full[2] = None
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            channels.start(nursery)
            channels.open(info(2))
            channels.post(notices)
            channels.speak()
            await link.is_closed.wait()
    assert len(link.asked) == 1
