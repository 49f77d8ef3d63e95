"""Clocks and recorded events that tests rely on."""

import trio
import trio.testing

from ottla.runtime.memory import FixedWallClock, RecordingEvents


async def test_following_clock_moves_with_trio(autojump_clock: trio.testing.MockClock) -> None:
    clock = FixedWallClock(1_000, follow=True)
    assert clock.now_ms() == 1_000
    await trio.sleep(2.5)
    assert clock.now_ms() == 3_500
    clock.advance(-500)
    assert clock.now_ms() == 3_000


def test_bound_fields_are_recorded_with_their_own() -> None:
    events = RecordingEvents()
    events.bind(broker_id=1).bind(partition="t-0").info("isr.shrunk", removed=2)
    entry = events.named("isr.shrunk")[0]
    assert (entry.level, entry.fields) == (
        "info",
        {"broker_id": 1, "partition": "t-0", "removed": 2},
    )


async def test_waiting_for_an_event_ends_with_its_nth_entry() -> None:
    events = RecordingEvents()
    found = []

    async def wait() -> None:
        found.append(await events.wait_for("leader.elected", count=2))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        events.info("leader.elected", epoch=1)
        events.info("other.thing")
        await trio.testing.wait_all_tasks_blocked()
        assert not found
        events.info("leader.elected", epoch=2)
    assert found[0].fields == {"epoch": 2}
