import pytest

from ottla.coordinator.tree.access import OPEN, access_list, digest_id
from ottla.coordinator.tree.values import NodeChange, Refused
from ottla.coordinator.tree.watches import Watches
from ottla.protocol.zookeeper.data import ACL, put_acls
from ottla.protocol.zookeeper.messages import (
    CheckWatchesRequest,
    ExistsRequest,
    GetChildrenRequest,
    GetDataRequest,
    SetWatches2,
)
from ottla.protocol.zookeeper.opcodes import EventType, OpCode, WatcherType
from tests.support.solo_tree import SoloTree

CREATED, DELETED, CHANGED, CHILDREN = (
    EventType.NODE_CREATED,
    EventType.NODE_DELETED,
    EventType.NODE_DATA_CHANGED,
    EventType.NODE_CHILDREN_CHANGED,
)


def fire(watches, *changes, acl=OPEN, auth_of=None):
    fired = watches.trigger([NodeChange(kind, path, acl) for kind, path in changes], auth_of)
    watches.check()
    return [(session, event.type, event.path) for session, event in fired]


def test_a_read_leaves_a_watch_that_fires_once():
    solo = SoloTree()
    solo.create("/a")
    solo.read(OpCode.GET_DATA, GetDataRequest("/a", watch=True))
    solo.read(OpCode.GET_CHILDREN, GetChildrenRequest("/a", watch=True))
    assert solo.watches.count == 2
    assert fire(solo.watches, (CHANGED, "/a")) == [(solo.session, CHANGED, "/a")]
    assert fire(solo.watches, (CHANGED, "/a")) == []
    assert fire(solo.watches, (CHILDREN, "/a"), (CHILDREN, "/a")) == [
        (solo.session, CHILDREN, "/a")
    ]


def test_a_deletion_is_told_once_to_who_watches_data_and_children():
    watches = Watches()
    watches.watch_data("/a", 1)
    watches.watch_children("/a", 1)
    watches.watch_children("/a", 2)
    assert fire(watches, (DELETED, "/a")) == [(1, DELETED, "/a"), (2, DELETED, "/a")]
    assert watches.count == 0


def test_exists_waits_for_a_node_that_is_not_there():
    solo = SoloTree()
    with pytest.raises(Refused, match="NONODE"):
        solo.read(OpCode.EXISTS, ExistsRequest("/new", watch=True))
    assert fire(solo.watches, *solo_events(solo)) == [(solo.session, CREATED, "/new")]


def solo_events(solo):
    return [(event.kind, event.path) for event in solo.create("/new").events]


def test_persistent_watches_stay():
    watches = Watches()
    watches.watch_always("/a", 1, recursive=False)
    watches.watch_data("/a", 1)
    for _ in range(2):
        assert fire(watches, (CHANGED, "/a")) == [(1, CHANGED, "/a")]
        assert fire(watches, (CHILDREN, "/a")) == [(1, CHILDREN, "/a")]
    assert fire(watches, (CHANGED, "/a/b")) == []


def test_recursive_watches_hear_of_everything_below_but_child_events():
    watches = Watches()
    watches.watch_always("/a", 1, recursive=True)
    watches.watch_always("/", 2, recursive=True)
    watches.watch_data("/a/b/c", 1)
    assert fire(watches, (CREATED, "/a/b/c")) == [(1, CREATED, "/a/b/c"), (2, CREATED, "/a/b/c")]
    assert fire(watches, (CHILDREN, "/a/b"), (CHILDREN, "/a")) == []
    assert fire(watches, (CHANGED, "/a")) == [(1, CHANGED, "/a"), (2, CHANGED, "/a")]
    assert fire(watches, (CHANGED, "/ab")) == [(2, CHANGED, "/ab")]
    watches.forget(2)
    assert fire(watches, (CHANGED, "/ab")) == []


def test_who_may_not_read_a_node_learns_nothing_of_it():
    owner = digest_id(b"a:b")
    acl = access_list(put_acls([ACL(31, owner)]))
    watches = Watches()
    for session in (1, 2):
        watches.watch_data("/a", session)
    auth = {1: [], 2: [owner]}
    assert fire(watches, (CHANGED, "/a"), acl=acl, auth_of=auth.get) == [(2, CHANGED, "/a")]
    assert watches.count == 0


@pytest.mark.parametrize("kind", list(WatcherType))
def test_watches_are_found_and_removed_by_kind(kind):
    watches = Watches()
    watches.watch_data("/a", 1)
    watches.watch_children("/a", 1)
    watches.watch_always("/a", 1, recursive=False)
    watches.watch_always("/a", 1, recursive=True)
    assert watches.has("/a", 1, kind)
    assert watches.remove("/a", 1, kind)
    watches.check()
    assert not watches.has("/a", 1, kind)
    assert not watches.remove("/a", 1, kind)
    others = [other for other in WatcherType if other is not kind]
    left = [other for other in others if watches.has("/a", 1, other)]
    assert left == ([] if kind is WatcherType.ANY else others)
    request = CheckWatchesRequest("/a", int(kind))
    assert request.type == kind


def test_rearming_fires_at_once_what_happened_meanwhile():
    solo = SoloTree()
    for path in ("/same", "/changed", "/grown", "/gone", "/made"):
        solo.create(path)
    seen = solo.tree.last_zxid
    solo.set("/changed")
    solo.create("/grown/child")
    solo.delete("/gone")
    everything = ["/same", "/changed", "/grown", "/gone"]
    request = SetWatches2(seen, everything, ["/made", "/never"], everything, ["/p"], ["/r"])
    fired = solo.watches.rearm(9, request, solo.tree)
    assert [(event.type, event.path) for _, event in fired] == [
        (CHANGED, "/changed"), (DELETED, "/gone"), (CREATED, "/made"),
        (CHILDREN, "/grown"), (DELETED, "/gone"),
    ]  # fmt: skip
    solo.watches.check()
    assert sorted(solo.watches.paths()) == ["/changed", "/grown", "/never", "/p", "/r", "/same"]
    assert fire(solo.watches, (CREATED, "/never"), (CHANGED, "/grown")) == [
        (9, CREATED, "/never"), (9, CHANGED, "/grown"),
    ]  # fmt: skip


def test_a_persistent_watch_outlives_a_one_shot_watch_on_the_same_path():
    """ZOOKEEPER-4466: the one-shot watch took the persistent one with it."""
    watches = Watches()
    change = NodeChange(EventType.NODE_DATA_CHANGED, "/a", OPEN)
    for recursive in (False, True):
        watches.watch_always("/a", 1, recursive=recursive)
        watches.watch_data("/a", 1)
        for _ in range(3):
            assert [session_id for session_id, _ in watches.trigger([change])] == [1]
        watches.forget(1)
