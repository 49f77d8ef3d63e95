"""The order of births, and dumps that walk it in slices."""

from ottla.coordinator.tree.births import PART_PATHS, Births
from ottla.coordinator.tree.tree import Tree
from tests.support.solo_tree import SoloTree


class Watched(dict):
    """A tree's nodes: looked up one by one, and counted, but never walked."""

    looked_up = 0

    def get(self, key, default=None):
        self.looked_up += 1
        return super().get(key, default)

    def _walked(self):
        raise AssertionError("a walk of all nodes at once")

    __iter__ = keys = values = items = copy = _walked


def grown(count):
    solo = SoloTree(checked=False)
    for number in range(count):
        solo.create(f"/{number:05}")
    return solo


def test_a_dump_looks_at_no_more_nodes_at_a_time_than_a_chunk_has():
    """With a million of them, as much as a list of all takes longer than a client may wait."""
    solo = grown(3_000)
    solo.tree.nodes = nodes = Watched(solo.tree.nodes)
    seen = 0
    for chunk in solo.tree.dump():
        assert chunk
        assert nodes.looked_up - seen <= PART_PATHS
        seen = nodes.looked_up
    assert seen == len(nodes) == 3_004


def test_paths_that_are_gone_are_forgotten_by_the_next_dump():
    solo = grown(10)
    for number in range(2_000):
        solo.create(f"/lock-{number}")
        solo.delete(f"/lock-{number}")
    assert sum(len(part.paths) for part in solo.tree.births.so_far()) == 2_014
    for _ in range(2):
        list(solo.tree.dump())
        parts = solo.tree.births.so_far()
        assert [len(part.paths) for part in parts] == [14]
    solo.tree.check()


def test_many_dumps_of_a_tree_that_grows_slowly_leave_few_parts():
    solo = SoloTree()
    for number in range(200):
        solo.create(f"/{number}")
        list(solo.tree.dump())
    assert len(solo.tree.births.so_far()) == 1


def test_a_dump_that_was_given_up_leaves_the_next_one_whole():
    solo = grown(2_500)
    for number in range(0, 2_500, 3):
        solo.delete(f"/{number:05}")
    dump = solo.tree.dump()
    for _ in range(3):
        next(dump)
    solo.create("/late")
    dump.close()
    loaded = Tree.load(list(solo.tree.dump()))
    assert list(loaded.nodes) == list(solo.tree.nodes)


def test_nodes_of_one_transaction_are_in_one_part():
    births = Births()
    for number in range(PART_PATHS - 1):
        births.add(f"/{number}", number)
    for number in range(10):
        births.add(f"/of-a-multi-{number}", PART_PATHS)
    births.add("/next", PART_PATHS + 1)
    assert [len(part.paths) for part in births.so_far()] == [PART_PATHS + 9, 1]
