"""One member at work: wires the consensus core to its disk, its peers, its tree and its clients.

Everything that changes state runs in `_turn`, one synchronous pass: decided requests become one
proposal, the core's actions are written and sent, committed entries are applied, what that changes
(leading, serving) is noticed. Turns are batched: whatever arrived since the last one shares a
write, a sync and a message per peer.

Order per entry: `tree.apply`, then the `applied` subscribers, then the request's own callback.

Task tree: `run` > {peers, turns, turns beside a sync, timer, snapshots, purges}.
"""

import hmac
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import trio

from ottla.coordinator.circle import Circle
from ottla.coordinator.consensus.core import Consensus
from ottla.coordinator.consensus.values import NotLeader, Persist, Position, Snapshot, Timing
from ottla.coordinator.elections import Elections
from ottla.coordinator.figures import consensus_figures
from ottla.coordinator.leading import Leading
from ottla.coordinator.looks import next_look
from ottla.coordinator.ports import NotServing, OnApplied
from ottla.coordinator.requests import Requests
from ottla.coordinator.servers import details_of
from ottla.coordinator.serving import Serving
from ottla.coordinator.settings import CoordinatorSettings
from ottla.coordinator.snapshotting import Snapshotting
from ottla.coordinator.store.pieces import chunks_of
from ottla.coordinator.store.store import Store
from ottla.coordinator.syncing import Syncing
from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import REOPEN_SESSION, Applied, Session
from ottla.coordinator.tree.watches import Watches
from ottla.coordinator.turns import Turns
from ottla.coordinator.watching import Watching
from ottla.protocol.peer.entries import Entry
from ottla.protocol.peer.membership import MARK, decode
from ottla.protocol.peer.messages import (
    CONSENSUS_MESSAGES,
    Forward,
    ForwardedRequest,
    PeerMessage,
    ReadIndexReply,
    ReadIndexRequest,
    SessionTouches,
)
from ottla.protocol.zookeeper.data import Id
from ottla.protocol.zookeeper.ensemble import Server
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.opcodes import OpCode
from ottla.protocol.zookeeper.requests import CreateSessionRequest
from ottla.runtime.interfaces import Runtime
from ottla.runtime.timekeeper import Timekeeper

APPLY_MAX = 500
"""Entries applied per turn, so that heartbeats are never late."""


