"""The metadata cache under UpdateMetadata requests."""

from uuid import UUID

from ottla.broker.ids import TopicPartition
from ottla.broker.metadata import MetadataCache
from ottla.runtime.interfaces import Address
from tests.support.images import broker, partition, topic, update

T0 = TopicPartition("t", 0)


def cache(*requests) -> MetadataCache:
    metadata = MetadataCache()
    for request in requests:
        metadata.apply(request)
        metadata.check()
    return metadata


def test_an_update_changes_what_it_names_and_nothing_else():
    metadata = cache(
        update(topic("t", 1, partition(0, 1), partition(1, 2)), topic("u", 2, partition(0, 3))),
        update(topic("t", 1, partition(1, 3, epoch=6))),
    )
    assert metadata.partition(T0).leader == 1
    assert metadata.partition(TopicPartition("t", 1)).leader == 3
    assert metadata.partition_count("u") == 1
    assert metadata.topic_by_id(UUID(int=2)).name == "u"


def test_every_update_names_all_live_brokers():
    metadata = cache(update(), update(brokers=(broker(2),), controller=2))
    assert list(metadata.brokers) == [2]
    assert metadata.controller_id == 2
    assert metadata.endpoint(2, "PLAINTEXT") == Address("host2", 9002)
    assert metadata.endpoint(2, "OTHER") is None
    assert metadata.endpoint(1, "PLAINTEXT") is None


def test_a_partition_with_leader_minus_2_is_gone_and_with_the_last_one_its_topic():
    metadata = cache(update(topic("t", 1, partition(0, 1), partition(1, 1))))
    assert metadata.apply(update(topic("t", 1, partition(0, -2)))) == [T0]
    assert metadata.partition(T0) is None
    assert metadata.topic("t") is not None
    metadata.apply(update(topic("t", 1, partition(1, -2))))
    assert metadata.topic("t") is None
    assert metadata.topic_by_id(UUID(int=1)) is None
    metadata.check()


def test_a_topic_created_anew_keeps_nothing_of_the_old_one():
    metadata = cache(
        update(topic("t", 1, partition(0, 1), partition(1, 1))),
        update(topic("t", 9, partition(0, 2))),
    )
    assert metadata.partition_count("t") == 1
    assert metadata.topic_by_id(UUID(int=1)) is None
    assert metadata.topic_id("t") == UUID(int=9)


def test_a_leader_that_is_not_alive_is_no_leader():
    metadata = cache(update(topic("t", 1, partition(0, 3)), brokers=(broker(1),)))
    assert metadata.leader_of(T0) is None
    metadata.apply(update())
    assert metadata.leader_of(T0).leader == 3


def test_encodings_are_kept_until_something_changes():
    metadata = cache(update())
    made = []

    def encode() -> bytes:
        made.append(1)
        return b"x"

    for _ in range(3):
        assert metadata.encoded("key", encode) == b"x"
    assert len(made) == 1
    metadata.apply(update())
    metadata.encoded("key", encode)
    assert len(made) == 2
    for number in range(1000):
        metadata.encoded(number, encode)
    assert len(metadata._encodings) <= 64
