"""The controller's reads and writes of the ensemble.

Every write is a multi whose first step checks the version of `/controller_epoch`: a controller that
was replaced can change nothing and gets ControllerMoved. Requests travel together; partition states
are written many to a multi, and one by one only where such a multi failed.
"""

from collections.abc import Iterable, Sequence

from ottla.broker.controller.state import ControllerState, StateWrite
from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.client import (
    EnsembleClient,
    Operation,
    check_op,
    create_op,
    delete_op,
    set_data_op,
)
from ottla.broker.ensemble.errors import ConnectionLoss, MultiFailed, NodeExists, NoNode
from ottla.broker.ensemble.replies import Reply
from ottla.broker.ensemble.values import BrokerInfo, PartitionState, TopicAssignment
from ottla.broker.ensemble.watches import Watch
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.protocol.zookeeper.messages import Stat

WRITES_PER_MULTI = 200
_Results = list[Stat | str | None]
Applied = list[tuple[StateWrite, int]]


class ControllerMoved(Exception):
    """`/controller_epoch` is not ours any more: another broker is the controller."""


class Ledger:
    """Ensemble access for one reign. Raises ControllerMoved and EnsembleError."""

    def __init__(self, client: EnsembleClient, cluster: ControllerState) -> None:
        self._client = client
        self._cluster = cluster

    # --- reads -----------------------------------------------------------------------------

    async def brokers(self, ids: Iterable[int], watch: Watch) -> dict[BrokerId, BrokerInfo]:
        """The registered ones among `ids`; a watch is set on each znode."""
        replies = {
            BrokerId(each): self._client.start_get_data(paths.broker(BrokerId(each)), watch=watch)
            for each in ids
        }
        found = {}
        for broker_id, reply in replies.items():
            try:
                data, stat = await reply.get()
            except NoNode:
                continue
            found[broker_id] = encodings.decode_broker(broker_id, data, epoch=stat.czxid)
        return found

    async def topics(
        self, names: Iterable[str], watch: Watch
    ) -> dict[str, tuple[TopicAssignment, int]]:
        """The existing ones among `names` with their znode's version; each is watched."""
        replies = {
            name: self._client.start_get_data(paths.topic(name), watch=watch) for name in names
        }
        found = {}
        for name, reply in replies.items():
            try:
                data, stat = await reply.get()
            except NoNode:
                continue
            found[name] = (encodings.decode_topic(name, data), stat.version)
        return found

    async def partition_states(
        self, tps: Iterable[TopicPartition]
    ) -> dict[TopicPartition, PartitionState | None]:
        """None for a partition that has no state yet."""
        dated = await self.dated_partition_states(tps)
        return {tp: found and found[0] for tp, found in dated.items()}

    async def dated_partition_states(
        self, tps: Iterable[TopicPartition]
    ) -> dict[TopicPartition, tuple[PartitionState, int] | None]:
        """Each state with the zxid of its last write, which compares with broker epochs."""
        replies = {tp: self._client.start_get_data(paths.partition_state(tp)) for tp in tps}
        found: dict[TopicPartition, tuple[PartitionState, int] | None] = {}
        for tp, reply in replies.items():
            try:
                data, stat = await reply.get()
            except NoNode:
                found[tp] = None
                continue
            state = encodings.decode_partition_state(tp, data, stat.version)
            found[tp] = (state, stat.mzxid)
        return found

    async def topic_configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Overrides per topic, empty where there are none."""
        replies = {
            name: self._client.start_get_data(paths.config("topics", name)) for name in names
        }
        configs = {}
        for name, reply in replies.items():
            try:
                data, _ = await reply.get()
                configs[name] = encodings.decode_config(paths.config("topics", name), data)
            except NoNode:
                configs[name] = {}
        return configs

    # --- writes ----------------------------------------------------------------------------

    def start(self, operations: Sequence[Operation]) -> Reply[_Results]:
        """Queue a fenced multi; await it with `finish`."""
        check = check_op(paths.CONTROLLER_EPOCH, self._cluster.epoch_version)
        return self._client.start_multi([check, *operations])

    async def finish(self, reply: Reply[_Results]) -> _Results:
        """The results without that of the check. MultiFailed counts its index likewise."""
        try:
            return (await reply.get())[1:]
        except MultiFailed as error:
            if error.index == 0:
                raise ControllerMoved(str(error.cause)) from error
            raise MultiFailed(error.index - 1, error.cause) from error

    async def write(self, operations: Sequence[Operation]) -> _Results:
        """A fenced multi. MultiFailed says which of `operations` failed."""
        return await self.finish(self.start(operations))

    async def write_states(
        self, writes: Sequence[StateWrite]
    ) -> tuple[Applied, list[TopicPartition]]:
        """Write partition states; returns those written with their new version, and those lost.

        A lost partition was changed or removed by somebody else, or it is not known whether our
        write happened; the cluster state then holds what the ensemble has now.
        """
        kinds = ([w for w in writes if w.creates], [w for w in writes if not w.creates])
        batches = [
            kind[at : at + WRITES_PER_MULTI]
            for kind in kinds
            for at in range(0, len(kind), WRITES_PER_MULTI)
        ]
        parents = [
            self.start([create_op(paths.partitions(topic), None)])
            for topic in dict.fromkeys(each.tp.topic for each in writes if each.creates)
            if not self._has_states(topic)
        ]
        started = [(batch, self.start(self._operations(batch))) for batch in batches]
        for parent in parents:
            try:
                await self.finish(parent)
            except MultiFailed as error:
                if not isinstance(error.cause, NodeExists | NoNode):
                    raise
        applied: Applied = []
        doubtful: list[StateWrite] = []
        for batch, reply in started:
            try:
                applied += self._versions(batch, await self.finish(reply))
            except ConnectionLoss:
                doubtful += batch
            except MultiFailed:
                one_by_one, lost = await self._write_singly(batch)
                applied += one_by_one
                doubtful += lost
        settled, lost_tps = await self._settle(doubtful)
        return applied + settled, lost_tps

    def _has_states(self, topic: str) -> bool:
        return any(tp in self._cluster.partitions for tp in self._cluster.partitions_of(topic))

    def _operations(self, writes: Sequence[StateWrite]) -> list[Operation]:
        operations = []
        for each in writes:
            path = paths.partition_state(each.tp)
            data = encodings.encode_partition_state(each.state)
            if each.creates:
                operations.append(create_op(paths.partition(each.tp), None))
                operations.append(create_op(path, data))
            else:
                operations.append(set_data_op(path, data, each.state.partition_epoch))
        return operations

    def _versions(self, writes: Sequence[StateWrite], results: _Results) -> Applied:
        stats = [result for result in results if not isinstance(result, str)]
        if writes[0].creates:
            return [(each, 0) for each in writes]
        assert len(stats) == len(writes)
        return [
            (each, stat.version)
            for each, stat in zip(writes, stats, strict=True)
            if stat is not None
        ]

    async def _write_singly(self, writes: Sequence[StateWrite]) -> tuple[Applied, list[StateWrite]]:
        started = []
        for each in writes:
            operations = self._operations([each])
            if each.creates:
                # An earlier attempt may have left the parents; their creation may fail alone.
                for path in (paths.partitions(each.tp.topic), paths.partition(each.tp)):
                    self.start([create_op(path, None)])
                operations = operations[1:]
            started.append((each, self.start(operations)))
        applied: Applied = []
        lost = []
        for each, reply in started:
            try:
                applied += self._versions([each], await self.finish(reply))
            except (ConnectionLoss, MultiFailed):
                lost.append(each)
        return applied, lost

    async def _settle(self, doubtful: Sequence[StateWrite]) -> tuple[Applied, list[TopicPartition]]:
        """Find out by reading what became of writes whose fate is not known.

        Waits for the ensemble as long as it takes: who judged by what was known before would tell a
        leader that its ISR is what it no longer is.
        """
        applied: Applied = []
        lost: list[TopicPartition] = []
        if not doubtful:
            return applied, lost
        while True:
            try:
                await self._client.sync()  # the member that we are at now may be behind
                states = await self.partition_states([each.tp for each in doubtful])
                break
            except ConnectionLoss:
                await self._client.wait_connected()
        for each in doubtful:
            state = states[each.tp]
            if state is not None and state.controller_epoch > self._cluster.epoch:
                raise ControllerMoved(f"{each.tp} was written by a newer controller")
            if state is not None and _same(state, each.state):
                applied.append((each, state.partition_epoch))
            else:
                self._cluster.put_partition(each.tp, state)
                lost.append(each.tp)
        return applied, lost

    async def delete_topic(self, topic: str) -> None:
        """Remove all znodes of a topic whose replicas are gone, in one transaction if possible."""
        operations = []
        for tp in self._cluster.partitions_of(topic):
            if tp in self._cluster.partitions:
                operations.append(delete_op(paths.partition_state(tp)))
                operations.append(delete_op(paths.partition(tp)))
        if operations:
            operations.append(delete_op(paths.partitions(topic)))
        operations.append(delete_op(paths.topic(topic)))
        operations.append(delete_op(paths.config("topics", topic)))
        operations.append(delete_op(paths.delete_topic(topic)))
        if len(operations) <= 2 * WRITES_PER_MULTI:
            try:
                await self.write(operations)
                return
            except (MultiFailed, ConnectionLoss):
                pass
        await self._delete_tree(paths.topic(topic))
        await self._delete_tree(paths.config("topics", topic))
        await self._delete_tree(paths.delete_topic(topic))

    async def _delete_tree(self, path: str) -> None:
        """Remove a znode and all below it, leaves first, whatever is there."""
        try:
            children = await self._client.get_children(path)
        except NoNode:
            return
        for child in children:
            await self._delete_tree(f"{path}/{child}")
        await self.delete(path)

    async def delete(self, path: str) -> None:
        """Remove one znode; it may be gone already."""
        try:
            await self.write([delete_op(path)])
        except MultiFailed as error:
            if not isinstance(error.cause, NoNode):
                raise


def _same(found: PartitionState, wanted: PartitionState) -> bool:
    """Whether the ensemble holds what we wrote, whatever its version."""
    return (
        found.leader == wanted.leader
        and found.leader_epoch == wanted.leader_epoch
        and found.isr == wanted.isr
        and found.controller_epoch == wanted.controller_epoch
        and found.recovering == wanted.recovering
    )
