"""Quotas: figures that follow the tree, hard limits that hold, soft ones that are told of."""

import pytest

from ottla.coordinator.tree.quotas import parse, text
from ottla.coordinator.tree.tree import Tree
from ottla.protocol.zookeeper.errors import ZkError
from tests.support.solo_tree import SoloTree

LIMITS = "/zookeeper/quota/app/zookeeper_limits"
STATS = "/zookeeper/quota/app/zookeeper_stats"


def solo_with(limits, **options):
    solo = SoloTree(**options)
    solo.create("/app", b"12345")
    solo.create("/zookeeper/quota/app")
    solo.create(LIMITS, limits)
    solo.create(STATS, b"count=-1,bytes=-1")
    return solo


def figures(solo):
    return parse(solo.tree.nodes[STATS].data)


def test_figures_begin_with_what_is_there_and_follow_every_change():
    solo = SoloTree()
    solo.create("/app", b"12345")
    solo.create("/app/x", b"123")
    solo.create("/zookeeper/quota/app")
    solo.create(LIMITS, b"count=9,bytes=99")
    solo.create(STATS, b"count=-1,bytes=-1")
    assert figures(solo) == {"count": 2, "bytes": 8}
    solo.create("/app/x/y", b"1")
    assert solo.set("/app/x", b"1234567").error is ZkError.OK
    assert figures(solo) == {"count": 3, "bytes": 13}
    solo.delete("/app/x/y")
    assert figures(solo) == {"count": 2, "bytes": 12}
    assert solo.stat(STATS).version == 0
    solo.delete(LIMITS)
    solo.create("/app/z")
    assert figures(solo) == {"count": 2, "bytes": 12}


def test_nearest_limits_count():
    solo = solo_with(b"count=9,bytes=99")
    solo.create("/app/in")
    solo.create("/zookeeper/quota/app/in")
    solo.create("/zookeeper/quota/app/in/zookeeper_limits", b"count=9,bytes=99")
    solo.create("/zookeeper/quota/app/in/zookeeper_stats", b"")
    before = figures(solo)
    solo.create("/app/in/x", b"12")
    inner = parse(solo.tree.nodes["/zookeeper/quota/app/in/zookeeper_stats"].data)
    assert inner == {"count": 2, "bytes": 2}
    assert figures(solo) == before


def test_hard_limits_refuse_when_enforced():
    solo = solo_with(b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=2", enforce_quota=True)
    assert solo.create("/app/x", b"1234").error is ZkError.OK
    assert solo.create("/app/y").error is ZkError.QUOTAEXCEEDED
    assert solo.set("/app/x", b"123456").error is ZkError.QUOTAEXCEEDED
    assert solo.set("/app/x", b"12345").error is ZkError.OK
    assert solo.set("/app/x", b"").error is ZkError.OK
    assert solo.create("/elsewhere", b"x" * 100).error is ZkError.OK


def test_soft_limits_are_told_of_and_pass():
    solo = solo_with(b"count=1,bytes=-1", enforce_quota=True)
    assert solo.decider.take_over_quota() == []
    assert solo.create("/app/x").error is ZkError.OK
    assert solo.decider.take_over_quota() == ["/app"]
    assert solo.decider.take_over_quota() == []


def test_nothing_is_refused_unless_enforced():
    solo = solo_with(b"count=-1,bytes=-1=;byteHardLimit=1;countHardLimit=1")
    assert solo.create("/app/x", b"1234").error is ZkError.OK


def test_limits_are_known_again_after_a_snapshot():
    solo = solo_with(b"count=9,bytes=99")
    loaded = Tree.load(solo.tree.dump())
    assert list(loaded.quotas.limited) == ["/app"]


@pytest.mark.parametrize(
    "data",
    [b"count=5,bytes=100", b"count=-1,bytes=-1=;byteHardLimit=200;countHardLimit=10"],
)
def test_text_is_what_zookeepers_tools_write(data):
    assert text(parse(data)) == data


@pytest.mark.parametrize("data", [None, b"", b"count", b"count=x;bytes=3", b"\xff=1,,;"])
def test_what_is_no_figure_is_left_out(data):
    assert set(parse(data)) <= {"count", "bytes", "�", ""}
