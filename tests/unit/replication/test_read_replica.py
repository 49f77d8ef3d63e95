"""Which replica a consumer is sent to (KIP-392), by the rule of RackAwareReplicaSelector."""

import pytest

from ottla.broker.replication.read_replica import ReadReplica, choose_in_rack

RACKS = {1: "a", 2: "b", 3: "b", 4: "c", 5: None}


@pytest.mark.parametrize(
    ("rack", "followers", "chosen"),
    [
        ("a", [(2, 10, 0.0)], 1),  # the leader's own
        ("c", [(2, 10, 0.0)], 1),  # nobody there
        ("b", [(2, 10, 0.0)], 2),
        ("b", [(2, 10, 0.0), (3, 11, 0.0)], 3),  # has more
        ("b", [(2, 10, 2.0), (3, 10, 1.0)], 2),  # caught up later
        ("b", [(2, 10, 1.0), (3, 10, 1.0)], 3),
        ("b", [(5, 10, 0.0)], 1),  # nobody knows where that is
        ("b", [(9, 10, 0.0)], 1),  # cannot be reached
    ],
)
def test_choice(rack, followers, chosen) -> None:
    assert choose_in_rack(rack, 1, [ReadReplica(*each) for each in followers], RACKS) == chosen
