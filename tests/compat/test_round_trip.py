"""What every client is for: produce, read in a consumer group, go on where the group stopped."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ottla.protocol.kafka.compression import Codec
from ottla.protocol.kafka.records import BatchHeader, iter_headers
from tests.compat.clients import CLIENTS, ConfluentKafka, Kcat, Outside, Record, run_kcat
from tests.compat.conftest import MakeTopic
from tests.support.processes import LocalCluster

pytestmark = [pytest.mark.compat, pytest.mark.integration, pytest.mark.slow]

CODECS = [codec for codec in Codec if codec is not Codec.NONE]


def keyed(count: int, first: int = 0) -> list[Record]:
    return [
        Record(b"key %d" % number, f"value {number} žluťoučký kůň".encode())
        for number in range(first, first + count)
    ]


def batches(cluster: LocalCluster, topic: str, partition: int = 0) -> list[BatchHeader]:
    """What the leader has on disk: with acks=1 it has more than the others."""
    segments = cluster.home.glob(f"broker-*/{topic}-{partition}/*.log")
    content = max((segment.read_bytes() for segment in segments), key=len)
    return [header for _, header in iter_headers(content)]


def other_clients(client: Outside) -> Iterator[Outside]:
    for other in CLIENTS:
        if other is not client and (not isinstance(other, Kcat) or Kcat.is_there()):
            yield other


def test_group_goes_on_where_it_stopped(
    client: Outside, bootstrap: str, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=3)
    records = keyed(300)
    client.produce(bootstrap, topic, records)
    found = client.read(bootstrap, topic, "round-trip-" + topic, 300)
    assert Counter(read.record for read in found) == Counter(records)
    for partition in range(3):
        offsets = [read.offset for read in found if read.partition == partition]
        assert offsets == list(range(len(offsets)))
    committed = client.committed(bootstrap, topic, "round-trip-" + topic)
    assert sum(committed.values()) == 300

    later = keyed(50, first=300)
    client.produce(bootstrap, topic, later)
    found = client.read(bootstrap, topic, "round-trip-" + topic, 50)
    assert Counter(read.record for read in found) == Counter(later)


def test_topic_is_made_by_its_first_use(client: Outside, bootstrap: str) -> None:
    topic = f"made-by-{client.name}"
    client.produce(bootstrap, topic, keyed(5))
    assert [read.record for read in client.read(bootstrap, topic, topic, 5)] == keyed(5)


def test_offsets_of_one_client_are_continued_by_the_next(
    bootstrap: str, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=1)
    everyone = [CLIENTS[0], *other_clients(CLIENTS[0])]
    for turn, one in enumerate(everyone * 2):
        records = keyed(10, first=10 * turn)
        ConfluentKafka().produce(bootstrap, topic, records)
        assert [read.record for read in one.read(bootstrap, topic, "relay", 10)] == records
        for each in everyone:
            assert each.committed(bootstrap, topic, "relay") == {0: 10 * (turn + 1)}


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name.lower())
def test_compressed_batches_are_kept_and_read_by_all(
    client: Outside, codec: Codec, cluster: LocalCluster, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=1)
    records = [Record(None, b"the same again and again " * 40)] * 50
    client.produce(cluster.bootstrap, topic, records, compression_type=codec.name.lower())
    assert {header.codec for header in batches(cluster, topic)} == {codec}
    for other in [client, *other_clients(client)]:
        found = other.read(cluster.bootstrap, topic, f"{topic}-{other.name}", 50)
        assert [read.record for read in found] == records


def test_headers_arrive_in_order(client: Outside, bootstrap: str, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=1)
    sent = Record(b"k", b"v", (("a", b"1"), ("b", b"2"), ("a", b"3"), ("empty", b"")))
    client.produce(bootstrap, topic, [sent])
    for other in [client, *other_clients(client)]:
        (found,) = other.read(bootstrap, topic, f"{topic}-{other.name}", 1)
        assert found.record == sent


def test_null_key_and_null_value(client: Outside, bootstrap: str, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=1)
    sent = [Record(None, b"value"), Record(b"tombstone", None)]
    client.produce(bootstrap, topic, sent)
    for other in [client, *other_clients(client)]:
        found = other.read(bootstrap, topic, f"{topic}-{other.name}", 2)
        assert [read.record for read in found] == sent


def test_record_of_900_kilobytes(
    client: Outside, bootstrap: str, make_topic: MakeTopic, tmp_path: Path
) -> None:
    topic = make_topic(partitions=1)
    sent = Record(b"large" if client.name != "kcat" else None, b"0123456789" * 90_000)
    if isinstance(client, Kcat):
        (tmp_path / "large").write_bytes(sent.value or b"")
        run_kcat(bootstrap, "-P", "-t", topic, "large", cwd=tmp_path)
    else:
        client.produce(bootstrap, topic, [sent] * 3)
    for other in [client, *other_clients(client)]:
        found = other.read(bootstrap, topic, f"{topic}-{other.name}", 1)
        assert found[0].record == sent


def test_idempotent_producer_numbers_its_batches(
    client: Outside, cluster: LocalCluster, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=1)
    client.produce(cluster.bootstrap, topic, keyed(500), enable_idempotence=True)
    headers = batches(cluster, topic)
    assert len({header.producer_id for header in headers}) == 1
    assert headers[0].producer_id >= 0
    sequence = 0
    for header in headers:
        assert header.base_sequence == sequence
        sequence += header.record_count
    assert sequence == 500
    found = client.read(cluster.bootstrap, topic, topic, 500)
    assert [read.record for read in found] == keyed(500)
