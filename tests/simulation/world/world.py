"""One run: a cluster, its clients and its faults, first for safety, then for liveness."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import trio

from ottla.broker.ids import TopicPartition
from ottla.runtime.interfaces import Address
from tests.simulation.world import determinism, liveness
from tests.simulation.world.checkers import BrokerChecker, EnsembleChecker
from tests.simulation.world.clients.admin import Admin
from tests.simulation.world.clients.configs import ConfigAdmin
from tests.simulation.world.clients.consumers import Reader
from tests.simulation.world.clients.cooperative import CooperativeMember
from tests.simulation.world.clients.ensemble_clients import EnsembleClientActor, ensemble_clients
from tests.simulation.world.clients.facts import EnsembleHistory
from tests.simulation.world.clients.groups import GroupMember
from tests.simulation.world.clients.keyed import TOPIC, KeyedWork
from tests.simulation.world.clients.port import KafkaPort
from tests.simulation.world.clients.producers import Producer
from tests.simulation.world.clients.recreated import Recreator
from tests.simulation.world.faults import Faults
from tests.simulation.world.history import History, Violation
from tests.simulation.world.liveness import NotConverged
from tests.simulation.world.machines import SimDisk, SimEvents, SimWallClock, Timeline
from tests.simulation.world.majority import MajorityChecker
from tests.simulation.world.movement import Movement
from tests.simulation.world.network import Fabric
from tests.simulation.world.nodes import (
    ENSEMBLE_PORT,
    RESTART_S,
    Node,
    broker_body,
    coordinator_body,
)
from tests.simulation.world.plan import LINK_FAULTS, Plan
from tests.simulation.world.topic_work import TopicWork

START_S = 90.0
CONVERGE_S = 150.0
CALM_S = 30.0
END_S = 60.0
"""How long after all that is allowed a run may take to end."""


@dataclass
class Outcome:
    """What a run that held was like."""

    seed: int
    virtual_s: float = 0.0
    digest: str = ""
    converged_s: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)


def run_seed(
    seed: int,
    *,
    minutes: float = 3.0,
    trace: Callable[[str], None] | None = None,
    plan: Plan | None = None,
) -> Outcome:
    """Run one seed. AssertionError (Violation, NotConverged, the product's own) when it failed."""
    plan = plan or Plan.of(seed, minutes)
    world = World(plan, trace)
    determinism.run(
        seed,
        world.run,
        cpu_seconds_max=60.0 * (1.0 + plan.minutes),
        virtual_seconds_max=START_S + plan.minutes * 60 + CONVERGE_S + END_S,
    )
    if world.failure is not None:
        raise world.failure
    return world.outcome


class World:
    def __init__(self, plan: Plan, trace: Callable[[str], None] | None) -> None:
        self.plan = plan
        self.failure: BaseException | None = None
        self.outcome = Outcome(plan.seed)
        self.history = History()
        self.facts = EnsembleHistory(
            tick_s=plan.tick_ms / 1000, links_hold=not plan.faults.keys() & LINK_FAULTS
        )
        self.timeline = Timeline(trace)
        self.timeline.listeners.append(self._heed)
        self._rng = random.Random(plan.seed)
        self._events = SimEvents(self.timeline, "world")
        self.broker_checker = BrokerChecker(self.history)
        self.ensemble_checker = EnsembleChecker(
            self.history, self.facts, self.broker_checker, self.fail
        )
        self.movement = Movement(plan, self._port, self.history, self.timeline)
        self.ensemble_checker.on_change.append(self.movement.watch.on_change)
        self._majority = MajorityChecker(self.fail)
        self.members: list[Node] = []
        self.brokers: list[Node] = []
        self._broken: dict[str, None] = {}  # brokers with a log directory that failed
        self._scope = trio.CancelScope()
        self._end = determinism.Signal()
        self._producers_done = 0
        self._written_at = -1.0  # when the last producer was done
        self._producers_started = 0
        self._readers: list[Reader] = []
        self._producers: list[Producer] = []
        self._keyed: KeyedWork | None = None
        self._admin_scopes: list[trio.CancelScope] = []
        self._configs: ConfigAdmin | None = None
        self._recreator: Recreator | None = None
        self._group_members: dict[str, list[GroupMember]] = {}
        self._actors: list[EnsembleClientActor] = []

    def fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            self._events.error("sim.failed", reason=repr(error)[:2000])
        for node in (*self.members, *self.brokers):
            node.resume()  # its tasks have to end
        self._queue.end_pauses()
        self._scope.cancel()

    def _heed(self, source: str, _level: str, name: str, fields: dict) -> None:
        if name in ("log_dir.failed", "log.lost"):
            self._broken[source] = None
        if name == "request.failed":
            self.fail(Violation(f"{source}: {name} {fields}"))

    def _draw(self) -> random.Random:
        return random.Random(self._rng.getrandbits(64))

    # Building

    def _build(self, queue: determinism.RunQueue) -> None:
        plan = self.plan
        self.fabric = Fabric(
            self._draw(), queue.clock, delay_s=plan.delay_s, jitter_s=plan.jitter_s
        )
        for at in range(1, plan.members + 1):
            body = coordinator_body(at, plan.members, plan.tick_ms, plan.snap_count)
            node = self._node(f"member-{at}", body, queue)
            node.on_started += (
                self.ensemble_checker.watch,
                self._majority.watch,
                self.facts.watch,
            )
            self.members.append(node)
        for at in range(1, plan.brokers + 1):
            body = broker_body(at, plan.members, plan.settings_of(at))
            node = self._node(f"broker-{at}", body, queue)
            node.on_ended.append(self.broker_checker.note_end)
            self.brokers.append(node)
        self.faults = Faults(
            self._draw(),
            fabric=self.fabric,
            members=self.members,
            brokers=self.brokers,
            checker=self.broker_checker,
            history=self.history,
            events=self._events,
            queue=queue,
            durable=plan.durable,
        )
        self._queue = queue
        self._topics = TopicWork(plan, self._port, self.history, self.brokers, self.broker_checker)

    def _node(self, name: str, body: Callable, queue: determinism.RunQueue) -> Node:
        rng = self._draw()
        return Node(
            name,
            body,
            fabric=self.fabric,
            queue=queue,
            timeline=self.timeline,
            disk=SimDisk(rng, (0.0005, rng.choice((0.002, 0.01, 0.05)))),
            clock=SimWallClock(rng.randint(-2000, 2000), rng.uniform(-1e-4, 1e-4)),
            rng=self._draw(),
            fail=self.fail,
        )

    def _port(self, name: str) -> KafkaPort:
        return KafkaPort(self.fabric.at(name), self.plan.brokers, self._draw())

    # Life

    async def run(self, queue: determinism.RunQueue) -> None:
        self._build(queue)
        queue.on_stuck(self.fail)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for node in (*self.members, *self.brokers):
                        nursery.start_soon(self._keep, node)
                    nursery.start_soon(self._operate)
                    await self._live()
                    nursery.cancel_scope.cancel()
        except BaseException as error:
            self.fail(error)
        outcome = self.outcome
        outcome.virtual_s = trio.current_time()
        outcome.digest = f"{self.timeline.digest()}-{self.fabric.digest:08x}"
        outcome.faults = dict(self.faults.counts)
        outcome.counts = dict(self.history.counts)
        outcome.events = dict(self.timeline.counts)

    async def _keep(self, node: Node) -> None:
        """Start a node again and again, as an init system does."""
        while True:
            node.restore_power()
            await node.run()
            await trio.sleep(self.faults.down_s.pop(node.name, RESTART_S))

    async def _operate(self) -> None:
        """Somebody who sees that a directory or a log failed, and starts its broker again."""
        while True:
            await trio.sleep(5)
            for node in self.brokers:
                if node.name in self._broken and node.handle is not None:
                    del self._broken[node.name]
                    await node.kill()

    async def _live(self) -> None:
        plan = self.plan
        admin = Admin(self._port("admin"), self.history)
        with trio.move_on_after(START_S) as patience:
            for name, (partitions, replication, min_isr) in plan.topics.items():
                await admin.create_surely(name, partitions, replication, min_isr)
                self.history.topic_created(name)
            if plan.compacted is not None:
                await admin.create_surely(TOPIC, KeyedWork.PARTITIONS, 3, 2, **plan.compacted)
            await self._topics.create(admin)
        if patience.cancelled_caught:
            raise NotConverged(f"no topic could be created within {START_S:g} s")
        tps = [
            TopicPartition(name, at)
            for name, (partitions, _, _) in plan.topics.items()
            for at in range(partitions)
        ]
        async with trio.open_nursery() as clients:
            clients.start_soon(self._end_pauses)
            self._start_clients(clients, tps, admin)
            with trio.CancelScope() as faulty:
                async with trio.open_nursery() as safety:
                    safety.start_soon(self.faults.run, plan.faults)
                    safety.start_soon(self._sample)
                    await trio.sleep(plan.minutes * 60)
                    faulty.cancel()
            self._events.info("sim.healing")
            self.faults.heal()
            self.faults.down_s.clear()
            for scope in self._admin_scopes:
                scope.cancel()
            if self._configs is not None:
                clients.start_soon(self._configs.finish)
            clients.start_soon(self.movement.finish)
            clients.start_soon(self._topics.finish)
            began = trio.current_time()
            await self._converge(tps)
            self.outcome.converged_s = trio.current_time() - began
            self._check_end(tps)
            clients.cancel_scope.cancel()

    async def _end_pauses(self) -> None:
        """When one of the clients fails, a paused one could not end, and the run neither."""
        try:
            await trio.sleep_forever()
        finally:
            self._queue.end_pauses()

    def _start_clients(
        self, nursery: trio.Nursery, tps: list[TopicPartition], admin: Admin
    ) -> None:
        plan = self.plan
        for at in range(plan.producers):
            acks = -1 if at != 1 else 1
            name = f"p{at}"
            producer = Producer(
                name,
                self._port(name),
                self.history,
                acks=acks,
                per_s=plan.records_per_s / len(tps),
                pipelined=plan.pipelined and at == 0,
            )
            self._producers.append(producer)
            nursery.start_soon(self._produce, producer, tps)
        for tp in tps:
            self._start_reader(nursery, tp)
        for at in range(plan.groups):
            group = f"group-{at}"
            members = self._group_members[group] = []
            for number in range(plan.group_members):
                name = f"{group}-{number}"
                kind = CooperativeMember if plan.group_kind == "cooperative" else GroupMember
                instance = name if plan.group_kind == "static" else None
                member = kind(name, group, tps, self._port(name), self.history, instance=instance)
                members.append(member)
                nursery.start_soon(self._be_member, member)
        if plan.compacted is not None:
            self._start_keyed(nursery, plan.compacted)
        if plan.recreates:
            self._recreator = Recreator(self._port("recreator"), self.history)
            nursery.start_soon(self._recreator.run, self._end)
        self._actors = ensemble_clients(
            plan.ensemble_clients,
            self.fabric.at,
            [Address(f"member-{at}", ENSEMBLE_PORT) for at in range(1, plan.members + 1)],
            facts=self.facts,
            history=self.history,
            timeline=self.timeline,
            draw=self._draw,
            timeout_ms=plan.tick_ms * 3,
        )
        self._actors_scope = trio.CancelScope()
        nursery.start_soon(self._act)
        nursery.start_soon(self._administer, admin.play)
        topics = [*plan.topics, *([TOPIC] if plan.compacted is not None else [])]
        self.movement.start(nursery, self._administer, tps, [*topics, "__consumer_offsets"])
        use = partial(self._use, nursery, tps)
        self._topics.start(nursery, self._administer, self._produce, tps, use)
        if plan.configures or plan.configures_brokers:
            self._configs = ConfigAdmin(
                self._port("configurer"),
                self.history,
                topics if plan.configures else [],
                list(range(1, plan.brokers + 1)) if plan.configures_brokers else [],
            )
            nursery.start_soon(self._administer, self._configs.play)

    def _start_reader(self, nursery: trio.Nursery, tp: TopicPartition) -> None:
        reader = Reader(self._port(f"reader-{tp}"), self.history, tp)
        self._readers.append(reader)
        nursery.start_soon(reader.run)

    def _use(self, nursery: trio.Nursery, tps: list[TopicPartition], tp: TopicPartition) -> None:
        """A partition has come to those that everybody uses."""
        tps.append(tp)
        for producer in self._producers:
            producer.add(tp)
        self._start_reader(nursery, tp)

    def _start_keyed(self, nursery: trio.Nursery, settings: dict[str, str]) -> None:
        plan = self.plan
        self._keyed = work = KeyedWork(self.history, settings)
        for at in range(2):
            name = f"k{at}"
            pipelined = plan.pipelined and at == 0
            producer = work.producer(
                name, self._port(name), per_s=plan.records_per_s / 2, pipelined=pipelined
            )
            nursery.start_soon(self._produce, producer, work.tps)
        for tp in work.tps:
            nursery.start_soon(work.reader(tp, self._port(f"reader-{tp}")).run)

    async def _act(self) -> None:
        with self._actors_scope:
            async with trio.open_nursery() as nursery:
                for actor in self._actors:
                    nursery.start_soon(actor.run)

    async def _administer(self, play: Callable[[], Awaitable[None]]) -> None:
        with trio.CancelScope() as scope:
            self._admin_scopes.append(scope)
            await play()

    async def _produce(self, producer: Producer, tps: list[TopicPartition]) -> None:
        self._producers_started += 1
        await producer.run(tps, self._end)
        self._producers_done += 1
        self._written_at = trio.current_time()

    async def _be_member(self, member: GroupMember) -> None:
        """A member that now and then crashes or leaves, until the end of the safety phase."""
        rng = member._port.rng
        determinism.PROCESS.set(member.name)
        self.faults.clients.append(member.name)
        while True:
            with trio.CancelScope() as life:
                if not self._end.is_set():
                    life.deadline = trio.current_time() + rng.expovariate(1 / 60)
                await member.run()
            if rng.random() < 0.5:
                await member.leave()
            member._member_id, member._generation = "", -1
            member.stable_since = -1.0
            await trio.sleep(rng.uniform(0, 10))

    async def _sample(self) -> None:
        while True:
            await trio.sleep(1.0)
            self._look()

    def _look(self, *, everything: bool = False) -> None:
        with self.faults.right_bits():
            self.ensemble_checker.sample(self.members, everything=everything)
            self.broker_checker.sample(self.brokers, everything=everything)
            self._topics.sample()

    # Liveness

    async def _converge(self, tps: list[TopicPartition]) -> None:
        """Everything comes back within CONVERGE_S, or NotConverged tells what did not."""
        deadline = trio.current_time() + CONVERGE_S
        await trio.sleep(5)
        self._end.set()
        healed_at = trio.current_time()
        while missing := self._missing(tps, healed_at):
            if trio.current_time() > deadline:
                raise NotConverged(f"{CONVERGE_S:g} s after the last fault: {'; '.join(missing)}")
            await trio.sleep(1.0)
            self._look()
        while wrong := await self._wrongly_configured():
            if trio.current_time() > deadline:
                raise Violation(f"{CONVERGE_S:g} s after the last fault: {'; '.join(wrong)}")
            await trio.sleep(0.5)
        self._actors_scope.cancel()  # only members that nobody writes to have applied the same
        nodes = [node.handle.node for node in self.members]
        while len({each.tree.last_zxid for each in nodes}) != 1:
            if trio.current_time() > deadline + CALM_S:
                raise NotConverged("members have applied different transactions")
            await trio.sleep(0.1)

    async def _wrongly_configured(self) -> list[str]:
        """What brokers do not show, or not go by, of the last configurations."""
        if self._configs is None:
            return []
        shown = await self._configs.check(list(range(1, self.plan.brokers + 1)))
        return shown + self._configs.check_brokers(self.brokers)

    def _missing(self, tps: list[TopicPartition], healed_at: float) -> list[str]:
        history = self.history
        down = liveness.nodes(self.members, self.brokers)
        if down:
            return down
        tree = self.members[0].handle.node.tree
        missing = liveness.partitions(self.broker_checker.states, tree)
        missing += self.movement.missing(self.brokers, healed_at)
        missing += self._topics.missing(self._written_at, healed_at)
        if self._configs is not None and not self._configs.is_finished:
            missing.append("the last configurations are not taken")
        if self._recreator is not None and not self._recreator.is_done:
            missing.append("no topic was made again")
        producers = self._producers_started - self._producers_done
        if producers:
            missing.append(f"{producers} producers wait for their last acknowledgements")
        elif self._keyed is not None:
            missing += self._keyed.missing(self._written_at)
        missing += liveness.readers(history, self._readers, healed_at)
        for group, members in self._group_members.items():
            missing += liveness.group(history, group, members, tps)
        for actor in self._actors:
            missing += actor.missing(healed_at)
        return missing

    def _check_end(self, tps: list[TopicPartition]) -> None:
        self._look(everything=True)
        self.ensemble_checker.compare(self.members)
        self.broker_checker.compare(self.brokers)
        self.history.counts["calls found linearizable"] += self.facts.ledger.check()
        self.history.counts["znodes not judged"] += self.facts.ledger.undecided
        self.movement.check(self.brokers)
        self._topics.check()
        self.history.check_logs({reader.tp: reader.log for reader in self._readers})
        topics = self.members[0].handle.node.tree.nodes["/brokers/topics"].children or {}
        for node in self.brokers:
            for partition in node.handle.services.partitions:
                if partition.tp.topic not in topics:
                    raise Violation(f"{node.name} holds {partition.tp}, which was deleted")
