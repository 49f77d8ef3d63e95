"""Entry of a broker: `python -m ottla.scripts.server FILE`, behind scripts/server-start.sh.

With `zookeeper.connect=embedded` a one-member coordinator runs in this process too: this module
composes the two, which meet on a loopback port and know nothing of each other.
"""

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from ottla.config.broker import BrokerConfig
from ottla.scripts import daemon

if TYPE_CHECKING:
    import trio

    from ottla.runtime.interfaces import Runtime


async def run_server(
    config: BrokerConfig,
    runtime: "Runtime",
    *,
    stop: "trio.Event",
    task_status: "trio.TaskStatus[object]",
) -> None:
    """A broker, with its own coordinator when the configuration asks for one.

    The broker ends first, so that it can still hand over and close its session.
    """
    from ottla.broker.main import run_broker

    if not config.uses_embedded_coordinator:
        await run_broker(config, runtime, stop=stop, task_status=task_status)
        return
    import dataclasses

    import trio

    from ottla.scripts.member import run_member
    from ottla.scripts.settings import embedded_settings

    settings = embedded_settings(config)
    coordinator_stop = trio.Event()
    inner = dataclasses.replace(runtime, events=runtime.events.bind(daemon="coordinator"))
    async with trio.open_nursery() as nursery:
        handle = await nursery.start(partial(run_member, settings, inner, stop=coordinator_stop))
        address = handle.client_address
        host = address.host if address.host not in {"", "::", "0.0.0.0"} else "localhost"
        located = config.with_ensemble(host, address.port)
        await run_broker(located, runtime, stop=stop, task_status=task_status)
        coordinator_stop.set()


def load(arguments: argparse.Namespace) -> daemon.Daemon:
    """Read and check the configuration. ConfigError names every problem."""
    config = BrokerConfig.load(arguments.config, arguments.override)

    def key_of_port(port: int) -> str | None:
        if any(listener.port == port for listener in config.listeners()):
            return f"listeners ({arguments.config})"
        if config.uses_embedded_coordinator and port == config.int(
            "embedded.coordinator.client.port"
        ):
            return f"embedded.coordinator.client.port ({arguments.config})"
        return None

    return daemon.Daemon(
        kind="broker",
        id=config.broker_id,
        body=lambda runtime: partial(run_server, config, runtime),
        key_of_port=key_of_port,
        warnings=config.warnings,
    )


def main() -> None:
    parser = daemon.parser(
        "server-start.sh",
        "Runs a broker, which speaks the Kafka protocol.",
        "config/server.properties",
    )
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text stream
    daemon.end(daemon.main(parser.parse_args(), load))


if __name__ == "__main__":
    main()
