"""The listener for ZooKeeper clients: accepts, shakes hands, moves bytes.

Task tree: `serve` > {sending, acceptors, one task per connection: handshake, then reader}. Whoever
ends a connection closes its stream; its own task then cleans up.
"""

import hmac
import ssl
from collections.abc import Sequence

import trio

from ottla.coordinator.client_port.connection import Connection, Proofs
from ottla.coordinator.client_port.digest_md5 import DigestMd5Server
from ottla.coordinator.client_port.enforcement import enforcement_of
from ottla.coordinator.client_port.sending import Sending
from ottla.coordinator.client_port.statistics import Counters
from ottla.coordinator.figures import Facts
from ottla.coordinator.four_letter_words import respond
from ottla.coordinator.ports import Member, NotServing
from ottla.coordinator.settings import CoordinatorSettings
from ottla.coordinator.store.store import directory_bytes
from ottla.coordinator.tree.access import AuthIds
from ottla.coordinator.tree.values import REOPEN_SESSION, Applied
from ottla.protocol.zookeeper.data import Id
from ottla.protocol.zookeeper.errors import (
    DecodeError,
    FrameTooLarge,
    ProtocolError,
    ZkError,
    guess_protocol,
)
from ottla.protocol.zookeeper.framing import FrameReader, frame
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import ConnectRequest, ConnectResponse
from ottla.protocol.zookeeper.opcodes import PROTOCOL_VERSION
from ottla.protocol.zookeeper.session import event_frame
from ottla.runtime.interfaces import Address, ConnectionLost, Listener, Runtime, Stream
from ottla.runtime.tls import TlsStream, server_context

HANDSHAKE_TIMEOUT_S = 10.0


