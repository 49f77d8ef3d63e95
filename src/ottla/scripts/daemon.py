"""What the entry scripts of both daemons share: arguments, exit codes, messages, `-daemon`.

Exit codes: 0 after a clean stop, 78 (EX_CONFIG) for bad configuration, 1 otherwise. A mistake of
the user is one line on the standard error; a stack trace is left for our own mistakes.
"""

import argparse
import errno
import os
import re
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ottla.config.event_log import EventLogConfig, read_event_log
from ottla.config.problems import ConfigError, Problem
from ottla.runtime import collector
from ottla.runtime.interfaces import Runtime
from ottla.scripts import run_files
from ottla.scripts.background import READY, start_background
from ottla.scripts.ports import holder_of

if TYPE_CHECKING:
    from ottla.runtime.supervise import Body

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 78

_START_TIMEOUT_S = 60.0
_FILES_MAX = 1_048_576
# What the user can remove: everything else is ours and gets its stack trace.
_USER_ERRNOS = {
    errno.EACCES,
    errno.EADDRINUSE,
    errno.EADDRNOTAVAIL,
    errno.EAGAIN,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


@dataclass(frozen=True, slots=True)
class Daemon:
    """One daemon, configured: what to run and how to speak about it."""

    kind: str  # "broker" or "coordinator"
    id: int
    body: "Callable[[Runtime], Body]"
    key_of_port: Callable[[int], str | None]
    """The configuration key that asked for a port."""
    warnings: Sequence[Problem]

    @property
    def name(self) -> str:
        return f"{self.kind} {self.id}" if self.id >= 0 else self.kind


def parser(prog: str, description: str, example: str) -> argparse.ArgumentParser:
    """Arguments that both daemons take."""
    found = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"Exit codes: 0 clean stop, 78 bad configuration, 1 anything else. Keys: {example}"
        " and docs/config.md.",
    )
    found.add_argument("config", metavar="FILE", help="properties file")
    found.add_argument(
        "-daemon", "--daemon", action="store_true", help="run in the background, once it is up"
    )
    found.add_argument(
        "--override",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="use this instead of the file's line; may be given again",
    )
    found.add_argument(
        "--check-config", action="store_true", help="only say what is wrong with the file"
    )
    found.add_argument(
        "--logging",
        metavar="FILE",
        help="how events are written; default: logging.yaml beside the properties file, if any",
    )
    found.add_argument(
        "--log-file",
        metavar="FILE",
        help="where -daemon sends what would be printed; default: var/log/<daemon>.log",
    )
    found.add_argument(
        "--run-dir", metavar="DIR", type=Path, help="where the pid file goes; default: var/run"
    )
    found.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    return found


def main(arguments: argparse.Namespace, load: Callable[[argparse.Namespace], Daemon]) -> int:
    """Run a daemon to its end; the exit code."""
    if not __debug__:
        return _fail("Python runs with -O, which removes the checks that keep data safe; leave it")
    try:
        daemon = load(arguments)
        event_log = _event_log(arguments)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        print(_summary(len(error.problems)), file=sys.stderr)
        return EXIT_CONFIG
    if arguments.check_config:
        for warning in daemon.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(f"{arguments.config}: good")
        return EXIT_OK
    if arguments.daemon:
        return _spawn(daemon, arguments)
    return _run(daemon, event_log, arguments)


def _summary(count: int) -> str:
    return f"not started: {count} problem{'s' if count > 1 else ''}"


def _event_log(arguments: argparse.Namespace) -> EventLogConfig:
    if arguments.logging:
        return read_event_log(arguments.logging)
    beside = Path(arguments.config).parent / "logging.yaml"
    return read_event_log(str(beside)) if beside.exists() else EventLogConfig()


