"""A batch that the disk damaged: found, named by file and offset, served from another replica."""

import pytest
import trio
import trio.testing

from ottla.broker.ids import TopicPartition
from ottla.broker.storage.segment import CorruptLog
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.delete_topics import DeleteTopicsRequest
from ottla.protocol.kafka.messages.find_coordinator import FindCoordinatorRequest
from ottla.protocol.kafka.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from ottla.protocol.kafka.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestTopic
from ottla.runtime.memory import MemoryDisk
from tests.support.logs import append, batch, open_log, records_of
from tests.support.memory_cluster import MemoryCluster, memory_cluster
from tests.unit.durability.test_failed_log_dirs import produce, wait_moved

LOG = "/t-0/00000000000000000000.log"


def damage(disk: MemoryDisk, directory: str, position: int) -> None:
    file = disk.open(directory + LOG, create=False)
    before = file.read_at(position, 1)
    file.write_at(position, bytes([before[0] ^ 0xFF]))
    file.sync_now()
    file.close()


def test_recovery_does_not_cut_what_had_been_synced() -> None:
    """A crash tears only what was not; to cut more would lose what others count on."""
    disk = MemoryDisk()
    log = open_log(disk)
    for value in (b"a", b"b", b"c"):
        append(log, batch(value))
    log.close(clean=False)
    disk.kill()
    damage(disk, "/data", 80)
    with pytest.raises(CorruptLog, match=r"00000000000000000000\.log at byte \d+: .*offset \d"):
        open_log(disk, clean=False, recovery_point=3)
    assert open_log(disk, clean=False, recovery_point=0).log_end < 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("position", "problem"), [(500, "is cut"), (555, "has CRC"), (560, "offset -")]
)
async def test_a_follower_that_cannot_use_a_batch_makes_a_sound_replica_the_leader(
    autojump_clock: trio.testing.MockClock, position: int, problem: str
) -> None:
    async with memory_cluster(3) as cluster:
        await cluster.create_topic("t")
        tp = TopicPartition("t", 0)
        leader = cluster.leader_of("t")
        values = [b"%d" % at for at in range(20)]
        for value in values:
            assert await produce(cluster, leader, "t", 0, value) == 0
        learner = next(broker for broker in (1, 2, 3) if broker != leader)
        await cluster.stop(learner)
        cluster.disks[learner].remove_tree("/data/t-0")
        damage(cluster.disks[leader], "/data", position)
        del cluster.handles[learner]
        await cluster.start(learner)

        sound = await wait_moved(cluster, tp, away_from=leader)
        assert sound != learner
        (event,) = cluster.events[leader].named("log.corrupt_batch_found")
        assert LOG in str(event.fields["reason"])
        assert problem in str(event.fields["reason"])
        assert event.fields["fetched"] in range(20)
        refusals = (ErrorCode.KAFKA_STORAGE_ERROR, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        assert await produce(cluster, leader, "t", 0, b"x") in refusals
        assert not cluster.events[leader].named("log_dir.failed")

        # It heals by itself: cut at the damage, and fetched anew from the sound one.
        with trio.fail_after(120):
            await cluster.wait_ready("t", 3)
        (mended,) = cluster.events[leader].named("log.mended")
        assert mended.fields["log_end"] < len(values)
        for _, partition in cluster.replicas_of("t"):
            assert [record.value for record in records_of(partition.log)] == values
        assert await produce(cluster, cluster.leader_of("t"), "t", 0, b"more") == 0


@pytest.mark.slow
async def test_a_follower_that_reads_a_damaged_batch_fetches_it_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A consumer of a follower trips over it (KIP-392); the leader is not disturbed."""
    async with memory_cluster(2) as cluster:
        await cluster.create_topic("t", replicas=2)
        leader = cluster.leader_of("t")
        follower = 3 - leader
        values = [b"%d" % at for at in range(20)]
        for value in values:
            assert await produce(cluster, leader, "t", 0, value) == 0
        partition = cluster.services(follower).partitions.get(TopicPartition("t", 0))
        partition.log._reader.forget()  # as after a restart: it has to look into the file
        damage(cluster.disks[follower], "/data", 5 * len(batch(b"0")) + 16)  # its format
        with pytest.raises(CorruptLog):
            partition.fetch_for_consumer(10, 1 << 20, also_follower=True)
        with trio.fail_after(120):
            while not cluster.events[follower].named("log.mended"):  # noqa: ASYNC110
                await trio.sleep(0.1)
            await cluster.wait_ready("t", 2)
        assert cluster.leader_of("t") == leader
        for _, replica in cluster.replicas_of("t"):
            assert [record.value for record in records_of(replica.log)] == values


@pytest.mark.slow
async def test_a_log_that_the_start_finds_damaged_below_its_recovery_point_heals(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(2) as cluster:
        await cluster.create_topic("t", replicas=2)
        leader = cluster.leader_of("t")
        values = [b"%d" % at for at in range(20)]
        for value in values:
            assert await produce(cluster, leader, "t", 0, value) == 0
        tp = TopicPartition("t", 0)
        cluster.services(leader).log_manager.get(tp).flush()
        cluster.services(leader).log_manager.write_checkpoints()
        await cluster.kill(leader)
        damage(cluster.disks[leader], "/data", 5 * len(batch(b"0")) + 30)
        await wait_moved(cluster, tp, away_from=leader)
        await cluster.start(leader)
        with trio.fail_after(120):
            await cluster.wait_ready("t", 2)
        (failed,) = cluster.events[leader].named("log.load_failed")
        assert LOG in str(failed.fields["reason"])
        assert cluster.events[leader].named("log.mended")
        for _, partition in cluster.replicas_of("t"):
            assert [record.value for record in records_of(partition.log)] == values


@pytest.mark.slow
async def test_a_damaged_log_that_nobody_else_has_can_be_deleted_and_its_name_taken_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_cluster(2) as cluster:
        await cluster.create_topic("t", replicas=1)
        leader = cluster.leader_of("t")
        for value in (b"a", b"b", b"c"):
            assert await produce(cluster, leader, "t", 0, value) == 0
        tp = TopicPartition("t", 0)
        cluster.services(leader).log_manager.get(tp).flush()
        cluster.services(leader).log_manager.write_checkpoints()
        await cluster.kill(leader)
        damage(cluster.disks[leader], "/data", 30)
        await cluster.start(leader)
        assert cluster.events[leader].named("log.load_failed")
        while not any(cluster.services(n).controller.is_active for n in cluster.handles):  # noqa: ASYNC110
            await trio.sleep(0.1)
        request = DeleteTopicsRequest(topic_names=["t"], timeout_ms=10_000)
        (deleted,) = (await cluster.ask(cluster.controller(), request, 5)).responses
        assert deleted.error_code == 0
        assert not cluster.events[leader].named("log.mended")
        await cluster.create_topic("t", partitions=2, replicas=2)
        for partition in (0, 1):
            home = cluster.leader_of("t", partition)
            assert await produce(cluster, home, "t", partition, b"new") == 0
        assert not [name for name in cluster.disks[leader].list_dir("/data") if "delete" in name]


@pytest.mark.slow
async def test_a_group_home_with_a_damaged_batch_leaves_the_groups_to_a_sound_replica(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Committed offsets are not forgotten where another replica has them."""
    settings = {"offsets_topic_num_partitions": "1", "offsets_topic_replication_factor": "3"}
    async with memory_cluster(3, **settings) as cluster:
        await cluster.create_topic("t")
        tp = TopicPartition("__consumer_offsets", 0)
        await cluster.ask(1, FindCoordinatorRequest(key="g"), 3)  # which makes the topic
        with trio.fail_after(60):
            await cluster.wait_ready(tp.topic, 3)
        home = cluster.leader_of(tp.topic)
        partition = cluster.services(home).partitions.get(tp)
        next_home = next(broker for broker in partition.replicas if broker != home)
        await commit(cluster, home, 5)
        with trio.fail_after(60):
            while cluster.services(next_home).partitions.get(tp).log.log_end < 1:  # noqa: ASYNC110
                await trio.sleep(0.1)
        path = f"/data/{tp}/00000000000000000000.log"
        cluster.disks[next_home].flip_bit(path, 80, 3)
        await cluster.stop(home)
        sound = ({1, 2, 3} - {home, next_home}).pop()
        request = OffsetFetchRequest(
            group_id="g", topics=[OffsetFetchRequestTopic(name="t", partition_indexes=[0])]
        )
        with trio.fail_after(60):
            while True:
                answer = await cluster.ask(sound, request, 5)
                if answer.error_code == 0:
                    break
                await trio.sleep(0.2)
        assert answer.topics[0].partitions[0].committed_offset == 5
        assert cluster.events[next_home].named("log.corrupt_batch_found")


async def commit(cluster: MemoryCluster, broker: int, offset: int) -> None:
    """Of the group "g" for t-0, until it is taken."""
    row = OffsetCommitRequestPartition(
        partition_index=0, committed_offset=offset, committed_metadata=""
    )
    request = OffsetCommitRequest(
        group_id="g",
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=[OffsetCommitRequestTopic(name="t", partitions=[row])],
    )
    with trio.fail_after(60):
        while True:
            answer = await cluster.ask(broker, request, 6)
            if answer.topics[0].partitions[0].error_code == 0:
                return
            await trio.sleep(0.2)
