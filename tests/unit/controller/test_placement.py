"""Replica placement and topic names, after Kafka's AdminUtilsTest and TopicTest."""

import random
from collections import Counter

import pytest

from ottla.broker.controller import placement
from ottla.broker.controller.placement import Candidate, Refused
from ottla.protocol.kafka.errors import ErrorCode
from tests.unit.controller.brokers import info

RACKS = {0: "rack1", 1: "rack3", 2: "rack3", 3: "rack2", 4: "rack2", 5: "rack1"}


def brokers(count):
    return [Candidate(at) for at in range(count)]


def test_rack_unaware_placement_matches_kafkas_table():
    """The expected table is AdminUtilsTest.testReplicaAssignment's."""
    assigned = placement.assign_replicas(brokers(5), 10, 3, random.Random(1), start_index=0)
    assert assigned == {
        0: [0, 1, 2],
        1: [1, 2, 3],
        2: [2, 3, 4],
        3: [3, 4, 0],
        4: [4, 0, 1],
        5: [0, 2, 3],
        6: [1, 3, 4],
        7: [2, 4, 0],
        8: [3, 0, 1],
        9: [4, 1, 2],
    }


def test_racks_alternate():
    """The example in AdminUtils' documentation."""
    assert placement.alternate_racks(RACKS) == [0, 3, 1, 5, 4, 2]


def test_rack_aware_placement_matches_the_documented_example():
    candidates = [Candidate(broker, rack) for broker, rack in sorted(RACKS.items())]
    assigned = placement.assign_replicas(candidates, 7, 3, random.Random(1), start_index=0)
    assert assigned == {
        0: [0, 3, 1],
        1: [3, 1, 5],
        2: [1, 5, 4],
        3: [5, 4, 2],
        4: [4, 2, 0],
        5: [2, 0, 3],
        6: [0, 4, 2],
    }


@pytest.mark.parametrize("seed", range(5))
def test_rack_aware_placement_uses_every_rack_and_spreads_leaders(seed):
    candidates = [Candidate(broker, rack) for broker, rack in sorted(RACKS.items())]
    assigned = placement.assign_replicas(candidates, 12, 3, random.Random(seed))
    for replicas in assigned.values():
        assert {RACKS[replica] for replica in replicas} == {"rack1", "rack2", "rack3"}
    assert set(Counter(replicas[0] for replicas in assigned.values()).values()) == {2}


def test_a_single_broker_takes_everything():
    assert placement.assign_replicas([Candidate(7)], 2, 1, random.Random(1)) == {0: [7], 1: [7]}


@pytest.mark.parametrize(
    ("partitions", "factor", "code"),
    [
        (0, 1, ErrorCode.INVALID_PARTITIONS),
        (1, 0, ErrorCode.INVALID_REPLICATION_FACTOR),
        (1, 4, ErrorCode.INVALID_REPLICATION_FACTOR),
    ],
)
def test_impossible_placements_are_refused(partitions, factor, code):
    with pytest.raises(Refused) as refusal:
        placement.assign_replicas(brokers(3), partitions, factor, random.Random(1))
    assert refusal.value.code is code


def test_racks_count_only_when_every_broker_has_one():
    some = placement.candidates([info(2, rack="a"), info(1)])
    assert some == [Candidate(1), Candidate(2)]
    every = placement.candidates([info(2, rack="a"), info(1, rack="b")])
    assert every == [Candidate(1, "b"), Candidate(2, "a")]


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "x" * 249, "..."])
def test_valid_topic_names(name):
    placement.check_topic_name(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        (".", "not allowed"),
        ("..", "not allowed"),
        ("x" * 250, "249"),
        ("a b", "alphanumerics"),
        ("a/b", "alphanumerics"),
        ("ä", "alphanumerics"),
        ("a\n", "alphanumerics"),
    ],
)
def test_invalid_topic_names(name, why):
    with pytest.raises(Refused, match=why) as refusal:
        placement.check_topic_name(name)
    assert refusal.value.code is ErrorCode.INVALID_TOPIC_EXCEPTION


def test_names_that_differ_by_dot_and_underscore_collide():
    assert placement.colliding_topics("a.b", ["a_b", "a.b", "ab"]) == ["a_b"]
    assert placement.colliding_topics("ab", ["a_b"]) == []


@pytest.mark.parametrize(
    "assignment",
    [
        {0: [1, 1]},
        {0: [1, 2], 1: [1]},
        {1: [1]},
        {0: []},
        {0: [-1]},
        {0: [1], 2: [1]},
    ],
)
def test_bad_manual_assignments_are_refused(assignment):
    with pytest.raises(Refused) as refusal:
        placement.check_manual_assignment(assignment)
    assert refusal.value.code is ErrorCode.INVALID_REPLICA_ASSIGNMENT


def test_added_partitions_go_on_after_the_first_one():
    added = placement.place_added_partitions({0: [1, 2]}, brokers(3), 3, None, random.Random(1))
    assert added == {1: [2, 1], 2: [0, 2]}


@pytest.mark.parametrize(
    ("count", "manual", "code"),
    [
        (1, None, ErrorCode.INVALID_PARTITIONS),
        (0, None, ErrorCode.INVALID_PARTITIONS),
        (2, [[0, 9]], ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (3, [[0, 1]], ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (2, [[0]], ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (2, [[0, 0]], ErrorCode.INVALID_REPLICA_ASSIGNMENT),
    ],
)
def test_bad_growth_is_refused(count, manual, code):
    with pytest.raises(Refused) as refusal:
        placement.place_added_partitions({0: [0, 1]}, brokers(3), count, manual, random.Random(1))
    assert refusal.value.code is code


def test_manual_growth_is_taken_as_given():
    added = placement.place_added_partitions(
        {0: [0, 1]}, brokers(3), 3, [[2, 0], [1, 2]], random.Random(1)
    )
    assert added == {1: [2, 0], 2: [1, 2]}
