"""The group home over a real log: commits, moves between brokers, timeouts, expiry."""

import trio
import trio.testing

from ottla.broker.errors import GroupHomeNotAvailable, NotEnoughReplicas, RecordTooLarge
from ottla.broker.groups.home import GroupHome
from ottla.broker.groups.routing import java_hash, partition_for
from ottla.broker.groups.settings import GroupSettings
from ottla.broker.groups.states import GroupState
from ottla.broker.groups.values import MemberIdentity, Sync
from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.errors import ErrorCode
from ottla.runtime.memory import FixedWallClock, RecordingEvents
from tests.support.group_home import Consumer, Stage

NONE = ErrorCode.NONE


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


# --- Commits ---


async def test_offset_is_answered_and_seen_only_once_it_is_committed() -> None:
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home)
        consumer.join_alone()
        stage.partition_of(home, "g").hold = True
        first, second = consumer.commit(1), consumer.commit(2)
        await settle()
        assert not first.is_ready()
        assert consumer.fetched() is None
        error, [found] = home.fetch("g", [TopicPartition("t", 0)], require_stable=True)
        assert (error, found.error) == (NONE, ErrorCode.UNSTABLE_OFFSET_COMMIT)
        stage.partition_of(home, "g").commit()
        assert await first.get() is NONE
        assert await second.get() is NONE
        assert consumer.fetched(stable=True) == 2


async def test_assignment_is_answered_only_once_it_is_committed() -> None:
    stage = Stage()
    async with stage.home() as home:
        a, b = Consumer(home), Consumer(home)
        a.take(a.join().get_nowait())
        joining = b.join()
        rejoining = a.join()
        a.take(await rejoining.get())
        b.take(await joining.get())
        stage.partition_of(home, "g").hold = True
        of_b = b.sync()
        of_a = home.sync("g", _sync_of(a, {a.member_id: b"1", b.member_id: b"2"}))
        await settle()
        assert not of_a.is_ready()
        assert not of_b.is_ready()
        stage.partition_of(home, "g").commit()
        assert (await of_a.get()).assignment == b"1"
        assert (await of_b.get()).assignment == b"2"


def _sync_of(consumer: Consumer, shares: dict[str, bytes]) -> Sync:
    return Sync(consumer.member_id, None, consumer.generation, "consumer", "range", shares)


async def test_commit_that_takes_too_long_is_told_so_and_counts_when_it_is_there(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home, group_id="simple")
        partition = stage.partition_of(home, "simple")
        partition.hold = True
        began = trio.current_time()
        assert await consumer.commit(7).get() is ErrorCode.REQUEST_TIMED_OUT
        assert trio.current_time() - began == 5.0
        assert consumer.fetched() is None
        partition.commit()
        await settle()
        assert consumer.fetched() == 7


async def test_assignment_that_takes_too_long_makes_the_members_start_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home)
        consumer.take(consumer.join().get_nowait())
        stage.partition_of(home, "g").hold = True
        reply = await consumer.sync(me=b"all").get()
        assert reply.error is ErrorCode.REBALANCE_IN_PROGRESS
        assert consumer.heartbeat() is ErrorCode.REBALANCE_IN_PROGRESS
        stage.partition_of(home, "g").commit()
        await settle()
        assert consumer.heartbeat() is ErrorCode.REBALANCE_IN_PROGRESS


async def test_refused_append_is_translated_for_clients() -> None:
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home)
        consumer.join_alone()
        partition = stage.partition_of(home, "g")
        partition.refuse = NotEnoughReplicas("1 of 2")
        assert consumer.commit(1).get_nowait() is ErrorCode.COORDINATOR_NOT_AVAILABLE
        partition.refuse = RecordTooLarge("much")
        assert consumer.commit(1).get_nowait() is ErrorCode.INVALID_COMMIT_OFFSET_SIZE
        partition.refuse = None
        partition.is_leader = False
        assert consumer.commit(1).get_nowait() is ErrorCode.NOT_COORDINATOR
        assert consumer.fetched() is None


async def test_too_few_replicas_after_the_append_is_an_error_that_stands_in_the_log() -> None:
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home, group_id="simple")
        partition = stage.partition_of(home, "simple")
        partition.hold = True
        reply = consumer.commit(3)
        await settle()
        partition.too_few_replicas = True
        partition.commit()
        assert await reply.get() is ErrorCode.COORDINATOR_NOT_AVAILABLE
        await settle()
        assert consumer.fetched() == 3


