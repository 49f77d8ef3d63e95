"""One coordinator member as a process: `python -m tests.integration.coordinator_daemon JSON`."""

import json
import signal
import sys
from functools import partial

import trio

from ottla.coordinator.main import run_coordinator
from ottla.coordinator.settings import CoordinatorSettings
from ottla.runtime.interfaces import Address
from ottla.runtime.real import real_runtime


class PrintedEvents:
    """One JSON line per event on standard output."""

    def __init__(self, **bound):
        self._bound = bound

    def bind(self, **fields):
        return PrintedEvents(**self._bound, **fields)

    def debug(self, event, **fields):
        pass

    def info(self, event, **fields):
        print(json.dumps({"event": event, **self._bound, **fields}, default=str), flush=True)

    warning = error = info


async def main(wanted):
    hosts = wanted.get("hosts", {})
    members = {
        int(me): Address(hosts.get(me, "127.0.0.1"), port) for me, port in wanted["peers"].items()
    }
    settings = CoordinatorSettings(
        data_dir=wanted["data"],
        my_id=wanted["me"],
        members=members,
        client_address=Address(hosts.get(str(wanted["me"]), "127.0.0.1"), wanted["client_port"]),
        tick_time_ms=wanted.get("tick_time_ms", 2000),
        four_letter_whitelist=frozenset({"*"}),
    )
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            await nursery.start(
                partial(run_coordinator, settings, real_runtime(PrintedEvents()), stop=stop)
            )
            async for _ in signals:
                stop.set()
                break


if __name__ == "__main__":
    trio.run(main, json.loads(sys.argv[1]))
