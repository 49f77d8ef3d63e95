"""Daemons of the simulated cluster: started by their own entry functions, killed, started again."""

import random
from collections.abc import Callable

import trio

from ottla.broker.main import run_broker
from ottla.config.broker import BrokerConfig
from ottla.coordinator.main import run_coordinator
from ottla.coordinator.settings import CoordinatorSettings
from ottla.coordinator.store.txn_log import CorruptStore
from ottla.runtime.interfaces import Address, Runtime
from ottla.runtime.supervise import CannotStart, leaves
from tests.simulation.world.determinism import PROCESS, RunQueue
from tests.simulation.world.machines import ProcessDisk, SimDisk, SimEvents, SimWallClock, Timeline
from tests.simulation.world.network import Fabric
from tests.simulation.world.plan import LOG_DIRS

ENSEMBLE_PORT, PEER_PORT, BROKER_PORT = 2181, 2888, 9092
RESTART_S = 2.0


class _Started:
    """What a daemon reports to instead of a nursery that waits for it."""

    def __init__(self, node: "Node") -> None:
        self._node = node

    def started(self, handle: object = None) -> None:
        self._node.handle = handle
        for listener in self._node.on_started:
            listener(self._node)


class Node:
    """A machine with one daemon, which is restarted when it ends by itself.

    State: `handle` is what the daemon reported when it had started; None before and after.
    """

    def __init__(
        self,
        name: str,
        body: Callable,
        *,
        fabric: Fabric,
        queue: RunQueue,
        timeline: Timeline,
        disk: SimDisk,
        clock: SimWallClock,
        rng: random.Random,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.name = name
        self.disk = disk
        self.log_dirs = LOG_DIRS
        self.clock = clock
        self.handle = None
        self.paused = False
        self.has_power = True
        self.on_started: list[Callable[[Node], None]] = []
        self.on_ended: list[Callable[[Node], None]] = []
        self.events = SimEvents(timeline, name)
        self._timeline = timeline
        self._body = body
        self._fabric = fabric
        self._queue = queue
        self._rng = rng
        self._fail = fail
        self._network = fabric.at(name)
        self._scope: trio.CancelScope | None = None
        self._stop = trio.Event()
        self._process: ProcessDisk | None = None
        self._voice = self.events
        self._killed = False
        self._ended = trio.Event()
        self._ended.set()

    @property
    def running(self) -> bool:
        return self._scope is not None

    async def run(self) -> None:
        """Live once: from a start to an end or a kill."""
        assert self._scope is None
        PROCESS.set(self.name)
        self._process = ProcessDisk(self.disk)
        self._voice = SimEvents(self._timeline, self.name)
        runtime = Runtime(
            self._network,
            self._process,
            self.clock,
            random.Random(self._rng.getrandbits(64)),
            self._voice,
        )
        self._killed = False
        self._stop = trio.Event()
        self._ended = trio.Event()
        self._scope = trio.CancelScope()
        try:
            with self._scope:
                await self._body(runtime, stop=self._stop, task_status=_Started(self))
        except BaseException as error:
            if not self._killed:
                self._judge(error)
        finally:
            self.resume()
            if not self._killed:
                self._fence()
                self._fabric.close_host(self.name)
            self._scope = None
            self.handle = None
            self._ended.set()
            for listener in self.on_ended:
                listener(self)

    def _judge(self, error: BaseException) -> None:
        """A daemon may give up for what its environment does to it; anything else is a bug."""
        kinds = leaves(error)
        if any(isinstance(each, trio.Cancelled) for each in kinds):
            raise error
        if all(isinstance(each, CannotStart | OSError) for each in kinds):
            self.events.info("sim.gave_up", reasons=[str(each) for each in kinds])
        else:
            self._fail(error)

    def _fence(self) -> None:
        assert self._process is not None
        self._process.die()
        self._voice.mute()
        self.disk.kill()

    async def kill(self) -> None:
        """kill -9: the kernel and its page cache go on."""
        await self._end("sim.killed", power=False)

    async def cut_power(self) -> None:
        """What was not synced may be gone, and the network hears nothing of it."""
        await self._end("sim.power_cut", power=True)

    async def _end(self, event: str, *, power: bool) -> None:
        if self._scope is not None:
            self.events.info(event)
            self._killed = True
            self._fence()
            if power:
                self.has_power = False
                self._fabric.power_off(self.name)
            else:
                self._fabric.close_host(self.name)
            self.resume()
            self._scope.cancel()
            await self._ended.wait()
        elif power:
            self.events.info(event)
            self.has_power = False
            self._fabric.power_off(self.name)
        if power:
            self.disk.crash(self._rng)

    def restore_power(self) -> None:
        if not self.has_power:
            self.has_power = True
            self._fabric.power_on(self.name)

    async def stop(self) -> None:
        """Ask it to end cleanly, and wait."""
        if self._scope is not None:
            self.events.info("sim.stopping")
            self._stop.set()
            await self._ended.wait()

    def pause(self) -> None:
        if self._scope is not None and not self.paused:
            self.events.info("sim.paused")
            self.paused = True
            self._queue.pause(self.name)

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            self._queue.resume(self.name)
            self.events.info("sim.resumed")


def coordinator_body(member: int, members: int, tick_ms: int, snap_count: int) -> Callable:
    settings = CoordinatorSettings(
        "/data",
        member,
        {each: Address(f"member-{each}", PEER_PORT) for each in range(1, members + 1)},
        client_address=Address(f"member-{member}", ENSEMBLE_PORT),
        tick_time_ms=tick_ms,
        snap_count=snap_count,
        max_client_cnxns=0,
    )

    async def body(runtime, *, stop, task_status) -> None:
        try:
            await run_coordinator(settings, runtime, stop=stop, task_status=task_status)
        except CorruptStore as error:  # if it stays so, the run does not converge
            raise CannotStart(str(error)) from error

    return body


def broker_body(broker: int, members: int, settings: dict[str, str]) -> Callable:
    config = BrokerConfig.from_properties(
        {
            "broker.id": str(broker),
            "listeners": f"PLAINTEXT://broker-{broker}:{BROKER_PORT}",
            "log.dirs": "/log",
            "zookeeper.connect": ",".join(
                f"member-{each}:{ENSEMBLE_PORT}" for each in range(1, members + 1)
            ),
        }
        | settings
    )

    async def body(runtime, *, stop, task_status) -> None:
        await run_broker(config, runtime, stop=stop, task_status=task_status)

    return body