async def test_new_epoch_of_the_same_leader_loses_nothing() -> None:
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home, group_id="simple")
        partition = stage.partition_of(home, "simple")
        partition.hold = True
        reply = consumer.commit(3)
        await settle()
        partition.next_epoch()
        home.on_leader(partition.tp)
        await settle()
        assert not reply.is_ready()
        partition.commit()
        assert await reply.get() is NONE


# --- Moves ---


async def test_second_home_goes_on_with_the_generation_and_the_offsets() -> None:
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home)
        consumer.join_alone()
        assert consumer.commit(41).get_nowait() is NONE
        assert consumer.commit(42).get_nowait() is NONE
        assert consumer.commit(5, topic="u", partition=3).get_nowait() is NONE
        before = home.describe("g")
    async with stage.home() as home:
        consumer.home = home
        after = home.describe("g")
        assert after.last_record == before.last_record
        assert after.state is GroupState.STABLE
        assert consumer.heartbeat() is NONE
        assert consumer.fetched() == 42
        assert consumer.fetched(topic="u", partition=3) == 5
        assert consumer.sync().get_nowait().assignment == b"all"
        assert consumer.commit(43).get_nowait() is NONE
        _, everything = home.fetch("g", None, require_stable=True)
        assert {f.tp: f.entry.offset for f in everything} == {
            TopicPartition("t", 0): 43,
            TopicPartition("u", 3): 5,
        }


async def test_second_home_serves_nothing_that_the_next_one_may_not_know() -> None:
    """A generation that is in this log alone is handed out by nobody: simulation seed 61028."""
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home)
        consumer.join_alone()
        partition = stage.partition_of(home, "g")
        partition.hold = True
        lost = consumer.commit(7)
        await settle()
        assert not lost.is_ready()
    async with stage.home(loaded=False) as home:
        consumer.home = home
        home.on_leader(partition.tp)
        await settle()
        assert consumer.commit(8).get_nowait() is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        partition.next_epoch()
        await settle()
        assert consumer.commit(8).get_nowait() is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        partition.commit()
        await settle()
        assert consumer.fetched() == 7
        assert consumer.heartbeat() is NONE


async def test_everything_that_waits_is_sent_away_when_the_partition_moves() -> None:
    stage = Stage()
    async with stage.home() as home:
        a = Consumer(home)
        a.join_alone()
        joining = Consumer(home).join()
        partition = stage.partition_of(home, "g")
        partition.hold = True
        commit = a.commit(1)
        await settle()
        partition.resign()
        home.on_not_leader(partition.tp)
        assert (await joining.get()).error is ErrorCode.NOT_COORDINATOR
        assert await commit.get() is ErrorCode.NOT_COORDINATOR
        assert a.heartbeat() is ErrorCode.NOT_COORDINATOR
        assert home.groups() == (NONE, [])
        await settle()


async def test_lost_leadership_is_noticed_without_being_told() -> None:
    stage = Stage()
    async with stage.home() as home:
        a = Consumer(home)
        a.join_alone()
        partition = stage.partition_of(home, "g")
        partition.hold = True
        commit = a.commit(1)
        await settle()
        partition.resign()
        assert await commit.get() is ErrorCode.NOT_COORDINATOR
        await settle()
        assert a.heartbeat() is ErrorCode.NOT_COORDINATOR
        partition.is_leader = True
        home.on_leader(partition.tp)
        await settle()
        assert a.heartbeat() is NONE


async def test_while_loading_requests_are_put_off() -> None:
    stage = Stage()
    async with stage.home(loaded=False) as home:
        consumer = Consumer(home, member_id="x", generation=1)
        assert consumer.heartbeat() is ErrorCode.NOT_COORDINATOR
        home.on_leader(stage.partition_of(home, "g").tp)
        assert consumer.heartbeat() is NONE
        assert consumer.join().get_nowait().error is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        assert consumer.sync().get_nowait().error is ErrorCode.REBALANCE_IN_PROGRESS
        assert consumer.commit(1).get_nowait() is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        assert home.groups()[0] is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        await settle()
        assert consumer.heartbeat() is ErrorCode.UNKNOWN_MEMBER_ID


async def test_leadership_that_is_gone_before_the_load_ends_serves_nothing() -> None:
    stage = Stage()
    async with stage.home(loaded=False) as home:
        tp = stage.partition_of(home, "g").tp
        home.on_leader(tp)
        home.on_not_leader(tp)
        home.on_leader(tp)
        home.on_not_leader(tp)
        await settle()
        assert Consumer(home).heartbeat() is ErrorCode.NOT_COORDINATOR


