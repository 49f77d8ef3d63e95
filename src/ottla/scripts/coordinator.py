"""Entry of a coordinator member: behind scripts/coordinator-start.sh."""

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from ottla.config.coordinator import CoordinatorConfig
from ottla.scripts import daemon

if TYPE_CHECKING:
    import trio

    from ottla.runtime.interfaces import Runtime


async def run(
    config: CoordinatorConfig,
    runtime: "Runtime",
    *,
    stop: "trio.Event",
    task_status: "trio.TaskStatus[object]",
) -> None:
    """One member of the ensemble."""
    from ottla.scripts.member import run_member
    from ottla.scripts.settings import coordinator_settings

    settings = coordinator_settings(config)
    await run_member(settings, runtime, stop=stop, task_status=task_status)


def load(arguments: argparse.Namespace) -> daemon.Daemon:
    """Read and check the configuration. ConfigError names every problem."""
    config = CoordinatorConfig.load(arguments.config, arguments.override)

    def key_of_port(port: int) -> str | None:
        if port == config.client_port:
            return f"clientPort ({arguments.config})"
        if any(member.port == port for member in config.members.values()):
            return f"server.{config.my_id} ({arguments.config})"
        return None

    return daemon.Daemon(
        kind="coordinator",
        id=config.my_id,
        body=lambda runtime: partial(run, config, runtime),
        key_of_port=key_of_port,
        warnings=config.warnings,
    )


def main() -> None:
    parser = daemon.parser(
        "coordinator-start.sh",
        "Runs one member of the coordinator ensemble, which speaks the ZooKeeper protocol.",
        "config/coordinator.properties",
    )
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text stream
    daemon.end(daemon.main(parser.parse_args(), load))


if __name__ == "__main__":
    main()
