"""What the event log writes, and that a failing destination never stops a daemon."""

import contextlib
import json
from pathlib import Path

import pytest
import trio
import trio.testing

from ottla.runtime.events import LineSink, open_events, open_sink
from ottla.runtime.loop_lag import LoopLag
from ottla.runtime.memory import RecordingEvents


def test_json_lines_have_level_time_and_bound_fields(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    sink = open_sink(str(path))
    events = open_events(sink, form="json").bind(broker_id=1)
    events.info("isr.shrunk", partition="t-0", removed=[2])
    sink.close()
    (line,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "isr.shrunk", "level": "info", "broker_id": 1, "partition": "t-0", "removed": [2],
    }  # fmt: skip


def test_areas_have_levels_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    sink = open_sink(str(path))
    areas = {"isr": "debug", "log": "error"}
    events = open_events(sink, level="warning", areas=areas, form="json")
    for write in (events.debug, events.info, events.warning, events.error):
        write("isr.shrunk")
        write("log.rolled")
        write("broker.started")
    sink.close()
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["event"], line["level"]) for line in found] == [
        ("isr.shrunk", "debug"),
        ("isr.shrunk", "info"),
        ("isr.shrunk", "warning"),
        ("broker.started", "warning"),
        ("isr.shrunk", "error"),
        ("log.rolled", "error"),
        ("broker.started", "error"),
    ]


def test_console_lines_are_readable(capsys: pytest.CaptureFixture[str]) -> None:
    open_events(open_sink("stdout")).warning("loop.stalled", seconds=1.5)
    out = capsys.readouterr().out
    assert "[warning" in out
    assert "loop.stalled" in out
    assert "seconds=1.5" in out
    assert "\x1b" not in out, "no colours where nobody sees them"


def test_failing_destination_loses_lines_and_counts_them() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        sink = LineSink(full)
        sink.write_line("x")
        assert sink.lost == 1
        with contextlib.suppress(OSError):
            full.close()
        sink.write_line("y")
        assert sink.lost == 2


async def test_loop_lag_notices_a_held_loop(mock_clock: trio.testing.MockClock) -> None:
    lag, events = LoopLag(), RecordingEvents()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.watch, events)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(0.5)
        await trio.testing.wait_all_tasks_blocked()
        assert lag.last_s < 0.001
        mock_clock.jump(2.5)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert lag.take_worst() == pytest.approx(2.0)
    assert lag.take_worst() == 0.0
    assert events.named("loop.stalled")[0].fields == {"seconds": 2.0}