async def test_home_that_does_not_run_says_so() -> None:
    home = GroupHome(
        GroupSettings(),
        lambda _tp: None,
        wall_clock=FixedWallClock(),
        rng=None,
        events=RecordingEvents(),
    )
    assert Consumer(home).heartbeat() is ErrorCode.COORDINATOR_NOT_AVAILABLE
    assert home.groups() == (ErrorCode.COORDINATOR_NOT_AVAILABLE, [])


# --- Time ---


async def test_session_ends_and_the_group_empties(autojump_clock: trio.testing.MockClock) -> None:
    stage = Stage()
    async with stage.home() as home:
        a, b = Consumer(home, session_ms=10_000), Consumer(home, session_ms=20_000)
        a.join_alone()
        joining = b.join()
        a.take(a.join().get_nowait())
        b.take(joining.get_nowait())
        assert home.sync("g", _sync_of(a, {})).get_nowait().error is NONE
        assert b.sync().get_nowait().error is NONE
        for _ in range(3):
            await trio.sleep(9)
            assert b.heartbeat() in (NONE, ErrorCode.REBALANCE_IN_PROGRESS)
        assert a.heartbeat() is ErrorCode.UNKNOWN_MEMBER_ID
        rejoined = await b.join().get()
        assert [m.member_id for m in rejoined.members] == [b.member_id]
        await trio.sleep(21)
        assert home.describe("g").state is GroupState.EMPTY
        assert len(stage.events.named("group.member_expired")) == 2


async def test_initial_delay_collects_those_that_start_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage(GroupSettings(topic_partitions=1))
    async with stage.home() as home:
        first = Consumer(home).join()
        await trio.sleep(2)
        second = Consumer(home).join()
        reply = await first.get()
        assert trio.current_time() >= 6.0
        assert len(reply.members) == 2
        assert (await second.get()).generation == 1


async def test_offsets_expire_after_the_group_is_empty(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """KIP-211: from the moment the last member left, not from the commit."""
    clock = FixedWallClock(follow=True)
    stage = Stage(GroupSettings(topic_partitions=1, initial_rebalance_delay_ms=0), wall_clock=clock)
    async with stage.home() as home:
        consumer = Consumer(home, session_ms=1_800_000)
        consumer.join_alone()
        assert consumer.commit(9).get_nowait() is NONE
        for _ in range(8 * 24 * 3):
            await trio.sleep(1_200)
            assert consumer.heartbeat() is NONE
        assert consumer.fetched() == 9
        assert home.leave("g", [MemberIdentity(consumer.member_id)]) == (NONE, [NONE])
        await trio.sleep(7 * 86_400 - 60)
        assert consumer.fetched() == 9
        await trio.sleep(120)
        assert consumer.fetched() is None
        assert home.groups() == (NONE, [])
    async with stage.home() as home:
        assert home.groups() == (NONE, [])


async def test_simple_consumers_offsets_age_from_their_commit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock = FixedWallClock(follow=True)
    stage = Stage(GroupSettings(topic_partitions=1), wall_clock=clock)
    async with stage.home() as home:
        consumer = Consumer(home)
        assert consumer.commit(1, partition=0).get_nowait() is NONE
        await trio.sleep(4 * 86_400)
        assert consumer.commit(2, partition=1).get_nowait() is NONE
        await trio.sleep(3 * 86_400 + 60)
        assert consumer.fetched(partition=0) is None
        assert consumer.fetched(partition=1) == 2
        await trio.sleep(4 * 86_400)
        assert home.groups() == (NONE, [])


async def test_group_without_anything_is_forgotten(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home)
        consumer.join_alone()
        home.leave("g", [MemberIdentity(consumer.member_id)])
        assert [g.state for g in home.groups()[1]] == [GroupState.EMPTY]
        await trio.sleep(601)
        assert home.groups() == (NONE, [])


# --- Administration ---


async def test_deleted_group_is_gone_here_and_after_a_move() -> None:
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home)
        consumer.join_alone()
        assert consumer.commit(9).get_nowait() is NONE
        assert home.delete("g").get_nowait() is ErrorCode.NON_EMPTY_GROUP
        home.leave("g", [MemberIdentity(consumer.member_id)])
        assert home.delete("g").get_nowait() is NONE
        assert home.delete("g").get_nowait() is ErrorCode.GROUP_ID_NOT_FOUND
        assert consumer.fetched() is None
    async with stage.home() as home:
        assert home.groups() == (NONE, [])


