"""librdkafka reads hundreds of partitions without fetch sessions: each request names them all."""

import random
import time
from collections import defaultdict

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.compat.clients import BOUND_S
from tests.compat.conftest import MakeTopic

pytestmark = [pytest.mark.compat, pytest.mark.integration, pytest.mark.slow]

PARTITIONS = 120  # a third of them on each broker, which is enough to be remembered there


def test_what_comes_to_few_of_many_partitions_is_read_once_and_in_order(
    bootstrap: str, make_topic: MakeTopic
) -> None:
    topic = make_topic(partitions=PARTITIONS)
    rng = random.Random(1)
    producer = Producer({"bootstrap.servers": bootstrap})
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(topic, index, 0) for index in range(PARTITIONS)])
    sent: defaultdict[int, list[bytes]] = defaultdict(list)
    found: defaultdict[int, list[bytes]] = defaultdict(list)
    try:
        for turn in range(30):
            for index in rng.sample(range(PARTITIONS), 7):
                value = b"%d" % turn
                sent[index].append(value)
                producer.produce(topic, value, partition=index)
            assert producer.flush(BOUND_S) == 0
            deadline = time.monotonic() + BOUND_S
            while sum(map(len, found.values())) < 7 * (turn + 1):
                assert time.monotonic() < deadline, f"turn {turn}: {found} of {sent}"
                message = consumer.poll(1.0)
                if message is not None:
                    assert message.error() is None
                    partition, value = message.partition(), message.value()
                    assert partition is not None
                    assert value is not None
                    found[partition].append(value)
        assert found == sent
    finally:
        consumer.close()
