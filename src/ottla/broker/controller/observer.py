"""What the controller reads of the ensemble, and what it does about it.

Watches only mark a kind of fact; `look_at` then reads it anew and brings the cluster state, the
leaders and the brokers in line. Every such step may be repeated. All of it runs in the owner task
of a `Reign`.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING
from uuid import UUID

import trio

from ottla.broker.controller import decisions, reassigning
from ottla.broker.controller.ledger import ControllerMoved
from ottla.broker.controller.notices import Notices
from ottla.broker.ensemble import encodings, paths
from ottla.broker.ensemble.client import create_op, set_data_op
from ottla.broker.ensemble.errors import MultiFailed, NoNode
from ottla.broker.ensemble.values import BrokerInfo, PartitionState, TopicAssignment
from ottla.broker.ensemble.watches import WatchEvent
from ottla.broker.ids import BrokerId, TopicPartition
from ottla.protocol.zookeeper.opcodes import EventType

if TYPE_CHECKING:
    from ottla.broker.controller.reign import Reign


class Observer:
    """The eyes of a reign."""

    def __init__(self, reign: "Reign", new_topic_id: Callable[[], UUID]) -> None:
        self._reign = reign
        self._client = reign.client
        self._cluster = reign.cluster
        self._ledger = reign.ledger
        self._settings = reign.settings
        self._events = reign.events
        self._new_topic_id = new_topic_id

    # --- watches ---------------------------------------------------------------------------

    def _brokers_fired(self, _event: WatchEvent) -> None:
        self._reign.mark("brokers")

    def _broker_fired(self, event: WatchEvent) -> None:
        if event.kind is EventType.NODE_DATA_CHANGED:
            self._reign.mark("brokers")

    def _topics_fired(self, _event: WatchEvent) -> None:
        self._reign.mark("topics")

    def topic_fired(self, event: WatchEvent) -> None:
        if event.kind is EventType.NODE_DATA_CHANGED:
            self._reign.mark("topic", event.path.rpartition("/")[2])

    def _deletions_fired(self, _event: WatchEvent) -> None:
        self._reign.mark("deletions")

    def _preferred_fired(self, _event: WatchEvent) -> None:
        self._reign.mark("preferred")

    def _reassign_fired(self, _event: WatchEvent) -> None:
        self._reign.mark("reassign")

    def _log_dirs_fired(self, _event: WatchEvent) -> None:
        self._reign.mark("log_dirs")

    def _isr_fired(self, _event: WatchEvent) -> None:
        self._reign.mark("isr")

    def _controller_fired(self, _event: WatchEvent) -> None:
        self._reign.mark("controller")

    # --- taking office ---------------------------------------------------------------------

    async def take_office(self) -> None:
        """Read everything, each kind of znode pipelined; then put right what happened meanwhile."""
        began = trio.current_time()
        await self.check_office()
        await self._ensure_features()
        ids = await self._client.get_children(paths.BROKER_IDS, watch=self._brokers_fired)
        names = await self._client.get_children(paths.TOPICS, watch=self._topics_fired)
        brokers = await self._ledger.brokers(_numbers(ids), self._broker_fired)
        _, notices = self._cluster.on_brokers_came(brokers.values())
        await self.learn_topics(names)
        tps = self._cluster.all_partitions()
        restarted = self._take_states(await self._ledger.dated_partition_states(tps))
        for broker in brokers.values():
            self._reign.channels.open(broker)
        # Before anyone is told who the controller is: who hears it asks at once, and waits in the
        # owner's queue until the rest is done.
        self._reign.serving = True
        self._reign.channels.post(notices)
        self._events.info(
            "controller.elected",
            epoch=self._cluster.epoch,
            brokers=sorted(brokers),
            topics=len(self._cluster.topics),
            partitions=len(tps),
            seconds=round(trio.current_time() - began, 3),
        )
        await self.look_at("deletions", "")
        await self._reign.commit(decisions.decide_liveness, tps)
        await self._reign.commit(
            lambda cluster, todo: decisions.decide_restarted(
                cluster, {tp: restarted[tp] for tp in todo}
            ),
            restarted,
        )
        # The first word that brokers hear is the outcome of all this. One that restarted without
        # its latest records and heard that it still leads would have the others cut theirs.
        self._reign.channels.speak()
        for kind in ("log_dirs", "isr", "reassign", "reassignments", "preferred"):
            await self.look_at(kind, "")

    def _take_states(
        self, dated: Mapping[TopicPartition, tuple[PartitionState, int] | None]
    ) -> dict[TopicPartition, list[BrokerId]]:
        """Fill in partition states; returns who restarted unseen since each was written."""
        restarted: dict[TopicPartition, list[BrokerId]] = {}
        brokers = self._cluster.brokers
        for tp, found in dated.items():
            if found is None:
                continue
            state, written_at = found
            if state.controller_epoch > self._cluster.epoch:
                raise ControllerMoved(f"{tp} was written by a newer controller")
            self._cluster.put_partition(tp, state)
            late = [
                each for each in state.isr if each in brokers and brokers[each].epoch > written_at
            ]
            if late:
                restarted[tp] = late
        return restarted

    async def _ensure_features(self) -> None:
        """`/feature`, which newer Kafka tools look for."""
        if await self._client.exists(paths.FEATURES) is None:
            with contextlib.suppress(MultiFailed):
                await self._ledger.write([create_op(paths.FEATURES, encodings.encode_features())])

    async def learn_topics(self, names: Iterable[str]) -> list[TopicPartition]:
        """Read topics that are new to the state; returns their partitions."""
        added: list[TopicPartition] = []
        found = await self._ledger.topics(names, self.topic_fired)
        for name, (topic, version) in found.items():
            topic_id = topic.topic_id
            if topic_id is None:
                # Written by a tool older than topic ids: it gets one now (KIP-516).
                topic_id = self._new_topic_id()
                data = encodings.encode_topic(TopicAssignment(topic_id, topic.partitions))
                await self._ledger.write([set_data_op(paths.topic(name), data, version)])
            known = self._cluster.topics.get(name)
            if known is not None and known.topic_id != topic_id:
                self._events.error("controller.topic_id_changed", topic=name)
                continue
            added += self._cluster.put_topic(name, topic_id, topic.partitions)
        return added

    # --- what watches and timers call for --------------------------------------------------

    async def look_at(self, kind: str, name: str) -> None:
        match kind:
            case "brokers":
                await self._look_at_brokers()
            case "topics":
                await self._look_at_topics()
            case "topic":
                await self._look_at_topic(name)
            case "deletions":
                await self._look_at_deletions()
            case "deletion_retry":
                self._reign.post(self._cluster.retry_deletions())
            case "preferred":
                await self._look_at_preferred()
            case "reassign":
                await self._look_at_reassign()
            case "reassignments":
                self._cluster.due_moves.update(self._cluster.reassigning)
                await reassigning.advance(self._reign)
            case "log_dirs":
                await self._look_at_log_dirs()
            case "isr":
                await self._look_at_isr_changes()
            case "imbalance":
                due = decisions.imbalanced(
                    self._cluster, self._settings.leader_imbalance_per_broker_percentage
                )
                await self._reign.commit(decisions.decide_preferred, due)
            case "unclean":
                self._cluster.unclean.pop(name, None)
                due = [tp for tp in self._cluster.leaderless() if tp.topic == name]
                await self._reign.commit(decisions.decide_liveness, due)
            case "unclean_by_default":
                self._cluster.unclean.clear()
                await self._reign.commit(decisions.decide_liveness, self._cluster.leaderless())
            case "liveness":
                await self._reign.commit(decisions.decide_liveness, self._cluster.all_partitions())
            case "controller":
                await self.check_office()
            case _:
                raise AssertionError(kind)

    async def check_office(self) -> None:
        """`/controller` must be our session's; an operator deletes it to move the controller."""
        try:
            _, stat = await self._client.get_data(paths.CONTROLLER, watch=self._controller_fired)
        except NoNode:
            raise ControllerMoved("/controller was deleted") from None
        if stat.ephemeral_owner != self._client.session.id:
            raise ControllerMoved("/controller belongs to another session")

    async def _look_at_brokers(self) -> None:
        ids = await self._client.get_children(paths.BROKER_IDS, watch=self._brokers_fired)
        current = await self._ledger.brokers(_numbers(ids), self._broker_fired)
        known = self._cluster.brokers
        gone = sorted(
            broker
            for broker, info in known.items()
            if broker not in current or current[broker].epoch != info.epoch
        )
        came = [
            info
            for broker, info in sorted(current.items())
            if broker in gone or broker not in known
        ]
        rewritten = [
            info
            for broker, info in sorted(current.items())
            if broker in known and broker not in gone and info != known[broker]
        ]
        if gone:
            await self._brokers_gone(gone)
        if came:
            await self._brokers_came(came)
        for info in rewritten:
            self._reign.post(self._cluster.on_broker_changed(info))

    async def _brokers_gone(self, gone: list[BrokerId]) -> None:
        self._events.info("controller.brokers_lost", brokers=gone)
        for broker in gone:
            self._reign.channels.close(broker)
        tps = self._cluster.on_brokers_gone(gone)
        notices = Notices()
        notices.announce = True
        self._reign.post(notices)
        await self._reign.commit(decisions.decide_liveness, tps)

    async def _brokers_came(self, came: list[BrokerInfo]) -> None:
        self._events.info("controller.brokers_joined", brokers=[info.id for info in came])
        for info in came:
            self._reign.channels.open(info)
        tps, notices = self._cluster.on_brokers_came(came)
        self._reign.post(notices)
        await self._reign.commit(decisions.decide_liveness, tps)

    async def _look_at_topics(self) -> None:
        names = set(await self._client.get_children(paths.TOPICS, watch=self._topics_fired))
        for gone in [name for name in self._cluster.topics if name not in names]:
            notices = Notices()
            notices.metadata.update(dict.fromkeys(self._cluster.partitions_of(gone)))
            self._cluster.forget_topic(gone)
            self._reign.post(notices)
        fresh = sorted(names - self._cluster.topics.keys())
        added = await self.learn_topics(fresh)
        await self._reign.commit(decisions.decide_liveness, added)
        self._note_growth(added)

    async def _look_at_topic(self, name: str) -> None:
        if name in self._cluster.deleting:
            return
        added = await self.learn_topics([name])
        await self._reign.commit(decisions.decide_liveness, added)
        self._note_growth(added)

    def _note_growth(self, added: list[TopicPartition]) -> None:
        for topic in dict.fromkeys(tp.topic for tp in added):
            count = sum(tp.topic == topic for tp in added)
            self._events.info("controller.partitions_created", topic=topic, partitions=count)

    async def _look_at_deletions(self) -> None:
        names = await self._client.get_children(paths.DELETE_TOPICS, watch=self._deletions_fired)
        wanted = []
        for name in sorted(names):
            if self._settings.delete_topic_enable and name in self._cluster.topics:
                wanted.append(name)
            else:
                await self._ledger.delete(paths.delete_topic(name))
        await self.delete_topics(wanted)

    async def delete_topics(self, names: Iterable[str]) -> None:
        """Begin deletions; they go on as brokers answer."""
        self._reign.post(self._cluster.on_topic_deletion(names))
        await self.finish_deletions()

    async def finish_deletions(self) -> None:
        for topic in self._cluster.deleted_topics():
            await self._ledger.delete_topic(topic)
            self._cluster.forget_topic(topic)
            self._events.info("controller.topic_deleted", topic=topic)

    async def _look_at_preferred(self) -> None:
        path = paths.PREFERRED_ELECTION
        if await self._client.exists(path, watch=self._preferred_fired) is None:
            return
        try:
            data, _ = await self._client.get_data(path)
            tps = encodings.decode_partitions(path, data)
            await self._reign.commit(decisions.decide_preferred, tps)
        except NoNode:
            return
        except encodings.MalformedZnode as error:
            self._events.warning("controller.znode_unreadable", reason=str(error))
        await self._ledger.delete(path)

    async def _look_at_reassign(self) -> None:
        path = paths.REASSIGN_PARTITIONS
        if await self._client.exists(path, watch=self._reassign_fired) is not None:
            await reassigning.take_up_znode(self._reign)

    async def _look_at_log_dirs(self) -> None:
        """Brokers whose directories failed are asked for the health of all their replicas."""
        path = paths.LOG_DIR_EVENTS
        for name in await self._client.get_children(path, watch=self._log_dirs_fired):
            try:
                data, _ = await self._client.get_data(f"{path}/{name}")
                broker = encodings.decode_log_dir_event(data)
            except (NoNode, encodings.MalformedZnode):
                broker = BrokerId(-1)
            if broker in self._cluster.brokers:
                notices = Notices()
                held = self._cluster.partitions_on(broker)
                notices.leader_and_isr[broker] = dict.fromkeys(held, False)
                self._reign.post(notices)
            await self._ledger.delete(f"{path}/{name}")

    async def _look_at_isr_changes(self) -> None:
        """Leaders that write their ISR themselves (before KIP-497) leave a note of it here."""
        path = paths.ISR_CHANGES
        notices = Notices()
        for name in await self._client.get_children(path, watch=self._isr_fired):
            try:
                data, _ = await self._client.get_data(f"{path}/{name}")
                tps = encodings.decode_partitions(path, data)
            except (NoNode, encodings.MalformedZnode):
                tps = []
            known = [tp for tp in tps if self._cluster.assignment(tp) is not None]
            for tp, state in (await self._ledger.partition_states(known)).items():
                self._cluster.put_partition(tp, state)
                notices.metadata[tp] = None
            await self._ledger.delete(f"{path}/{name}")
        self._reign.post(notices)


def _numbers(names: Iterable[str]) -> list[int]:
    return sorted(int(name) for name in names if name.isdigit())


__all__ = ["Observer"]
