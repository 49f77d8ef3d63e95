"""A member that goes on with what it has while its group rebalances (KIP-429).

It tells the leader what it owns. The leader takes partitions away in one rebalance and gives them
to others in the next, so that nobody has to stop who keeps its own.
"""

import trio

from ottla.broker.ids import TopicPartition
from ottla.protocol.kafka.codec import decode_versioned, encode_versioned
from ottla.protocol.kafka.messages.consumer_protocol import ConsumerProtocolSubscription
from tests.simulation.world.clients.groups import GroupMember, Rejoin, owned_rows


class CooperativeMember(GroupMember):
    protocol = "cooperative-sticky"

    async def run(self) -> None:
        self._tasks: dict[TopicPartition, trio.CancelScope] = {}
        self._is_out = False  # a task was told that this member is not known any more
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    await self._take_part(nursery)
                except Rejoin as reason:
                    self._over(reason)
                    if reason.forget:
                        self._give_up(list(self._tasks))

    async def _take_part(self, nursery: trio.Nursery) -> None:
        """One generation."""
        if self._is_out:
            self._is_out = False
            raise Rejoin(forget=True)
        mine = await self._join()
        lost = [tp for tp in self._tasks if tp not in mine]
        self._give_up(lost)
        gained = [tp for tp in mine if tp not in self._tasks]
        positions = await self._positions(gained) if gained else {}
        for tp in gained:
            scope = self._tasks[tp] = trio.CancelScope()
            nursery.start_soon(self._keep_consuming, tp, positions[tp], scope)
        self._history.counts["partitions kept through a rebalance"] += len(mine) - len(gained)
        if lost:
            self._history.counts["partitions given up for others"] += len(lost)
            raise Rejoin  # so that they get them
        self.stable_since = trio.current_time()
        await self._beat()

    def _give_up(self, tps: list[TopicPartition]) -> None:
        for tp in tps:
            self._tasks.pop(tp).cancel()

    async def _keep_consuming(
        self, tp: TopicPartition, position: int, scope: trio.CancelScope
    ) -> None:
        with scope:
            await self._consume(tp, position)

    async def _commit(self, tp: TopicPartition, offset: int) -> None:
        """A commit that comes in the middle of a rebalance is left to the next one."""
        try:
            await super()._commit(tp, offset)
        except Rejoin as reason:
            self._is_out |= reason.forget

    def _subscription(self, topics: list[str]) -> bytes:
        owned = owned_rows(sorted(self._tasks))
        return encode_versioned(
            ConsumerProtocolSubscription(topics=topics, owned_partitions=owned), 1
        )

    def _assign(self, members: dict[str, bytes]) -> dict[str, list[TopicPartition]]:
        """What each keeps, and what nobody has; what one has too much of goes to nobody yet."""
        claims: dict[TopicPartition, list[str]] = {}
        for member, metadata in members.items():
            _, subscription = decode_versioned(ConsumerProtocolSubscription, metadata)
            for row in subscription.owned_partitions:
                for index in row.partitions:
                    claims.setdefault(TopicPartition(row.topic, index), []).append(member)
        names = sorted(members)
        plan: dict[str, list[TopicPartition]] = {name: [] for name in names}
        least, more = divmod(len(self._tps), len(names))
        for tp in self._tps:
            owners = claims.get(tp, [])
            if len(owners) == 1 and len(plan[owners[0]]) < least + (more > 0):
                plan[owners[0]].append(tp)
        for tp in self._tps:
            if not claims.get(tp):
                plan[min(names, key=lambda name: (len(plan[name]), name))].append(tp)
        return plan
