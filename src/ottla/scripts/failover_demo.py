"""The failover demo: leaders are killed while a text goes through a cluster, and nothing is lost.

Behind scripts/failover-demo.sh. Every line of a large text is produced (keyed, acks=all,
idempotent) into a topic of 6 partitions with 3 replicas while a group of three members reads it.
One after the other a partition's leader, the controller and the ensemble's leader are ended with
SIGKILL and started again. At the end every line has to be in the log exactly once, in order within
its partition; the group has to have read each at least once; the replicas have to be equal, byte
for byte.
"""

import argparse
import hashlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ottla.scripts import cluster, local_members
from ottla.scripts.cluster_layout import HOST, Layout, Member
from ottla.scripts.demo_traffic import GroupReaders, LineProducer, check_log
from ottla.scripts.ports import is_free

TOPIC = "failover-demo"
PARTITIONS = 6
REPLICAS = 3
LINES_MIN = 200_000
DOWN_SECONDS = 3.0
SETTLE_SECONDS = 60.0


class DemoFailed(Exception):
    """The demo cannot go on, or found something wrong; the text is for the person watching."""


# The text


def find_text() -> list[bytes]:
    """At least `LINES_MIN` lines of real text from this machine, whichever it has."""
    for pattern in ("/usr/share/dict/*", "/var/log/*.log", "/var/log/**/*.log"):
        for path in sorted(Path("/").glob(pattern.removeprefix("/"))):
            with suppress(OSError):
                if path.is_file() and len(lines := read_lines(path)) >= LINES_MIN:
                    return lines
    # Every machine that runs this has the sources of its Python.
    lines = []
    for path in sorted(Path(os.__file__).parent.glob("**/*.py")):
        with suppress(OSError):
            lines += read_lines(path)
        if len(lines) >= LINES_MIN:
            return lines
    raise DemoFailed(f"no text of {LINES_MIN} lines was found; name one with --file")


def read_lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


# The cluster


@dataclass(frozen=True, slots=True)
class Kill:
    """One of the three: whom, and how many seconds writes paused for it."""

    what: str
    who: str
    pause_s: float


class DemoCluster:
    """A cluster of its own on free ports, in `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.layout = Layout(
            base_port=_free_ports(19092, 3, 0), coordinator_base_port=_free_ports(12181, 3, 1000)
        )

    def start(self) -> None:
        arguments = ["--data", str(self.home), "--base-port", str(self.layout.base_port)]
        arguments += ["--coordinator-base-port", str(self.layout.coordinator_base_port)]
        if cluster.start(arguments) != 0:
            raise DemoFailed("the cluster did not start")

    def stop(self) -> None:
        cluster.stop(["--data", str(self.home)])

    def kill(self, kind: str, id_: int) -> None:
        os.kill(local_members.running(self.home, kind, id_).pid, signal.SIGKILL)

    def restart(self, kind: str, id_: int) -> None:
        local_members.start(Member(kind, id_, self.home), SETTLE_SECONDS)

    def ensemble_leader(self) -> int:
        """The member that leads the others."""
        leader = local_members.ensemble_leader(self.layout)
        if leader is None:
            raise DemoFailed("the ensemble has no leader")
        return leader

    def log_digest(self, broker: int, partition: int) -> str:
        """A digest of all batches of one replica, wherever its segments begin."""
        digest = hashlib.sha256()
        directory = Member("broker", broker, self.home).data / f"{TOPIC}-{partition}"
        for segment in sorted(directory.glob("*.log")):
            digest.update(segment.read_bytes())
        return digest.hexdigest()


def _free_ports(first: int, count: int, also: int) -> int:
    """The first port from `first` on with `count` free ones in a row, and as many `also` above."""
    for base in range(first, 60_000, 10):
        ports = [base + n for n in range(count)] + [base + also + n for n in range(count)]
        if all(is_free(HOST, port) for port in ports):
            return base
    raise DemoFailed("no free ports")


# What is watched


class Metadata:
    """The cluster as its clients see it."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def create_topic(self) -> None:
        topic = NewTopic(TOPIC, PARTITIONS, REPLICAS, config={"min.insync.replicas": "2"})
        self._admin.create_topics([topic])[TOPIC].result(30)

    def controller(self) -> int:
        return self._admin.list_topics(timeout=10).controller_id

    def leader(self, partition: int) -> int:
        found = self._admin.list_topics(TOPIC, timeout=10)
        return found.topics[TOPIC].partitions[partition].leader

    def is_whole(self) -> bool:
        """Whether every partition has its leader and all its replicas in sync."""
        try:
            partitions = self._admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        except Exception:  # noqa: BLE001  librdkafka's time-outs while nobody leads
            return False
        return len(partitions) == PARTITIONS and all(
            each.leader >= 0 and len(each.isrs) == REPLICAS for each in partitions.values()
        )


class Progress:
    """One line that changes on a terminal; a line every few seconds elsewhere."""

    def __init__(self, lines: int, producer: LineProducer, readers: GroupReaders) -> None:
        self._lines = lines
        self._producer = producer
        self._readers = readers
        self._live = sys.stdout.isatty()
        self._last = 0.0

    def show(self, what: str) -> None:
        now = time.monotonic()
        if now - self._last < (0.2 if self._live else 5.0):
            return
        self._last = now
        read = self._lines - self._readers.missing
        text = (
            f"acknowledged {self._producer.acked:>9,}  read {read:>9,}  of {self._lines:,}  {what}"
        )
        print(f"\r{text:<100}" if self._live else text, end="" if self._live else "\n", flush=True)

    def say(self, text: str) -> None:
        print(f"\r{text:<100}" if self._live else text, flush=True)


# The demo