def _run(daemon: Daemon, event_log: EventLogConfig, arguments: argparse.Namespace) -> int:
    # Until trio's handlers are there, Ctrl-C ends the process as SIGTERM does, without a trace.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _raise_file_limit()
    # Imported after the configuration was found good, so that a bad one is told at once.
    import trio

    from ottla.runtime.events import open_events, open_sink
    from ottla.runtime.real import real_runtime
    from ottla.runtime.supervise import CannotStart, Misconfigured, Progress, leaves, supervise

    try:
        sink = open_sink(event_log.destination)
    except OSError as error:
        return _fail(f"logging destination {event_log.destination}: {error.strerror}")
    events = open_events(sink, level=event_log.level, areas=event_log.areas, form=event_log.format)
    for warning in daemon.warnings:
        events.warning("config.questioned", finding=str(warning))
    progress = Progress()
    registered: list[Path] = []
    on_started = partial(_announce, daemon, arguments, registered)
    body = daemon.body(real_runtime(events))
    collector.begin_start()
    try:
        trio.run(supervise, body, events, progress, on_started)
    except BaseException as error:  # noqa: BLE001  the outermost boundary: all become exit codes
        found = leaves(error)
        if not progress.started and all(isinstance(leaf, ConfigError) for leaf in found):
            for leaf in found:
                print(leaf, file=sys.stderr)
            return EXIT_CONFIG
        if not progress.started and all(
            isinstance(leaf, CannotStart | ConfigError) or _is_users(leaf) for leaf in found
        ):
            for leaf in found:
                _fail(f"{daemon.name} cannot start: {_describe(leaf, daemon)}")
            all_config = all(isinstance(leaf, Misconfigured) for leaf in found)
            return EXIT_CONFIG if all_config else EXIT_FAILED
        import traceback

        traceback.print_exception(error)
        events.error("daemon.crashed", reason="; ".join(repr(leaf) for leaf in found))
        return EXIT_FAILED
    finally:
        for path in registered:
            path.unlink(missing_ok=True)
    events.info("daemon.stopped")
    return EXIT_OK


def _raise_file_limit() -> None:
    """Take all the descriptors the system grants: a partition holds several, a client one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    bound = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (bound, hard))


def _announce(
    daemon: Daemon, arguments: argparse.Namespace, registered: list[Path], handle: object
) -> None:
    collector.end_start()
    own_id = getattr(handle, "broker_id", daemon.id)  # the ensemble may have handed it out
    try:
        run_dir = arguments.run_dir or run_files.default_run_dir()
        registered.append(run_files.register(run_dir, daemon.kind, own_id))
    except OSError as error:
        _fail(f"no pid file: {error}; stop this process by its id {os.getpid()}")
    if arguments.ready_fd is not None:
        os.write(arguments.ready_fd, READY)
        os.close(arguments.ready_fd)


def _is_users(error: BaseException) -> bool:
    return isinstance(error, socket.gaierror) or (
        isinstance(error, OSError) and error.errno in _USER_ERRNOS
    )


def _describe(error: BaseException, daemon: Daemon) -> str:
    if not isinstance(error, OSError):
        return str(error)
    text = error.strerror or str(error)
    if error.filename is not None:
        text += f": {error.filename}"
    port = re.search(r":(\d+)\)", text)
    if port is None or error.errno not in {errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL}:
        return text
    key = daemon.key_of_port(int(port[1]))
    holder = holder_of(int(port[1])) if error.errno == errno.EADDRINUSE else None
    return (
        text
        + (f", held by {holder}" if holder else "")
        + (f"; stop that, or set another port in {key}" if key else "")
    )


def _fail(text: str) -> int:
    print(text, file=sys.stderr, flush=True)
    return EXIT_FAILED


def _spawn(daemon: Daemon, arguments: argparse.Namespace) -> int:
    """Start this command again in the background, and wait until it is up or gone."""
    name = f"{daemon.kind}-{daemon.id}" if daemon.id >= 0 else daemon.kind
    log = Path(arguments.log_file or run_files.home() / "var" / "log" / f"{name}.log")
    words = [word for word in sys.argv[1:] if word not in {"-daemon", "--daemon"}]
    module = f"ottla.scripts.{'server' if daemon.kind == 'broker' else 'coordinator'}"
    child = start_background(module, words, log)
    code = child.wait_ready(time.monotonic() + _START_TIMEOUT_S)
    if code is None:
        child.let_go()
        print(f"{daemon.name} runs, pid {child.pid}; it writes to {log}")
        return EXIT_OK
    sys.stderr.write(child.output())
    return code


def end(code: int) -> NoReturn:
    """Leave the process; what was printed is out."""
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


__all__ = ["EXIT_CONFIG", "EXIT_FAILED", "EXIT_OK", "Daemon", "end", "main", "parser"]