async def test_member_that_joins_while_its_group_is_deleted_stays() -> None:
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home)
        consumer.join_alone()
        home.leave("g", [MemberIdentity(consumer.member_id)])
        partition = stage.partition_of(home, "g")
        partition.hold = True
        deleted = home.delete("g")
        newcomer = Consumer(home)
        newcomer.take(newcomer.join().get_nowait())
        synced = newcomer.sync(me=b"x")
        partition.commit()
        assert await deleted.get() is NONE
        assert (await synced.get()).assignment == b"x"
        assert newcomer.heartbeat() is NONE
    async with stage.home() as home:
        newcomer.home = home
        assert newcomer.heartbeat() is NONE


async def test_single_offsets_can_be_deleted_where_nobody_subscribes() -> None:
    subscription = b"\0\0\0\0\0\1\0\1t"  # version 0, one topic: "t"
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home, metadata=subscription)
        consumer.join_alone()
        consumer.commit(1)
        consumer.commit(2, topic="old")
        t, old, never = (TopicPartition(name, 0) for name in ("t", "old", "never"))
        error, kept, reply = home.delete_offsets("g", [t, old, never])
        assert (error, kept, reply.get_nowait()) == (NONE, [t], NONE)
        assert consumer.fetched() == 1
        assert consumer.fetched(topic="old") is None
        assert home.delete_offsets("none", [t])[0] is ErrorCode.GROUP_ID_NOT_FOUND


async def test_offsets_of_a_deleted_topic_go() -> None:
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home)
        consumer.commit(1)
        consumer.commit(2, topic="u")
        home.on_topic_deleted("t")
        assert consumer.fetched() is None
        assert consumer.fetched(topic="u") == 2


async def test_session_timeout_has_bounds() -> None:
    stage = Stage()
    async with stage.home() as home:
        for session_ms in (5_999, 1_800_001):
            reply = Consumer(home, session_ms=session_ms).join().get_nowait()
            assert reply.error is ErrorCode.INVALID_SESSION_TIMEOUT
        assert Consumer(home, group_id="").join().get_nowait().error is ErrorCode.INVALID_GROUP_ID
        assert home.groups() == (NONE, [])


# --- The topic ---


async def test_topic_is_made_once_for_all_who_ask(autojump_clock: trio.testing.MockClock) -> None:
    calls = 0

    async def ensure() -> None:
        nonlocal calls
        calls += 1
        await trio.sleep(1)
        if calls == 1:
            raise GroupHomeNotAvailable("2 brokers for 3 replicas")

    home = GroupHome(
        GroupSettings(),
        lambda _tp: None,
        wall_clock=FixedWallClock(),
        rng=None,
        events=RecordingEvents(),
        ensure_offsets_topic=ensure,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(home.run)
        first, second = home.want_offsets_topic(), home.want_offsets_topic()
        assert "2 brokers" in str(await first.get())
        assert "2 brokers" in str(await second.get())
        assert calls == 1
        assert await home.want_offsets_topic().get() is None
        assert calls == 2
        nursery.cancel_scope.cancel()


def test_partition_of_a_group_is_that_of_every_kafka_tool() -> None:
    """Values of Utils.abs("...".hashCode) % 50 as Kafka's tools print them."""
    assert java_hash("") == 0
    assert java_hash("hello") == 99162322
    assert java_hash("polygenelubricants") == -(1 << 31)
    assert java_hash("\N{GRINNING FACE}") == 1772899  # two UTF-16 units
    assert partition_for("polygenelubricants", 50) == 0
    assert partition_for("hello", 50) == 99162322 % 50
    assert partition_for("console-consumer", 50) == abs(java_hash("console-consumer")) % 50


async def test_group_is_gone_though_a_record_of_it_is_committed_late(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The record of the empty group took too long; the tombstone has to come after it."""
    stage = Stage()
    async with stage.home() as home:
        consumer = Consumer(home)
        consumer.take(consumer.join().get_nowait())
        partition = stage.partition_of(home, "g")
        partition.hold = True
        home.leave("g", [MemberIdentity(consumer.member_id)])
        await trio.sleep(6)
        deleted = home.delete("g")
        partition.commit()
        assert await deleted.get() is NONE
        assert home.groups() == (NONE, [])
    async with stage.home() as home:
        assert home.groups() == (NONE, [])
