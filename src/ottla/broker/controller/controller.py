"""The controller of a broker: a candidate all its life, the controller while it holds office.

`run` stands for election through `/controller`; whoever creates it, together with the next
`/controller_epoch` in one transaction, reigns until its session ends or the znode is taken away.
API handlers call the public methods at any time: without office they answer NOT_CONTROLLER.
"""

import contextlib
from collections.abc import Iterable, Sequence
from random import Random

import trio

from ottla.broker.controller import operations, reassigning
from ottla.broker.controller.operations import Election
from ottla.broker.controller.reassigning import Outcome, Wishes
from ottla.broker.controller.reign import Deposed, Reign
from ottla.broker.controller.settings import ControllerSettings
from ottla.broker.controller.state import ControllerState
from ottla.broker.controller.topics import (
    MorePartitions,
    NewTopic,
    TopicAdmin,
    TopicOutcome,
    new_topic_id,
)
from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.client import (
    EnsembleClient,
    check_op,
    create_op,
    delete_op,
    set_data_op,
)
from ottla.broker.ensemble.errors import ConnectionLoss, EnsembleError, NodeExists, NoNode
from ottla.broker.ensemble.values import Assignment, BrokerInfo, Endpoint
from ottla.broker.ensemble.watches import WatchEvent
from ottla.broker.ids import NO_BROKER, BrokerId, ControllerEpoch, TopicPartition
from ottla.broker.link import BrokerLink
from ottla.protocol.kafka.errors import ErrorCode
from ottla.protocol.kafka.messages.allocate_producer_ids import (
    AllocateProducerIdsRequest,
    AllocateProducerIdsResponse,
)
from ottla.protocol.kafka.messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
)
from ottla.protocol.kafka.messages.controlled_shutdown import (
    ControlledShutdownRequest,
    ControlledShutdownResponse,
)
from ottla.protocol.zookeeper.messages import Stat
from ottla.protocol.zookeeper.opcodes import CreateMode
from ottla.runtime.interfaces import Address, Events, Network, WallClock

RETRY_S = 0.5


