"""The faults of a run, each kind at its own pace.

What is legal for them:

* A killed broker or member keeps every byte it wrote: the page cache outlives a process.
* A power cut keeps what was synced and any part of the rest. Members sync before they acknowledge,
  so any number of them may lose power, at once too. Brokers acknowledge from the page cache, as
  Kafka's do: replication is what keeps an acknowledged record. So a broker loses power only while
  each of its partitions that is written to has another replica in sync that runs and has not
  restarted since it came into the ISR, and no other broker is killed before the ISRs were rid of
  it once. If an
  ISR shrinks to replicas that lost power all the same, its partition is excused
  (`BrokerChecker.note_power_cut`). Where brokers sync each batch (`Plan.durable`) nothing is
  excused, and any number of brokers may lose power, at once too.
* A disk fills up and is freed: what needs room is refused, nothing that was written changes.
* A bit that reads wrong for a while, see `flips`: on a broker while it runs, where another replica
  in sync runs too; on a member when it starts, below what its txn log knows to be safe. What is on
  the disk stays right, as with a bad cable or a sector that reads at the second attempt.
* The network: see `network`. Clocks: wall time only; monotonic time runs the same everywhere.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import trio

from ottla.broker.ids import TopicPartition
from ottla.coordinator.ports import NotServing
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.requests import DeleteRequest
from tests.simulation.world import flips, lanes
from tests.simulation.world.checkers import BrokerChecker
from tests.simulation.world.determinism import RunQueue
from tests.simulation.world.history import History
from tests.simulation.world.network import Fabric
from tests.simulation.world.nodes import Node


class Faults:
    """Injects what the plan names until cancelled; `heal` undoes everything that lasts."""

    def __init__(
        self,
        rng: random.Random,
        *,
        fabric: Fabric,
        members: Sequence[Node],
        brokers: Sequence[Node],
        checker: BrokerChecker,
        history: History,
        events,
        queue: RunQueue,
        durable: bool,
    ) -> None:
        self._durable = durable
        self._queue = queue
        self._history = history
        self.clients: list[str] = []  # processes of clients that may be paused
        self._rng = rng
        self._fabric = fabric
        self._members = list(members)
        self._brokers = list(brokers)
        self._nodes = [*members, *brokers]
        self._checker = checker
        self._events = events
        self.down_s: dict[str, float] = {}  # how long a node stays down after its next end
        self.counts: Counter[str] = Counter()
        self._flips: dict[TopicPartition, flips.Place] = {}  # on brokers, at most one per partition
        self._member_flips: list[flips.Place] = []
        for node in self._brokers:
            node.on_ended.append(self._undo_flips_of)

    async def run(self, kinds: dict[str, float]) -> None:
        async with trio.open_nursery() as nursery:
            for kind, mean_s in kinds.items():
                nursery.start_soon(self._repeat, kind, mean_s)

    async def _repeat(self, kind: str, mean_s: float) -> None:
        inject = getattr(self, f"_{kind}")
        while True:
            await trio.sleep(self._rng.expovariate(1 / mean_s))
            if await inject():
                self.counts[kind] += 1

    def heal(self) -> None:
        self._fabric.heal_all()
        for node in self._nodes:
            node.resume()
        self._queue.resume_all()
        for node in self._nodes:
            node.disk.failing_syncs = 0
            node.disk.stalled_until = 0.0
            node.disk.capacity_bytes = None
            self._undo_flips_of(node)
        for place in self._member_flips:
            place.undo()
        self._member_flips.clear()
        for link in self._fabric.links.values():
            link.delay_s, link.jitter_s = self._fabric.delay_s, self._fabric.jitter_s

    # Processes

    def _note(self, what: str, **fields: object) -> None:
        self._events.info(f"fault.{what}", **fields)

    async def _kill(self, nodes: list[Node]) -> bool:
        running = [node for node in nodes if node.running]
        if not running:
            return False
        node = self._rng.choice(running)
        self.down_s[node.name] = self._rng.choice((0.0, 0.5, 3.0, 10.0, 25.0))
        await node.kill()
        return True

    async def _kill_broker(self) -> bool:
        if any(self._checker.tainted.values()):
            # With every replica restarted, nobody can tell which of them lost records.
            return False
        return await self._kill(self._brokers)

    async def _kill_member(self) -> bool:
        return await self._kill(self._members)

    async def _stop_broker(self) -> bool:
        running = [node for node in self._brokers if node.handle is not None]
        if not running or any(self._checker.tainted.values()):
            return False
        node = self._rng.choice(running)
        self.down_s[node.name] = self._rng.choice((0.0, 3.0, 10.0))
        with trio.move_on_after(30) as patience:
            await node.stop()
        if patience.cancelled_caught:
            await node.kill()
        return True

    async def _power_broker(self) -> bool:
        node = self._rng.choice(self._brokers)
        if self._durable:
            return await self._power_off(node)
        broker = _broker_of(node)
        running = {
            _broker_of(each)
            for each in self._brokers
            if each.handle is not None and each is not node
        }
        for tp, state in self._checker.states.items():
            unclean = tp in self._history.unclean
            if broker not in state["isr"] or tp.topic in self._history.scratch or unclean:
                continue
            if not (self._checker.sure(tp) - {broker}) & running:
                return False
        self._checker.note_power_cut(broker)
        return await self._power_off(node)

    async def _power_off(self, node: Node) -> bool:
        self.down_s[node.name] = self._rng.choice((0.0, 3.0, 10.0, 25.0))
        await node.cut_power()
        return True

    async def _power_leader(self) -> bool:
        """Of some partition, while somebody writes to it."""
        leaders = {state["leader"] for state in self._checker.states.values()}
        nodes = [node for node in self._brokers if _broker_of(node) in leaders and node.handle]
        if not self._durable or not nodes:
            return False
        return await self._power_off(self._rng.choice(nodes))

    async def _power_brokers(self) -> bool:
        """All at once."""
        if not self._durable:
            return False
        for node in self._brokers:
            self.down_s[node.name] = self._rng.uniform(0.0, 5.0)
            await node.cut_power()
        return True

    async def _power_member(self) -> bool:
        return await self._power_off(self._rng.choice(self._members))

    async def _power_ensemble(self) -> bool:
        if self._rng.random() < 0.5:
            return False
        for node in self._members:
            self.down_s[node.name] = self._rng.uniform(0.0, 5.0)
            await node.cut_power()
        return True

    async def _pause(self) -> bool:
        node = self._rng.choice(self._nodes)
        if not node.running or node.paused:
            return False
        node.pause()
        await trio.sleep(self._rng.choice((0.2, 1.0, 3.0, 8.0, 20.0)))
        node.resume()
        return True

    async def _pause_client(self) -> bool:
        """A consumer that stops between two steps comes back to a group that went on without it."""
        if not self.clients:
            return False
        name = self._rng.choice(self.clients)
        lasts = self._rng.choice((1.0, 5.0, 15.0, 30.0))
        self._note("pause_client", client=name, seconds=lasts)
        self._queue.pause(name)
        await trio.sleep(lasts)
        self._queue.resume(name)
        return True

    # Network

    async def _cut(self, pairs: list[tuple[str, str]], what: str) -> bool:
        lasts = self._rng.choice((0.3, 2.0, 6.0, 15.0, 30.0))
        self._note(what, pairs=pairs if len(pairs) < 5 else len(pairs), seconds=lasts)
        for source, target in pairs:
            self._fabric.cut(source, target)
        await trio.sleep(lasts)
        for source, target in pairs:
            self._fabric.heal(source, target)
        return True

    def _two(self) -> tuple[str, str]:
        one, two = self._rng.sample(self._nodes, 2)
        return one.name, two.name

    async def _cut_one_way(self) -> bool:
        one, two = self._two()
        return await self._cut([(one, two)], "cut_one_way")

    async def _cut_pair(self) -> bool:
        one, two = self._two()
        return await self._cut([(one, two), (two, one)], "cut_pair")

    async def _isolate(self) -> bool:
        name = self._rng.choice(self._nodes).name
        others = [each for each in self._fabric.hosts if each != name]
        pairs = [(name, each) for each in others] + [(each, name) for each in others]
        return await self._cut(pairs, "isolate")

    async def _halves(self) -> bool:
        hosts = list(self._fabric.hosts)
        left = {each for each in hosts if self._rng.random() < 0.5}
        pairs = [(a, b) for a in hosts for b in hosts if (a in left) != (b in left)]
        return await self._cut(pairs, "halves")

    async def _slow_link(self) -> bool:
        one, two = self._two()
        link = self._fabric.link(one, two)
        link.bytes_per_s = self._rng.choice((500.0, 5_000.0, 50_000.0, 0.0))
        link.delay_s = self._rng.choice((0.05, 0.3, 1.0))
        self._note("slow_link", link=(one, two), rate=link.bytes_per_s, delay=link.delay_s)
        await trio.sleep(self._rng.choice((2.0, 10.0, 20.0)))
        self._fabric.quicken(link)
        return True

    async def _stall(self) -> bool:
        return await self._on_a_lane(0.0)

    async def _slow_drain(self) -> bool:
        return await self._on_a_lane(self._rng.choice((50.0, 500.0, 5_000.0)))

    async def _on_a_lane(self, bytes_per_s: float) -> bool:
        """One connection stalls (0) or drains slowly, in one direction, for a while."""
        stream = self._rng.choice([*self._fabric.streams, None])
        if stream is None or lanes.is_on_a_lane(self._fabric, stream):
            return False
        lasts = self._rng.choice((0.5, 3.0, 12.0, 30.0))
        link = str(stream.local), str(stream.peer)
        self._note("lane", connection=link, rate=bytes_per_s, seconds=lasts)
        lane = lanes.Lane(self._fabric, stream)
        if bytes_per_s:
            lane.slow_down(bytes_per_s)
        else:
            lane.stall()
        await trio.sleep(lasts)
        lane.release()
        return True

    async def _move_controller(self) -> bool:
        """An operator deletes /controller, as one does to have another broker take over."""
        serving = [
            node.handle.node
            for node in self._members
            if node.handle is not None and node.handle.node.is_serving
        ]
        if not serving:
            return False
        member = self._rng.choice(serving)
        self._note("move_controller")
        request = DeleteRequest("/controller", -1).encode()
        with trio.move_on_after(5.0), suppress(NotServing):
            session = (await member.create_session(4000)).session_id
            await member.submit(session, int(OpCode.DELETE), request, ())
            await member.submit(session, int(OpCode.CLOSE_SESSION), b"", ())
        return True

    async def _reset(self) -> bool:
        streams = list(self._fabric.streams)
        if not streams:
            return False
        for _ in range(self._rng.choice((1, 1, 3, 10))):
            self._rng.choice(streams).break_both()
        return True

    # Disks and clocks

    async def _slow_disk(self) -> bool:
        node = self._rng.choice(self._nodes)
        lasts = self._rng.choice((0.5, 2.0, 6.0))
        self._note("slow_disk", node=node.name, seconds=lasts)
        node.disk.stalled_until = trio.current_time() + lasts
        return True

    async def _sync_failure(self) -> bool:
        node = self._rng.choice(self._nodes)
        self._note("sync_failure", node=node.name)
        node.disk.failing_syncs = self._rng.choice((1, 1, 3))
        return True

    async def _full(self, nodes: list[Node]) -> bool:
        node = self._rng.choice(nodes)
        if node.disk.capacity_bytes is not None:
            return False
        room = self._rng.choice((0, 300, 3_000, 30_000))
        lasts = self._rng.choice((2.0, 8.0, 20.0))
        self._note("full_disk", node=node.name, room=room, seconds=lasts)
        node.disk.capacity_bytes = node.disk.used_bytes + room
        await trio.sleep(lasts)
        node.disk.capacity_bytes = None
        return True

    async def _full_broker(self) -> bool:
        return await self._full(self._brokers)

    async def _full_member(self) -> bool:
        return await self._full(self._members)

    async def _flip_broker(self) -> bool:
        """One bit of a partition log reads wrong, where another replica in sync is sound."""
        node = self._rng.choice(self._brokers)
        if node.handle is None:
            return False
        broker = _broker_of(node)
        running = {
            _broker_of(each)
            for each in self._brokers
            if each.handle is not None and each is not node
        }
        sound = [
            tp
            for tp, state in self._checker.states.items()
            if broker in state["isr"]
            and (set(state["isr"]) & running) - self._checker.tainted.get(tp, set())
            and tp not in self._flips
        ]
        if not sound:
            return False
        tp = self._rng.choice(sound)
        place = flips.in_partition_log(node, tp, self._rng)
        if place is None:
            return False
        lasts = self._rng.choice((0.1, 1.0, 5.0, 15.0))
        self._note("flip", node=node.name, path=place.path, at=place.offset, seconds=lasts)
        self._history.flipped.add(tp)
        self._flips[tp] = place
        place.flip()
        await trio.sleep(lasts)
        if self._flips.get(tp) is place:
            del self._flips[tp]
            place.undo()
        return True

    def _undo_flips_of(self, node: Node) -> None:
        """A log that is recovered may be cut where it reads wrong: that is not what this tries."""
        for tp, place in list(self._flips.items()):
            if place.node is node:
                del self._flips[tp]
                place.undo()

    @contextmanager
    def right_bits(self) -> Iterator[None]:
        """No disk reads wrong inside; nothing may be awaited there."""
        for place in self._flips.values():
            place.undo()
        try:
            yield
        finally:
            for place in self._flips.values():
                place.flip()

    async def _flip_member(self) -> bool:
        """A member is killed and reads a wrong bit as it starts again."""
        node = self._rng.choice(self._members)
        if not node.running:
            return False
        self.down_s[node.name] = 1.0
        await node.kill()
        place = flips.in_store(node, self._rng)
        if place is None:
            return True
        self._note("flip", node=node.name, path=place.path, at=place.offset)
        place.flip()
        self._member_flips.append(place)
        await trio.sleep(self._rng.choice((1.5, 1.5, 4.5)))
        if place in self._member_flips:
            self._member_flips.remove(place)
            place.undo()
        return True

    async def _clock_jump(self) -> bool:
        node = self._rng.choice(self._nodes)
        jump_ms = self._rng.choice((-60_000, -3_000, 500, 10_000, 3_600_000))
        self._note("clock_jump", node=node.name, ms=jump_ms)
        node.clock.offset_ms += jump_ms
        return True


def _broker_of(node: Node) -> int:
    return int(node.name.rpartition("-")[2])