class ClientPort:
    """One member's client port; lives until `serve` is cancelled."""

    def __init__(
        self,
        member: Member,
        settings: CoordinatorSettings,
        runtime: Runtime,
    ) -> None:
        self._member = member
        self._settings = settings
        self._runtime = runtime
        self._proofs = Proofs(
            settings.super_digest,
            self._begin_sasl if settings.sasl_users else None,
            settings.sasl_super_user,
            enforcement_of(settings.required_schemes),
        )
        self._total = Counters()
        self._connections: dict[Connection, None] = {}
        self._by_session: dict[int, Connection] = {}
        self._by_host: dict[str, int] = {}
        self._sending = Sending()
        self._nursery: trio.Nursery | None = None
        self._address = settings.client_address
        self._began = trio.current_time()
        member.subscribe_applied(self._on_applied, self._sending.flush)
        member.subscribe_serving(self._on_serving)

    @property
    def connections(self) -> Sequence[Connection]:
        return list(self._connections)

    @property
    def counters(self) -> Counters:
        return self._total

    async def serve(
        self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until cancelled; reports the plain port's bound address.

        Raises OSError when a port cannot be bound, TlsUnusable.
        """
        settings, network = self._settings, self._runtime.network
        context = None if settings.tls is None else server_context(settings.tls)
        listener = await network.listen(settings.client_address)
        listeners = [listener]
        self._address = listener.address
        try:
            async with trio.open_nursery() as self._nursery:
                if context is not None:
                    secure = await network.listen(settings.secure_client_address)
                    listeners.append(secure)
                    self._runtime.events.info("client_port.secured", address=str(secure.address))
                    self._nursery.start_soon(self._accept, secure, context)
                self._nursery.start_soon(self._sending.run)
                task_status.started(listener.address)
                await self._accept(listener, None)
        finally:
            for each in listeners:
                each.close()
            for connection in list(self._connections):
                connection.close("member stops")

    async def _accept(self, listener: Listener, context: ssl.SSLContext | None) -> None:
        assert self._nursery is not None
        while True:
            stream = await listener.accept()
            if not self._admit(stream):
                continue
            if context is None:
                self._nursery.start_soon(self._serve_connection, stream)
            else:
                self._nursery.start_soon(self._secure_connection, stream, context)

    async def _secure_connection(self, stream: Stream, context: ssl.SSLContext) -> None:
        """TLS first. Whoever shows a certificate is known by its subject from then on."""
        secure = TlsStream(stream, context)
        reason = "no TLS handshake in time"
        with trio.move_on_after(HANDSHAKE_TIMEOUT_S):
            try:
                await secure.shake_hands()
            except ConnectionLost as error:
                reason = str(error)
            else:
                reason = ""
        if reason:
            self._runtime.events.warning(
                "client_port.peer_refused",
                peer=str(stream.peer),
                reason=reason,
                guess="",
                limit=self._settings.jute_max_buffer,
            )
            secure.close()
            self._forget_host(stream)
            return
        await self._serve_connection(secure)

    # The member's news. Both are called within its apply, see `ports`.

    def _on_applied(self, applied: Applied) -> None:
        self._sending.gather()
        if applied.opcode > 0 and not self._member.watches.are_any:
            return  # nearly all: of no interest to anybody but who asked for it
        if applied.events:
            fired = self._member.watches.trigger(applied.events, self._auth_of)
            encoded, known = b"", None
            for session_id, event in fired:
                if event is not known:  # those who watch the same follow one another
                    encoded, known = event_frame(event.type, event.path, applied.zxid), event
                watcher = self._by_session.get(session_id)
                if watcher is not None:
                    watcher.send_event(encoded)
        for session_id in applied.closed_sessions:
            connection = self._by_session.get(session_id)
            # Who asked for it gets an answer first, see Connection.drain.
            if connection is not None and not connection.leaving:
                connection.close("session expired or closed elsewhere")
        if applied.opcode == REOPEN_SESSION and applied.error is ZkError.OK:
            assert applied.origin is not None
            connection = self._by_session.get(applied.session_id)
            if connection is not None and applied.origin.member_id != self._member.member_id:
                connection.close("session moved")

    def _on_serving(self, serving: bool) -> None:
        for connection in list(self._connections):
            if connection.read_only:
                connection.close("member serves no longer reads alone")
            elif not serving:
                connection.close("member does not serve")

    def _auth_of(self, session_id: int) -> AuthIds:
        connection = self._by_session.get(session_id)
        return connection.auth if connection is not None else ()

    # Receiving.

    def _admit(self, stream: Stream) -> bool:
        host = stream.peer.host
        limit = self._settings.max_client_cnxns
        count = self._by_host.get(host, 0)
        self._total.connected += 1
        if limit and count >= limit:
            self._total.rejected += 1
            self._runtime.events.warning(
                "client_port.peer_refused",
                peer=str(stream.peer),
                reason="too many connections from this address",
                guess="",
                limit=limit,
            )
            stream.close()
            return False
        self._by_host[host] = count + 1
        return True

    async def _serve_connection(self, stream: Stream) -> None:
        connection = Connection(
            stream, self._member, self._sending.mark_dirty, self._total, self._proofs
        )
        if isinstance(stream, TlsStream):
            connection.be_known_as(self._x509_ids(stream.peer_subject))
        self._connections[connection] = None
        frames = FrameReader(self._settings.jute_max_buffer)
        try:
            early: Sequence[memoryview] | None = None
            with trio.move_on_after(HANDSHAKE_TIMEOUT_S):
                early = await self._shake_hands(connection, frames)
            if early is None:
                connection.close("no session")
            else:
                await self._read_requests(connection, frames, early)
        except ConnectionLost:
            connection.close("connection lost")
        except NotServing:
            connection.close("member does not serve")
        except ProtocolError as error:
            guess = error.guess if isinstance(error, FrameTooLarge) else ""
            self._refuse(connection, str(error), guess)
        finally:
            connection.close("member stops")
            self._forget(connection)

    def _begin_sasl(self) -> DigestMd5Server:
        return DigestMd5Server(self._settings.sasl_users, self._runtime.rng.randbytes(24).hex())

    def _x509_ids(self, subject: str | None) -> list[Id]:
        if subject is None:
            return []
        proved = [Id("x509", subject)]
        if subject == self._settings.x509_super_user:
            proved.append(Id("super", ""))
        return proved

    async def _read_requests(
        self, connection: Connection, frames: FrameReader, early: Sequence[memoryview]
    ) -> None:
        """`early` came together with the handshake."""
        stream, sending = connection.stream, self._sending
        touch = _untracked if connection.read_only else self._member.touch
        session_id = connection.session_id

        def take(count: int) -> bool:
            """Answer what can be answered now; whether more may be read."""
            touch(session_id)
            now = trio.current_time()
            connection.receiving = True
            connection.receive(frames.received(count) if count else early, now)
            connection.receiving = False
            if connection.has_answers:
                sending.send_now(connection, now)
            return not connection.is_full

        take(0)
        while True:
            await connection.wait_room()
            # No switch to this task between a request and its answer.
            if not await stream.receive_while(frames.buffer, take):
                connection.close("closed by its client")
                return

    def _refuse(self, connection: Connection, reason: str, guess: str) -> None:
        self._runtime.events.warning(
            "client_port.peer_refused",
            peer=str(connection.stream.peer),
            reason=reason,
            guess=guess or "unknown",
            limit=self._settings.jute_max_buffer,
        )
        connection.close("broke the protocol")

    def _forget(self, connection: Connection) -> None:
        del self._connections[connection]
        self._sending.forget(connection)
        self._forget_host(connection.stream)
        session_id = connection.session_id
        if session_id and self._by_session.get(session_id) is connection:
            del self._by_session[session_id]
            self._member.watches.forget(session_id)
        self._runtime.events.debug(
            "client_port.connection_closed",
            peer=str(connection.stream.peer),
            session=f"0x{session_id % (1 << 64):x}",
            reason=connection.close_reason,
        )

    def _forget_host(self, stream: Stream) -> None:
        host = stream.peer.host
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]

    # Handshake.

    async def _shake_hands(
        self, connection: Connection, frames: FrameReader
    ) -> Sequence[memoryview] | None:
        """Frames that came behind the ConnectRequest; None: it did not come to a session."""
        try:
            arrived: Sequence[memoryview] = ()
            while not arrived:
                count = await connection.stream.receive_into(frames.buffer())
                if not count:
                    return None
                arrived = frames.received(count)
        except FrameTooLarge as error:
            answer = respond(error.head[:4], self.facts())
            if answer is None:
                raise
            await connection.stream.send_all(answer)
            return None
        guess = guess_protocol(frame(bytes(arrived[0][:60])))
        try:
            request = ConnectRequest.decode(Reader(arrived[0]))
        except DecodeError as error:
            self._refuse(connection, f"no ConnectRequest: {error}", guess)
            return None
        if request.protocol_version != PROTOCOL_VERSION:
            self._refuse(connection, f"protocol version {request.protocol_version}", guess)
            return None
        if not await self._establish(connection, request):
            return None
        return arrived[1:]

    async def _establish(self, connection: Connection, request: ConnectRequest) -> bool:
        """Give the client a session, new or its own; False: it gets none here. NotServing."""
        member, settings = self._member, self._settings
        if not (member.is_serving or (member.is_read_only and request.read_only)):
            raise NotServing
        if request.last_zxid_seen > member.tree.last_zxid:
            # It has seen what this member has not yet: it must not go back in time.
            self._runtime.events.info(
                "client_port.client_ahead",
                peer=str(connection.stream.peer),
                seen=request.last_zxid_seen,
                here=member.tree.last_zxid,
            )
            return False
        # A client that left the byte out would not know what to do with ours.
        read_only = None if request.read_only is None else False
        timeout_ms = min(max(request.timeout, settings.min_session_ms), settings.max_session_ms)
        if member.is_read_only:
            return self._establish_read_only(connection, request, timeout_ms)
        if request.session_id == 0:
            session = await member.create_session(timeout_ms)
        else:
            self._leave_earlier(request.session_id, request.password or b"")
            known = await member.validate_session(
                request.session_id, request.password or b"", timeout_ms
            )
            if known is None:
                response = ConnectResponse(0, 0, 0, bytes(16), read_only)
                await connection.stream.send_all(frame(response.encode()))
                return False
            session = known
        # It may have ended or moved on between the transaction and this task's turn.
        current = member.tree.session(session.session_id)
        if connection.closed or current is None or current.owner != member.member_id:
            return False
        earlier = self._by_session.pop(session.session_id, None)
        if earlier is not None:
            member.watches.forget(session.session_id)
            earlier.close("its client connected anew")
        connection.bind(session.session_id, timeout_ms, self._runtime.wall_clock.now_ms())
        self._by_session[session.session_id] = connection
        member.touch(session.session_id)
        response = ConnectResponse(0, timeout_ms, session.session_id, session.password, read_only)
        connection.send(frame(response.encode()))
        return True

    def _leave_earlier(self, session_id: int, password: bytes) -> None:
        """Take nothing more from the session's earlier connection here, if its client is back.

        What came late would take its turn behind the move and happen after its client was told that
        it is connected anew. Other members' requests are refused by then, ours would not be.
        """
        earlier = self._by_session.get(session_id)
        if earlier is None:
            return
        known = self._member.tree.session(session_id)
        if known is not None and hmac.compare_digest(known.password, password):
            earlier.close("its client connected anew")

    def _establish_read_only(
        self, connection: Connection, request: ConnectRequest, timeout_ms: int
    ) -> bool:
        """A session that only this member knows and that ends with its connection.

        As in ZooKeeper 3.9 one of the ensemble's sessions is not taken in: it could not be kept.
        """
        if request.session_id:
            return False
        rng = self._runtime.rng
        session_id = rng.getrandbits(62) | 1
        connection.read_only = True
        connection.bind(session_id, timeout_ms, self._runtime.wall_clock.now_ms())
        self._by_session[session_id] = connection
        response = ConnectResponse(0, timeout_ms, session_id, rng.randbytes(16), True)
        connection.send(frame(response.encode()))
        return True

    def facts(self) -> Facts:
        """What there is to tell of this member and its clients, as of now."""
        return Facts(
            member=self._member,
            settings=self._settings,
            address=self._address,
            counters=self._total,
            connections=list(self._connections),
            uptime_s=trio.current_time() - self._began,
            directory_sizes=self._directory_sizes,
        )

    def _directory_sizes(self) -> tuple[int, int]:
        settings, disk = self._settings, self._runtime.disk
        return (
            directory_bytes(disk, settings.data_dir),
            directory_bytes(disk, settings.data_log_dir or settings.data_dir),
        )


def _untracked(_session_id: int) -> None:
    """No leader asks whether a read-only session is alive."""


__all__ = ["HANDSHAKE_TIMEOUT_S", "ClientPort"]
