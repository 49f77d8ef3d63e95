"""What a broker does when a log directory fails, or a single log: its partitions go offline here.

They answer KAFKA_STORAGE_ERROR from then on, and the controller is told by a znode below
`/log_dir_event_notification` (KIP-112). It then asks this broker about all its replicas by
LeaderAndIsr, learns from the answers which are offline, and moves their leadership.
"""

from collections.abc import Callable, Iterable

from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.client import EnsembleClient
from ottla.broker.ensemble.errors import ConnectionLoss, SessionExpired
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.broker.storage.log_dir import LogManager
from ottla.protocol.zookeeper.opcodes import CreateMode


class LostLogs:
    """The task that carries losses from the logs to the partitions and to the controller."""

    def __init__(
        self,
        broker_id: BrokerId,
        logs: LogManager,
        client: EnsembleClient,
        take_offline: Callable[[Iterable[TopicPartition]], None],
    ) -> None:
        self._broker_id = broker_id
        self._logs = logs
        self._client = client
        self._take_offline = take_offline

    async def run(self) -> None:
        """Until cancelled, or until no log directory is left: AllLogDirsFailed."""
        while True:
            self._take_offline(await self._logs.wait_lost())
            self._logs.require_a_dir()
            await self._tell_controller()

    async def _tell_controller(self) -> None:
        data = encodings.encode_log_dir_event(self._broker_id)
        while True:
            try:
                await self._client.create(
                    paths.LOG_DIR_EVENT_PREFIX, data, CreateMode.PERSISTENT_SEQUENTIAL
                )
                return
            except (ConnectionLoss, SessionExpired):
                await self._client.wait_connected()  # told twice does no harm


__all__ = ["LostLogs"]
