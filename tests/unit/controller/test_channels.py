"""What a controller tells one broker, over a link that a test holds."""

from uuid import UUID

import trio

from ottla.broker.controller import decisions
from ottla.broker.controller.channels import Channels, RolesAnswered
from ottla.broker.controller.notices import Notices
from ottla.broker.controller.state import ControllerState
from ottla.broker.ensemble.values import Assignment
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.leader_and_isr import (
    LeaderAndIsrPartitionError,
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    LeaderAndIsrTopicError,
)
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


class DiskIsBack:
    """A broker that cannot make a log when it is told to, and can the second time."""

    def __init__(self) -> None:
        self._codes = [ErrorCode.KAFKA_STORAGE_ERROR, ErrorCode.NONE]

    async def request(self, message, *, version: int, timeout_s: float):
        await trio.lowlevel.checkpoint()
        if not isinstance(message, LeaderAndIsrRequest):
            return UpdateMetadataResponse(error_code=0)
        error = LeaderAndIsrPartitionError(partition_index=0, error_code=self._codes.pop(0))
        [topic] = message.topic_states
        told = LeaderAndIsrTopicError(topic_id=topic.topic_id, partition_errors=[error])
        return LeaderAndIsrResponse(error_code=0, topics=[told])

    def close(self) -> None:
        pass


async def test_a_disk_that_is_back_is_told_before_the_controller_took_in_that_it_had_failed() -> (
    None
):
    """Seed 700986: nobody told the replica of the leader that came when its disk seemed lost."""
    cluster = ControllerState(1, 4, 3)
    cluster.on_brokers_came([info(1), info(2)])
    made = cluster.put_topic("t", UUID(int=1), {0: Assignment((2, 1))})
    for write in decisions.decide_liveness(cluster, made):
        cluster.applied(write, 1, Notices())
    answers: list[RolesAnswered] = []
    came = trio.Event()

    async def on_answer(answer: object) -> None:
        assert isinstance(answer, RolesAnswered)
        answers.append(answer)  # the controller is busy: it takes none of them in
        came.set()

    channels = Channels(
        cluster,
        connect=lambda _broker: DiskIsBack(),
        listener="PLAINTEXT",
        on_answer=on_answer,
        events=RecordingEvents(),
        timeout_s=1.0,
    )
    notices = Notices()
    notices.tell_replicas([2], T0)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            channels.start(nursery)
            channels.open(info(2))
            channels.post(notices)
            channels.speak()
            await came.wait()
            came = trio.Event()
            channels.post(notices)
            await came.wait()
            nursery.cancel_scope.cancel()
    assert [(answer.broken, answer.healthy) for answer in answers] == [((T0,), ()), ((), (T0,))]