class Node:
    """A member of the ensemble (`ports.Member`). Lives as long as `run`."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        runtime: Runtime,
        store: Store,
        *,
        is_founder: bool = False,
    ) -> None:
        """Load the state that the store holds. `is_founder`: if that is empty, it never was other.

        CorruptSnapshot, TlsUnusable.
        """
        now = trio.current_time()
        self._settings = settings
        self._runtime = runtime
        self._events = runtime.events
        self._store = store
        self.member_id = settings.my_id
        recovered = store.recovered
        self._tree = Tree() if recovered.snapshot is None else _tree_of(recovered.snapshot)
        self.watches = Watches()
        self._timing = Timing.for_tick(settings.tick_time_ms, settings.init_limit)
        self._core = Consensus(
            settings.my_id,
            settings.voter_ids,
            self._timing,
            runtime.rng,
            now,
            hard=recovered.hard,
            base=recovered.base,
            entries=recovered.entries,
            observers=settings.observers,
            membership=b"" if recovered.snapshot is None else recovered.snapshot.membership,
            is_founder=is_founder,
        )
        self._circle = Circle(settings, runtime, self._core)
        self._circle.show(self._tree)
        self._applied = recovered.base
        self._peers = self._circle.make_peers(
            on_message=self._on_message,
            on_received=self._on_received,
            on_link=self._on_link,
            on_ended=self._on_ended,
        )
        self._leading: Leading | None = None
        self._serving = Serving(self._core, runtime.events)
        self._seen: tuple[int, int | None] = (recovered.hard.epoch, None)  # epoch, leader
        self._elections = Elections(self._core, self._peers, runtime.events, now)
        self._leader_changed = trio.Event()
        self._retiring = False
        self._watching = Watching(
            settings,
            self._core,
            self._peers,
            runtime.events,
            now,
            last_zxid=lambda: self._tree.last_zxid,
            on_read_only_ended=self._serving.tell,
        )

        life = runtime.rng.getrandbits(30) ^ runtime.wall_clock.now_ms()
        self._requests = Requests(settings.my_id, life)
        self._touched: dict[int, None] = {}
        self._on_applied: list[OnApplied] = []
        self._at_end_of_run: list[Callable[[], None]] = []

        self._to_apply: deque[Entry] = deque()
        self._snapshots = Snapshotting(
            settings,
            store,
            runtime.events,
            runtime.rng,
            state=lambda: (self._applied, self._tree),
            offer=self._offer_snapshot,
        )
        is_alone = self._peers is None
        syncing = Syncing(store, self._core, self._snapshots, self._on_held, is_alone=is_alone)
        self._turns = Turns(self._turn, syncing.sync, syncing.sync_here, is_alone=is_alone)
        self._timekeeper = Timekeeper()
        self._report_at = now
        self._turn_due = False  # the core was told something since the last turn

    # --- what the client port asks (ports.Member)

    @property
    def tree(self) -> Tree:
        return self._tree

    @property
    def is_serving(self) -> bool:
        return self._serving.is_on

    @property
    def is_read_only(self) -> bool:
        return self._watching.is_read_only

    @property
    def role(self) -> str:
        if not self._serving.is_on:
            return "read-only" if self.is_read_only else "looking"
        if self._peers is None:
            return "standalone"
        if not self._core.is_voter:
            return "observer"
        return "leader" if self._core.leadership is not None else "follower"

    @property
    def leader_id(self) -> int | None:
        """The member that leads the current epoch, as far as this one knows."""
        return self._core.leader

    @property
    def epoch(self) -> int:
        return self._core.hard.epoch

    def subscribe_applied(
        self, callback: OnApplied, at_end: Callable[[], None] | None = None
    ) -> None:
        """See `ports.Member`."""
        self._on_applied.append(callback)
        if at_end is not None:
            self._at_end_of_run.append(at_end)

    def subscribe_serving(self, callback: Callable[[bool], None]) -> None:
        self._serving.subscribe(callback)

    def submit_nowait(
        self, session_id: int, opcode: int, body: bytes, auth: Sequence[Id], on_applied: OnApplied
    ) -> None:
        """See `ports.Member`."""
        if not self._serving.is_on:
            raise NotServing
        self._submit(session_id, opcode, body, auth, on_applied)

    def _submit(
        self, session_id: int, opcode: int, body: bytes, auth: Sequence[Id], on_applied: OnApplied
    ) -> None:
        tag = self._requests.wait_for(on_applied)
        is_next = not (self._requests.come_first or self._core.is_handing_over)
        if self._leading is not None and is_next:
            origin, now_ms = (self.member_id, tag), self._runtime.wall_clock.now_ms()
            self._leading.decide(session_id, opcode, body, auth, origin=origin, now_ms=now_ms)
        else:
            identities = tuple([(identity.scheme, identity.id) for identity in auth])
            request = ForwardedRequest(tag, session_id, opcode, body, identities)
            self._requests.unsent.append((self.member_id, request))
        self._turns.want_gathered()

    async def submit(
        self, session_id: int, opcode: int, body: bytes, auth: Sequence[Id]
    ) -> Applied:
        """As `submit_nowait`, waiting for the outcome. NotServing, also while it waits."""
        if not self._serving.is_on:
            raise NotServing
        outcome: list[Applied] = []
        done = trio.Event()

        def on_applied(applied: Applied) -> None:
            outcome.append(applied)
            done.set()

        self._submit(session_id, opcode, body, auth, on_applied)
        return await self._requests.call(done, outcome)

    async def create_session(self, timeout_ms: int) -> Session:
        """See `ports.Member`."""
        body = CreateSessionRequest(timeout_ms).encode()
        applied = await self.submit(0, int(OpCode.CREATE_SESSION), body, ())
        session = self._tree.session(applied.session_id)
        if session is None:
            # It expired in the same breath: this member was far behind when it was created.
            raise NotServing
        return session

    async def validate_session(
        self, session_id: int, password: bytes, timeout_ms: int
    ) -> Session | None:
        """See `ports.Member`."""
        session = self._tree.session(session_id)
        if session is None:  # it may be newer than what this member has applied
            await self.sync()
            session = self._tree.session(session_id)
        if session is None or not hmac.compare_digest(session.password, password):
            return None
        body = CreateSessionRequest(timeout_ms).encode()
        applied = await self.submit(session_id, REOPEN_SESSION, body, ())
        return self._tree.session(session_id) if applied.error is ZkError.OK else None

    async def sync(self) -> None:
        """Wait until everything committed before the call is applied here. NotServing."""
        if not self._serving.is_on:
            raise NotServing
        tag = self._requests.next_tag()
        self._requests.reads.begin(tag)
        if self._core.leadership is not None:
            self._answer_read(tag, None)
        elif self._peers is not None and self._core.leader is not None:
            self._peers.send(self._core.leader, ReadIndexRequest(tag))
            self._peers.flush()
        patience_s = self._settings.sync_limit * self._settings.tick_time_ms / 1000
        if not await self._requests.reads.wait(tag, patience_s):
            raise NotServing

    def touch(self, session_id: int) -> None:
        """See `ports.Member`."""
        if self._leading is not None:
            self._leading.touch(session_id, trio.current_time())
        else:
            self._touched[session_id] = None

    def statistics(self) -> Mapping[str, int | float | str]:
        """See `ports.Member`."""
        return {
            "outstanding_requests": len(self._requests),
            "server_state": self.role,
            "applied_index": self._applied.index,
            **consensus_figures(self._core, trio.current_time()),
        }

    # --- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be a member until cancelled. OSError: the peer port is taken, or the disk failed."""
        try:
            async with trio.open_nursery() as nursery:
                if self._peers is not None:
                    await nursery.start(self._peers.run)
                nursery.start_soon(self._turns.run)
                nursery.start_soon(self._turns.run_beside)
                nursery.start_soon(self._turns.run_later, self._timing.news_s)
                nursery.start_soon(self._timekeeper.run, self._look)
                nursery.start_soon(self._snapshots.run)
                if self._settings.autopurge_purge_interval_h > 0:
                    nursery.start_soon(self._snapshots.run_purges)
                task_status.started()
        finally:
            self._drop_waiters()
            self._serving.end("this member stops")

    async def hand_over(self) -> None:
        """Before a clean stop: give the leadership away, if that can be done within its time."""
        self._retiring = True
        if self._core.leadership is None or self._peers is None:
            return
        self._turn()  # what is decided by now goes into the log
        target = self._core.begin_transfer(trio.current_time())
        if target is None:
            return
        self._events.info("ensemble.leadership_offered", to=target, epoch=self.epoch)
        self._turn()
        with trio.move_on_after(self._timing.election_min_s):
            while self._core.leader in (None, self.member_id) and self._peers.is_connected(target):
                await self._leader_changed.wait()

    def _on_held(self, now: float) -> None:
        if self._leading is not None:
            self._leading.heard_nobody(now)

    def _look(self) -> float:
        """What time alone brings; when to look again."""
        now = trio.current_time()
        self._core.tick(now)
        if self._leading is not None:
            self._leading.look(now, self._runtime.wall_clock.now_ms())
        if self._report_at <= now:
            self._report_at = now + self._settings.tick_time_ms / 2000
            self._report_touches()
        self._watching.look(now, is_serving=self._serving.is_on)
        self._turn()
        report_at = self._report_at if self._touched else float("inf")
        return max(next_look(self._core, self._leading, now, report_at), now + 0.001)

    def _report_touches(self) -> None:
        """Every half tick, as sessions live for two ticks at least."""
        leader = self._core.leader
        if not self._touched or leader is None or self._peers is None:
            return
        if leader != self.member_id and self._peers.is_connected(leader):
            self._peers.send(leader, SessionTouches(tuple(self._touched)))
            self._touched = {}

    # --- a turn

    def _turn(self) -> None:
        core, now = self._core, trio.current_time()
        self._turn_due = False
        self._turns.began()
        self._hand_requests_on()
        while self._carry_out(now) and self._turns.sync_at_once():
            now = trio.current_time()
        if core.leadership is not None and core.leadership.owes_news:
            self._turns.want_later()
        if self._to_apply:
            self._apply(now)
        self._notice(now)

    def _carry_out(self, now: float) -> bool:
        """Do what the core asks for; whether anything was written."""
        actions = self._core.actions(now)
        if actions.persist is not None:
            self._persist(actions.persist)
        if self._peers is not None:
            self._circle.follow(self._peers, self._invited)
            for member, message in actions.send:
                self._peers.send(member, message)
            self._peers.flush()
        if actions.snapshots_wanted:
            self._snapshots.offer_soon()
        self._to_apply.extend(actions.apply)
        return actions.persist is not None

    def _hand_requests_on(self) -> None:
        """Decided requests to the log, undecided ones to whoever decides them."""
        leading, core, requests = self._leading, self._core, self._requests
        if core.is_handing_over:
            return  # all that comes now is for the next leader
        if requests.has_sent_before(core.hard.epoch):
            if not core.may_ask_again:
                return
            requests.send_again()
        if leading is not None:
            for member, request in requests.take_unsent():
                self._decide(member, request)
            try:
                leading.reconfiguring.step(trio.current_time())
                proposals, awaited_by = leading.take_proposals()
                if proposals:
                    core.propose(proposals, awaited_by)
            except NotLeader:
                self._lose_leading()
        elif requests.unsent and core.leadership is None:
            self._forward()

    def _decide(self, member: int, request: ForwardedRequest) -> None:
        assert self._leading is not None
        now, now_ms = trio.current_time(), self._runtime.wall_clock.now_ms()
        self._leading.decide_forwarded(member, request, now, now_ms)

    def _forward(self) -> None:
        leader, peers = self._core.leader, self._peers
        if leader is None or peers is None or not peers.is_connected(leader):
            return
        self._requests.forget_others()
        own = tuple([request for _, request in self._requests.take_unsent()])
        if own:
            peers.send(leader, Forward(self.epoch, own))
            self._requests.were_sent(own, self.epoch)

    def _persist(self, persist: Persist) -> None:
        self._store.write(persist)
        if persist.snapshot is not None:
            at = persist.snapshot.at
            self._events.info("ensemble.snapshot_installed", zxid=f"{at.zxid:#x}", index=at.index)
            self._drop_waiters()
            self._serving.end("a snapshot replaces the state")
            self._watching.end_read_only()
            self._to_apply.clear()
            self._tree = _tree_of(persist.snapshot)
            self._circle.show(self._tree)
            self._applied = at
            self._snapshots.plan(at.index)

    def _apply(self, now: float) -> None:
        tree, requests, me = self._tree, self._requests, self.member_id
        entries, leading = self._to_apply, self._leading
        for _ in range(min(len(entries), APPLY_MAX)):
            entry = entries.popleft()
            if entry.payload[:1] == MARK:
                applied = self._apply_membership(entry, now)
            else:
                applied = tree.apply(entry.zxid, entry.payload)
                is_no_op = not entry.zxid & 0xFFFFFFFF  # nobody has decided that
                if leading is not None and entry.epoch == leading.epoch and not is_no_op:
                    leading.applied(applied, now)
            for callback in self._on_applied:
                callback(applied)
            origin = applied.origin
            if origin is not None and origin.member_id == me:
                requests.applied(origin.tag, applied)
        for at_end in self._at_end_of_run:
            at_end()
        self._applied = Position(entry.index, entry.epoch, entry.zxid)
        self._core.applied(entry.index)
        if entries:
            self._turns.want()
        requests.reads.applied(entry.index)
        self._circle.learn(tree)
        self._snapshots.applied(entry.index, is_behind=bool(entries) and not self._serving.is_on)

    def _apply_membership(self, entry: Entry, now: float) -> Applied:
        """A configuration: its transaction counts with the entry that ends the change."""
        membership = decode(entry.payload)
        details = None if membership.is_joint else details_of(membership)
        txn = b"" if details is None else details.txn
        applied = self._tree.apply_membership(entry.zxid, entry.payload, txn)
        if details is not None and txn:
            self._circle.changed(details, entry.zxid)
            if self._leading is not None:
                self._leading.reconfiguring.ended(now)
        return applied

    def _invited(self) -> Mapping[int, Server]:
        return {} if self._leading is None else self._leading.reconfiguring.invited()

    def _notice(self, now: float) -> None:
        """React to what the turn changed: who leads, and whether this member may serve."""
        core = self._core
        seen = (core.hard.epoch, core.leader)
        if seen != self._seen:
            self._elections.saw(now)
            self._seen = seen
            self._timekeeper.look_before(now)
            self._leader_changed.set()
            self._leader_changed = trio.Event()
            self._requests.forget_others()
            self._requests.reads.fail_all()
        leading = self._leading
        if leading is not None and (
            core.leadership is None or core.leadership.epoch != leading.epoch
        ):
            self._lose_leading()
        if self._leading is None and core.may_decide and not self._retiring:
            self._leading = Leading(
                core.hard.epoch,
                self._tree,
                self._settings,
                core=core,
                events=self._events,
                servers=lambda: self._circle.servers,
                rng=self._runtime.rng,
                now=now,
            )
            self._turns.want()
        if self._requests.has_sent_before(core.hard.epoch) and core.may_ask_again:
            self._turns.want()
        self._update_serving(now)

    def _lose_leading(self) -> None:
        self._leading = None
        self._drop_waiters()
        self._serving.end("this member no longer leads")

    def _update_serving(self, now: float) -> None:
        serving = self._serving
        may_serve = serving.may_serve(now, self._applied, decides=self._leading is not None)
        if may_serve and not serving.is_on:
            serving.is_on = True
            self._watching.end_read_only()
            serving.tell_begun(self.role)
        elif serving.is_on and not may_serve:
            self._drop_waiters()
            serving.end("no leader, or no majority")

    def _drop_waiters(self) -> None:
        """Requests may be lost, or done without an answer: every client must ask anew."""
        if self._requests.drop():
            self._serving.end("requests were lost with the leader")

    # --- peers

    def _on_message(self, sender: int, message: PeerMessage) -> None:
        if isinstance(message, CONSENSUS_MESSAGES):
            if self._core.step(sender, message, trio.current_time()) or not self._serving.is_on:
                self._turn_due = True
            return
        if isinstance(message, Forward):
            self._on_forward(sender, message)
        elif isinstance(message, SessionTouches):
            if self._leading is not None:
                now = trio.current_time()
                for session_id in message.session_ids:
                    self._leading.touch(session_id, now)
            return
        elif isinstance(message, ReadIndexRequest):
            self._answer_read(message.tag, sender)
        elif isinstance(message, ReadIndexReply):
            self._requests.reads.told(message.tag, message.commit, self._applied.index)
        self._turns.want_gathered()

    def _on_received(self) -> None:
        """What the core was told takes effect at once; requests wait for others of this turn."""
        if self._turn_due:
            self._turns.take_at_once()

    def _on_forward(self, sender: int, message: Forward) -> None:
        leadership = self._core.leadership
        if leadership is None or leadership.epoch != message.epoch or leadership.is_handing_over:
            return  # another epoch begins, or has begun: the sender asks its leader
        if self._leading is None or self._requests.unsent:
            self._requests.unsent.extend((sender, request) for request in message.requests)
        else:
            for request in message.requests:
                self._decide(sender, request)

    def _answer_read(self, tag: int, sender: int | None) -> None:
        """ReadIndex by lease (Ongaro 6.4.1): no other leader can have committed more by now."""
        is_leased = self._core.lease_end() > trio.current_time()
        commit = self._core.commit_index if is_leased else -1
        if sender is None:
            self._requests.reads.told(tag, commit, self._applied.index)
        elif self._peers is not None:
            self._core.await_here(sender, commit)
            self._peers.send(sender, ReadIndexReply(tag, commit))

    def _on_link(self, member: int, is_up: bool) -> None:
        if is_up:
            self._core.reachable(member)
            if member == self._core.leader and self._requests.has_sent_in(self.epoch):
                # Nobody knows which of them were lost with the link before.
                self._drop_waiters()
        else:
            self._core.unreachable(member)
            self._leader_changed.set()  # who waits for it to take over waits in vain
            self._leader_changed = trio.Event()
            if member == self._core.leader:
                self._requests.reads.fail_all()
        self._turns.want()

    def _on_ended(self, member: int) -> None:
        if member == self._core.leader:
            now = trio.current_time()
            self._elections.leader_ended(now)
            self._core.leader_ended(now)
            self._timekeeper.look_before(now)

    def _offer_snapshot(self, snapshot: Snapshot) -> None:
        self._core.offer_snapshot(snapshot, trio.current_time())
        self._turns.want()


def _tree_of(snapshot: Snapshot) -> Tree:
    return Tree.load(chunks_of(snapshot.chunks))


__all__ = ["Node"]
