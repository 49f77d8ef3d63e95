"""Where a follower truncates: KIP-101, KIP-279 and the out-of-range cases of KIP-320."""

import pytest

from ottla.broker.ids import LeaderEpoch, Offset
from ottla.broker.replication.follower import (
    StartAt,
    Truncate,
    follower_high_watermark,
    move_after_out_of_range,
    truncation_after_divergence,
)


@pytest.mark.parametrize(
    ("leader", "local", "log_end", "cut"),
    [
        ((3, 50), (3, 60), 60, 50),  # both know the epoch, the leader has less of it
        ((3, 50), (3, 40), 70, 40),  # the follower left the epoch earlier
        ((3, 50), (2, 30), 70, 30),  # the follower never saw it: back to the end of the one before
        ((3, 50), (-1, -1), 70, 50),  # it knows no epoch at all
        ((3, 90), (3, 80), 70, 70),  # never beyond the own log
    ],
)
def test_truncation_goes_to_where_histories_part(leader, local, log_end, cut):
    assert truncation_after_divergence(
        leader_epoch=LeaderEpoch(leader[0]),
        leader_end=Offset(leader[1]),
        local_epoch=LeaderEpoch(local[0]),
        local_end=Offset(local[1]),
        log_end=Offset(log_end),
    ) == Truncate(Offset(cut))


@pytest.mark.parametrize(
    ("log_end", "leader_start", "leader_end", "move"),
    [
        (100, 0, 80, Truncate(Offset(80))),
        (100, 120, 200, StartAt(Offset(120))),
        (100, 0, 200, None),
        (100, 100, 100, None),
    ],
)
def test_out_of_range_follows_the_leader(log_end, leader_start, leader_end, move):
    assert (
        move_after_out_of_range(
            log_end=Offset(log_end),
            leader_start=Offset(leader_start),
            leader_end=Offset(leader_end),
        )
        == move
    )


def test_follower_never_calls_committed_what_it_lacks():
    assert follower_high_watermark(Offset(50), Offset(40)) == 40
    assert follower_high_watermark(Offset(30), Offset(40)) == 30