class Controller:
    """Built by `broker.main`; `run` it in the nursery that lives as long as the registration."""

    def __init__(
        self,
        client: EnsembleClient,
        broker_id: BrokerId,
        settings: ControllerSettings,
        *,
        network: Network,
        events: Events,
        rng: Random,
        wall_clock: WallClock,
    ) -> None:
        self._client = client
        self._broker_id = broker_id
        self._settings = settings
        self._unclean_by_default = settings.unclean_leader_election_enable
        self._network = network
        self._events = events
        self._rng = rng
        self._wall_clock = wall_clock
        self._reign: Reign | None = None
        self._admin: TopicAdmin | None = None
        self._known_id = NO_BROKER
        self._changed = trio.Event()

    # --- who it is -------------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        """Whether this broker is the controller and has read its state."""
        return self._reign is not None and self._reign.serving

    @property
    def controller_id(self) -> BrokerId:
        """Who holds office as far as this broker knows; NO_BROKER when nobody does."""
        return self._known_id

    @property
    def state(self) -> ControllerState | None:
        """The image of the present reign; only to be read. None without office."""
        return None if self._reign is None else self._reign.cluster

    async def wait_changed(self) -> None:
        """Return at the next change of `controller_id`."""
        await self._changed.wait()

    # --- requests --------------------------------------------------------------------------

    async def create_topics(
        self, wishes: Sequence[NewTopic], *, timeout_s: float, validate_only: bool = False
    ) -> list[TopicOutcome]:
        """One outcome per wish, in order."""
        try:
            return await self._office().create_topics(
                wishes, timeout_s=timeout_s, validate_only=validate_only
            )
        except (Deposed, EnsembleError) as error:
            return [self._failure(wish.name, error) for wish in wishes]

    async def create_partitions(
        self, wishes: Sequence[MorePartitions], *, timeout_s: float, validate_only: bool = False
    ) -> list[TopicOutcome]:
        """One outcome per wish, in order."""
        try:
            return await self._office().create_partitions(
                wishes, timeout_s=timeout_s, validate_only=validate_only
            )
        except (Deposed, EnsembleError) as error:
            return [self._failure(wish.name, error) for wish in wishes]

    async def delete_topics(self, names: Sequence[str], *, timeout_s: float) -> list[TopicOutcome]:
        """One outcome per name, in order."""
        try:
            return await self._office().delete_topics(names, timeout_s=timeout_s)
        except (Deposed, EnsembleError) as error:
            return [self._failure(name, error) for name in names]

    async def alter_partition(self, request: AlterPartitionRequest) -> AlterPartitionResponse:
        try:
            return await operations.alter_partition(self._required(), request)
        except (Deposed, EnsembleError) as error:
            return AlterPartitionResponse(error_code=_code(error))

    async def controlled_shutdown(
        self, request: ControlledShutdownRequest
    ) -> ControlledShutdownResponse:
        try:
            return await operations.controlled_shutdown(self._required(), request)
        except (Deposed, EnsembleError) as error:
            return ControlledShutdownResponse(error_code=_code(error))

    async def allocate_producer_ids(
        self, request: AllocateProducerIdsRequest
    ) -> AllocateProducerIdsResponse:
        try:
            return await operations.allocate_producer_ids(self._required(), request)
        except (Deposed, EnsembleError) as error:
            return AllocateProducerIdsResponse(error_code=_code(error))

    async def elect_leaders(
        self, partitions: Iterable[TopicPartition] | None, *, unclean: bool = False
    ) -> dict[TopicPartition, Election]:
        """(error code, message) per partition; None asks for every partition. Deposed."""
        return await operations.elect_leaders(self._required(), partitions, unclean=unclean)

    async def alter_reassignments(self, wishes: Wishes) -> dict[TopicPartition, Outcome]:
        """(error code, message) per partition; None as a wish cancels. Deposed; EnsembleError."""
        return await reassigning.alter(self._required(), wishes)

    def reassignments(self) -> dict[TopicPartition, Assignment]:
        """The partitions that are on their way to other brokers. Deposed."""
        cluster = self._required().cluster
        found = {tp: cluster.assignment(tp) for tp in cluster.reassigning}
        return {tp: each for tp, each in found.items() if each is not None}

    def topic_config_changed(self, topic: str) -> None:
        """A topic's overrides changed: unclean election may be allowed now."""
        if self._reign is not None:
            self._reign.mark("unclean", topic)

    def allow_unclean_elections(self, *, by_default: bool) -> None:
        """The rule for topics without one of their own."""
        self._unclean_by_default = by_default
        if self._reign is not None and self._reign.cluster.unclean_by_default != by_default:
            self._reign.cluster.unclean_by_default = by_default
            self._reign.mark("unclean_by_default")

    def _required(self) -> Reign:
        if self._reign is None or not self._reign.serving:
            raise Deposed
        return self._reign

    def _office(self) -> TopicAdmin:
        self._required()
        assert self._admin is not None
        return self._admin

    def _failure(self, name: str, error: Exception) -> TopicOutcome:
        message = "This is not the correct controller for this cluster."
        return TopicOutcome(
            name, _code(error), message if isinstance(error, Deposed) else str(error)
        )

    # --- candidate -------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Stand for election again and again, until cancelled."""
        task_status.started()
        while True:
            try:
                await self._client.wait_connected()
                office = await self._stand()
                if office is not None:
                    await self._hold(*office)
            except (EnsembleError, encodings.MalformedZnode) as error:
                self._events.warning("controller.candidacy_interrupted", reason=str(error))
                self._learn(NO_BROKER)
                await trio.sleep(RETRY_S)

    async def _stand(self) -> tuple[ControllerEpoch, int] | None:
        """Wait until the office is free and take it: (epoch, version). None: try again."""
        vacated = trio.Event()
        session_number = self._client.sessions_begun

        def fired(_event: WatchEvent) -> None:
            vacated.set()

        stat = await self._client.exists(paths.CONTROLLER, watch=fired)
        if stat is None:
            self._learn(NO_BROKER)
            return await self._take_office()
        if stat.ephemeral_owner == self._client.session.id:
            await self._clear_own(stat)
            return None
        try:
            data, _ = await self._client.get_data(paths.CONTROLLER)
        except NoNode:
            return None
        self._learn(encodings.decode_controller(data))
        async with trio.open_nursery() as nursery:

            async def until_session_over() -> None:
                await self._client.wait_session_over(session_number)
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_session_over)
            await vacated.wait()
            nursery.cancel_scope.cancel()
        return None

    async def _take_office(self) -> tuple[ControllerEpoch, int] | None:
        """`/controller` and the next epoch in one transaction."""
        try:
            data, stat = await self._client.get_data(paths.CONTROLLER_EPOCH)
            epoch, version = encodings.decode_controller_epoch(data), stat.version
        except NoNode:
            try:
                await self._client.create(paths.CONTROLLER_EPOCH, b"0")
            except NodeExists:
                return None
            epoch, version = ControllerEpoch(0), 0
        mine = ControllerEpoch(epoch + 1)
        me = encodings.encode_controller(self._broker_id, timestamp_ms=self._wall_clock.now_ms())
        try:
            results = await self._client.multi(
                [
                    create_op(paths.CONTROLLER, me, CreateMode.EPHEMERAL),
                    set_data_op(
                        paths.CONTROLLER_EPOCH, encodings.encode_controller_epoch(mine), version
                    ),
                ]
            )
        except ConnectionLoss:
            return None  # if it was done after all, the znode is ours: it is cleared, then retaken
        except EnsembleError as error:
            self._events.debug("controller.election_lost", reason=str(error))
            return None
        written = results[1]
        assert isinstance(written, Stat)
        return mine, written.version

    async def _clear_own(self, stat: Stat) -> None:
        """`/controller` is this session's, from a reign that ended or an answer that was lost."""
        try:
            await self._client.delete(paths.CONTROLLER, stat.version)
        except NoNode:
            return

    async def _hold(self, epoch: ControllerEpoch, version: int) -> None:
        cluster = ControllerState(
            self._broker_id,
            epoch,
            version,
            unclean_by_default=self._unclean_by_default,
        )
        reign = Reign(
            self._client,
            cluster,
            self._settings,
            connect=self._connect,
            events=self._events,
            new_topic_id=lambda: new_topic_id(self._rng),
        )
        self._reign = reign
        self._admin = TopicAdmin(reign, self._rng)
        self._learn(self._broker_id)
        try:
            await reign.run()
        finally:
            self._reign = None
            self._admin = None
            self._learn(NO_BROKER)
        await self._resign(version)

    async def _resign(self, version: int) -> None:
        """Free the office if it is still ours, so that another broker need not wait."""
        with trio.move_on_after(RETRY_S), contextlib.suppress(EnsembleError):
            await self._client.multi(
                [check_op(paths.CONTROLLER_EPOCH, version), delete_op(paths.CONTROLLER)]
            )

    def _connect(self, broker: BrokerInfo) -> BrokerLink:
        point = broker.endpoint(self._settings.inter_broker_listener) or Endpoint("", "", 0)
        return BrokerLink(
            self._network,
            Address(point.host, point.port),
            f"controller-{self._broker_id}",
            self._settings.max_frame_bytes,
        )

    def _learn(self, controller_id: BrokerId) -> None:
        if controller_id != self._known_id or self._reign is not None:
            self._known_id = controller_id
            changed, self._changed = self._changed, trio.Event()
            changed.set()


def _code(error: Exception) -> ErrorCode:
    if isinstance(error, Deposed):
        return ErrorCode.NOT_CONTROLLER
    if isinstance(error, ConnectionLoss):
        return ErrorCode.REQUEST_TIMED_OUT
    return ErrorCode.UNKNOWN_SERVER_ERROR
