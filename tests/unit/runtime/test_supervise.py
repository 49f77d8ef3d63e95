"""The life of a daemon: stop, abort, and who is told what."""

import os
import signal

import pytest
import trio
import trio.testing

from ottla.runtime.memory import RecordingEvents
from ottla.runtime.supervise import Progress, leaves, supervise


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_first_signal_asks_the_body_to_stop(number: signal.Signals) -> None:
    events, progress = RecordingEvents(), Progress()
    handed_over = False

    async def body(*, stop: trio.Event, task_status: trio.TaskStatus[object]) -> None:
        nonlocal handed_over
        task_status.started()
        await stop.wait()
        await trio.lowlevel.checkpoint()
        handed_over = True

    with trio.fail_after(5):
        await supervise(body, events, progress, lambda _: send(number))
    assert progress.started
    assert handed_over
    assert events.named("daemon.stopping")[0].fields == {"signal": number.name}


async def test_signal_during_the_start_ends_it() -> None:
    progress = Progress()

    async def body(*, stop: trio.Event, task_status: trio.TaskStatus[object]) -> None:
        send(signal.SIGTERM)
        await trio.sleep_forever()

    with trio.fail_after(5):
        await supervise(body, RecordingEvents(), progress, lambda _: None)
    assert not progress.started


async def test_failure_of_the_body_comes_out_after_its_helpers_ended() -> None:
    progress = Progress()

    async def body(*, stop: trio.Event, task_status: trio.TaskStatus[object]) -> None:
        task_status.started()
        await trio.lowlevel.checkpoint()
        raise LookupError("broken")

    with pytest.raises(ExceptionGroup) as caught, trio.fail_after(5):
        await supervise(body, RecordingEvents(), progress, lambda _: None)
    assert [type(leaf) for leaf in leaves(caught.value)] == [LookupError]
