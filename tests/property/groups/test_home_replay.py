"""A second home that loads the log knows exactly what the first one had committed."""

from typing import Any

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from ottla.broker.groups.home import GroupHome
from ottla.broker.groups.values import MemberIdentity
from ottla.broker.ids import TopicPartition
from ottla.runtime.memory import FixedWallClock
from tests.support.group_home import QUICK, Consumer, Stage

GROUPS = st.sampled_from(["g", "h"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), GROUPS, st.integers(0, 3), st.integers(0, 99)),
        st.tuples(st.just("simple"), GROUPS, st.integers(0, 3), st.integers(0, 99)),
        st.tuples(st.just("join"), GROUPS),
        st.tuples(st.just("settle"), GROUPS),
        st.tuples(st.just("sync"), GROUPS),
        st.tuples(st.just("leave"), GROUPS),
        st.tuples(st.just("delete"), GROUPS),
        st.tuples(st.just("forget"), GROUPS, st.integers(0, 3)),
        st.tuples(st.just("topic")),
        st.tuples(st.just("hold"), st.booleans()),
        st.tuples(st.just("sleep"), st.sampled_from([1, 6, 15, 700])),
    ),
    max_size=30,
)


def committed(home: GroupHome) -> dict[str, Any]:
    """Of every group what its log says."""
    home.check()
    _, groups = home.groups()
    return {
        group.group_id: (
            group.last_record,
            {tp: group.offsets.get(tp) for tp in group.offsets.committed_keys()},
        )
        for group in groups
        if group.last_record is not None or len(group.offsets)
    }


async def act(home: GroupHome, stage: Stage, consumers: dict[str, Consumer], step: Any) -> None:
    what, *more = step
    match what, more:
        case "commit", [name, partition, offset]:
            consumers[name].commit(offset, partition=partition)
        case "simple", [name, partition, offset]:
            Consumer(home, name).commit(offset, partition=partition, topic="u")
        case "join", [name]:
            joining = consumers[name].join()
            await trio.testing.wait_all_tasks_blocked()
            if joining.is_ready() and not joining.get_nowait().error:
                consumers[name].take(joining.get_nowait())
            elif joining.is_ready():
                consumers[name] = Consumer(home, name)
        case "settle", [name]:
            await act(home, stage, consumers, ("join", name))
            consumers[name].sync(me=b"share")
        case "sync", [name]:
            consumers[name].sync(me=b"share")
        case "leave", [name]:
            home.leave(name, [MemberIdentity(consumers[name].member_id)])
        case "delete", [name]:
            home.delete(name)
        case "forget", [name, partition]:
            home.delete_offsets(name, [TopicPartition("u", partition)])
        case "topic", []:
            home.on_topic_deleted("t")
        case "hold", [held]:
            for each in stage.partitions.values():
                each.hold = held
                if not held:
                    each.commit()
        case "sleep", [seconds]:
            await trio.sleep(seconds)
    await trio.testing.wait_all_tasks_blocked()


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_replay_is_what_was_committed(steps: list[Any]) -> None:
    async def run() -> None:
        stage = Stage(QUICK, wall_clock=FixedWallClock(follow=True))
        async with stage.home() as home:
            consumers = {name: Consumer(home, name) for name in "gh"}
            for step in steps:
                await act(home, stage, consumers, step)
            await act(home, stage, consumers, ("hold", False))
            live = committed(home)
        async with stage.home() as home:
            assert committed(home) == live

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