class Demo:
    """One run, from a started cluster to the verdict."""

    def __init__(self, demo_cluster: DemoCluster, lines: Sequence[bytes], rate: int) -> None:
        bootstrap = demo_cluster.layout.bootstrap
        self._cluster = demo_cluster
        self._lines = lines
        self._metadata = Metadata(bootstrap)
        self._producer = LineProducer(bootstrap, TOPIC, lines, rate)
        self._readers = GroupReaders(bootstrap, TOPIC, len(lines), members=3)
        self._progress = Progress(len(lines), self._producer, self._readers)

    def run(self) -> list[Kill]:
        """Produce, read, kill, check. DemoFailed says what was wrong."""
        self._metadata.create_topic()
        self._readers.start()
        self._producer.start()
        kills = [
            self._kill(1, "leader of partition 0", "broker", lambda: self._metadata.leader(0)),
            self._kill(2, "controller", "broker", self._metadata.controller),
            self._kill(3, "ensemble leader", "coordinator", self._cluster.ensemble_leader),
        ]
        self._producer.let_end()
        self._wait("the rest of the text", lambda: self._producer.is_done)
        self._wait("the group", lambda: not self._readers.missing)
        self._readers.stop()
        return kills

    def _kill(self, number: int, what: str, kind: str, find: Callable[[], int]) -> Kill:
        share = len(self._lines) * number // 4
        self._wait(
            f"a quarter more of the text, then the {what} dies",
            lambda: self._producer.acked >= share,
        )
        self._wait("full replication", self._metadata.is_whole)
        if self._producer.is_done:
            raise DemoFailed(f"the text ended before the {what} was killed; lower --rate")
        victim = find()
        before = time.perf_counter()
        self._cluster.kill(kind, victim)
        self._progress.say(f"killed the {what}, {kind} {victim} (kill -9)")
        self._pause(DOWN_SECONDS, f"{kind} {victim} is down")
        self._cluster.restart(kind, victim)
        self._progress.say(f"started {kind} {victim} again")
        self._wait(
            "all partitions to go on",
            lambda: self._producer.partitions_acked_since(before + DOWN_SECONDS) == PARTITIONS,
        )
        self._wait("full replication", self._metadata.is_whole)
        pause = max(self._producer.longest_pauses(before))
        self._progress.say(f"writes paused for {pause:.2f} s at most in any partition")
        return Kill(what, f"{kind} {victim}", pause)

    def _pause(self, seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._progress.show(what)
            time.sleep(0.05)

    def _wait(self, what: str, done: Callable[[], bool]) -> None:
        acked, since = self._producer.acked, time.monotonic()
        read = self._readers.read
        while not done():
            failure = self._producer.failure or self._readers.failure
            if failure is not None:
                raise DemoFailed(failure)
            if (self._producer.acked, self._readers.read) != (acked, read):
                acked, read, since = self._producer.acked, self._readers.read, time.monotonic()
            elif time.monotonic() - since > SETTLE_SECONDS:
                raise DemoFailed(f"nothing moved for {SETTLE_SECONDS:g} s, waiting for {what}")
            self._progress.show(f"waiting for {what}")
            time.sleep(0.05)

    def check(self) -> list[str]:
        """What is wrong in the logs; empty when nothing is."""
        wrong = check_log(self._cluster.layout.bootstrap, TOPIC, PARTITIONS, self._lines)
        for partition in range(PARTITIONS):
            digests = {self._cluster.log_digest(broker, partition) for broker in (1, 2, 3)}
            if len(digests) != 1:
                wrong.append(f"the replicas of partition {partition} differ")
        return wrong


def main() -> int:
    options = _parser().parse_args()
    try:
        lines = read_lines(options.file) if options.file else find_text()
        lines = list(islice(lines, options.lines))
        home = options.data or Path(tempfile.mkdtemp(prefix="ottla-failover-"))
        demo_cluster = DemoCluster(home.absolute())
        print(f"{len(lines):,} lines; the cluster's data is in {demo_cluster.home}")
        demo_cluster.start()
    except (DemoFailed, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    passed = False
    try:
        demo = Demo(demo_cluster, lines, options.rate)
        kills = demo.run()
        print("\nreading the whole topic, comparing replicas ...", flush=True)
        wrong = demo.check()
        _report(kills, wrong, len(lines))
        passed = not wrong
    except (DemoFailed, local_members.MemberFailed) as error:
        print(f"\nFAILED: {error}\nlogs: {demo_cluster.home / 'logs'}", file=sys.stderr)
    finally:
        demo_cluster.stop()
        if passed and options.data is None:
            shutil.rmtree(demo_cluster.home)
    return 0 if passed else 1


def _report(kills: list[Kill], wrong: list[str], lines: int) -> None:
    for kill in kills:
        print(f"{kill.what:<24}{kill.who:<16}writes paused {kill.pause_s:6.2f} s")
    if wrong:
        for text in wrong[:20]:
            print(f"WRONG: {text}")
        print(f"{len(wrong)} things are wrong")
        return
    print(f"all {lines:,} lines are in the log exactly once and in order")
    print("the group has read each of them; the replicas are equal, byte for byte")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="failover-demo.sh",
        description="Kills a partition's leader, the controller and the ensemble's leader under"
        " load, in a cluster of its own, and shows that nothing is lost.",
    )
    parser.add_argument("--file", type=Path, help="a text; default: a large one of this machine")
    parser.add_argument("--lines", type=int, help="take only that many lines")
    parser.add_argument(
        "--rate", type=int, default=6000, help="lines a second, 0 is no limit; default: 6000"
    )
    parser.add_argument(
        "--data", type=Path, help="keep the cluster's data here; default: a temporary directory"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
