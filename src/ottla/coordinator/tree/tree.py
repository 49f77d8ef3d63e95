"""The replicated state: znodes and sessions, changed by applying decided transactions in order.

Every member applies the same payloads and so holds the same tree. Nothing is decided here: a
payload's versions, names and owners are final, and an entry that can not be applied is a bug.
"""

import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING

from ottla.coordinator.tree import paths, txns
from ottla.coordinator.tree.access import OPEN, READ_ONLY, access_list
from ottla.coordinator.tree.births import Births
from ottla.coordinator.tree.quotas import Quotas
from ottla.coordinator.tree.values import REOPEN_SESSION, Applied, NodeChange, Origin, Session
from ottla.coordinator.tree.znode import Znode, is_ephemeral, is_ttl, ttl_of
from ottla.protocol.zookeeper.errors import ZkError
from ottla.protocol.zookeeper.jute import INT, BytesLike, Reader, put_string
from ottla.protocol.zookeeper.multi import encode_results
from ottla.protocol.zookeeper.opcodes import EventType, OpCode

if TYPE_CHECKING:
    from ottla.coordinator.tree.snapshot import Frozen

_CREATED = EventType.NODE_CREATED
_DELETED = EventType.NODE_DELETED
_DATA_CHANGED = EventType.NODE_DATA_CHANGED
_CHILDREN_CHANGED = EventType.NODE_CHILDREN_CHANGED
_OK = ZkError.OK
_CLOSE_SESSION = int(OpCode.CLOSE_SESSION)
_SET_DATA = int(OpCode.SET_DATA)
_unpack_header = txns.HEADER.unpack_from
_unpack_set_data = txns.VERSION_AND_LENGTH.unpack_from
_unpack_int = INT.unpack_from
_new = tuple.__new__  # of a named tuple: half as dear as its class, and paid for each transaction
_QUOTAS = paths.QUOTA + "/"
_ERRORS = {int(error): error for error in ZkError}


class Tree:
    """`nodes` and `ephemerals` are for reading; every change goes through `apply`."""

    __slots__ = (
        "_appliers",
        "_events",
        "_frozen",
        "_member_id",
        "_time_ms",
        "_zxid",
        "births",
        "collectable",
        "config_version",
        "data_bytes",
        "ephemerals",
        "last_session_ids",
        "last_zxid",
        "membership",
        "nodes",
        "quotas",
        "secret",
        "sessions",
    )

    def __init__(self) -> None:
        self.nodes: dict[str, Znode] = {}
        """By path; a parent comes before its children."""
        self.births = Births()
        """The paths once more, for walks that take their time."""
        self.ephemerals: dict[int, dict[str, None]] = {}
        """session id -> paths, for sessions that own any; mirrors the nodes' `owner`."""
        self.collectable: dict[str, None] = {}
        """Paths of containers and TTL nodes; see `due_for_collection`."""
        self.sessions: dict[int, tuple[int, int]] = {}
        """session id -> (timeout in ms, member that the client is at)."""
        self.last_session_ids: dict[int, int] = {}
        """The newest id handed out per top byte, also of sessions that are gone."""
        self.membership = b""
        """The newest entry of the log that is a configuration; b"": there is none."""
        self.config_version = 0
        """zxid of the last change of members; 0: what the members' files say holds."""
        self.secret = b""
        """Passwords derive from it; set by the first createSession."""
        self.quotas = Quotas(self)
        self.last_zxid = 0
        self.data_bytes = 0  # sum of path and data lengths
        self._zxid = self._time_ms = 0
        self._member_id = -1
        self._events: list[NodeChange] = []
        self._frozen: tuple[Frozen, ...] = ()
        self._appliers: Mapping[int, Callable[[Reader, int, int], bytes]] = {
            OpCode.SET_DATA: self._set_data,
            OpCode.CREATE: self._create,
            OpCode.CREATE2: self._create,
            OpCode.CREATE_CONTAINER: self._create,
            OpCode.CREATE_TTL: self._create,
            OpCode.DELETE: self._delete,
            OpCode.DELETE_CONTAINER: self._delete,
            OpCode.SET_ACL: self._set_acl,
            OpCode.CHECK: self._check_version,
            OpCode.SYNC: self._sync,
            OpCode.MULTI: self._multi,
            OpCode.CREATE_SESSION: self._create_session,
            REOPEN_SESSION: self._reopen_session,
            OpCode.CLOSE_SESSION: self._close_session,
            OpCode.RECONFIG: self._reconfig,
        }
        for path in (paths.ROOT, paths.PROC, paths.QUOTA, paths.CONFIG):
            self.insert(path, Znode(b"", OPEN, 0, 0, 0))
        config = self.nodes[paths.CONFIG]
        config.acl = READ_ONLY
        config.aversion = -1

    def apply(self, zxid: int, payload: bytes) -> Applied:
        """Apply the next transaction. An empty payload (a new leader's first entry) does nothing.

        `zxid` is above all before it.
        """
        assert zxid > self.last_zxid, (zxid, self.last_zxid)
        self.last_zxid = zxid
        if not payload:
            return Applied(zxid, 0, None, 0, _OK, b"", (), ())
        version, opcode, error, member_id, tag, session_id, time_ms = _unpack_header(payload)
        assert version == txns.FORMAT, f"transaction format {version}"
        origin = _new(Origin, (member_id, tag)) if member_id >= 0 else None
        if error:
            return Applied(zxid, session_id, origin, opcode, _ERRORS[error], b"", (), ())
        self._zxid = zxid
        self._time_ms = time_ms
        self._member_id = member_id
        events = self._events = []
        if opcode == _SET_DATA:
            reply = self._set_data_at(payload, txns.HEADER_SIZE)
            return _new(Applied, (zxid, session_id, origin, opcode, _OK, reply, events, ()))
        reader = Reader(payload, txns.HEADER_SIZE)
        reply = self._appliers[opcode](reader, opcode, session_id)
        closed = (session_id,) if opcode == _CLOSE_SESSION else ()
        return _new(Applied, (zxid, session_id, origin, opcode, _OK, reply, events, closed))

    def apply_membership(self, zxid: int, entry: bytes, payload: bytes) -> Applied:
        """Keep the entry of a configuration for snapshots, and apply the transaction in it."""
        self.membership = entry
        return self.apply(zxid, payload)

    def show_configuration(self, text: str) -> None:
        """What /zookeeper/config has as long as no reconfig was done, the same on every member.

        As in ZooKeeper: no transaction, version 0, and a znode's version of -1.
        """
        assert not self.config_version
        self._put_configuration(f"{text}\nversion=0".encode())

    def _put_configuration(self, data: bytes) -> Znode:
        node = self.for_change(paths.CONFIG)
        self.data_bytes += len(data) - (len(node.data) if node.data else 0)
        node.data = data
        node.version = -1
        node.touched()
        return node

    def session(self, session_id: int) -> Session | None:
        known = self.sessions.get(session_id)
        if known is None:
            return None
        return Session(session_id, known[0], self.password(session_id), known[1])

    def password(self, session_id: int) -> bytes:
        """16 bytes that only the ensemble can make; valid on every member."""
        assert self.secret, "no session was ever created"
        raw = session_id.to_bytes(8, "big", signed=True)
        return hashlib.blake2b(raw, key=self.secret, digest_size=16).digest()

    def dump(self) -> Generator[bytes]:
        """The whole state as of this call in chunks, whatever is applied while they are taken.

        To be closed when not all of them are.
        """
        from ottla.coordinator.tree.snapshot import Frozen

        frozen = Frozen(self)
        self._frozen = (*self._frozen, frozen)
        return frozen.chunks()

    def thaw(self, frozen: "Frozen") -> None:
        """A dump has not to be kept from changes any longer."""
        self._frozen = tuple(each for each in self._frozen if each is not frozen)

    @property
    def has_one_dump(self) -> bool:
        """Whether one dump is being taken, and no more."""
        return len(self._frozen) == 1

    def for_change(self, path: str) -> Znode:
        """The node, before it goes, or anything of it but its children changes."""
        node = self.nodes[path]
        for frozen in self._frozen:
            frozen.keep(path, node)
        return node

    @staticmethod
    def load(chunks: Iterable[bytes]) -> "Tree":
        """What `dump` wrote. Raises CorruptSnapshot (ValueError)."""
        from ottla.coordinator.tree.snapshot import load

        return load(chunks)

    def insert(self, path: str, node: Znode) -> None:
        """Put a new node in its place, indexes included; its parent's figures stay as they are."""
        assert path not in self.nodes, path
        self.nodes[path] = node
        self.births.add(path, node.czxid)
        self.data_bytes += len(path) + (len(node.data) if node.data else 0)
        if path.startswith(_QUOTAS):
            self.quotas.inserted(path)
        if path != paths.ROOT:
            parent = self.nodes[paths.parent_of(path)]
            if parent.children is None:
                parent.children = {}
            parent.children[paths.name_of(path)] = None
            parent.touched()
        if node.owner:
            if is_ephemeral(node.owner):
                self.ephemerals.setdefault(node.owner, {})[path] = None
            else:
                self.collectable[path] = None

    def due_for_collection(self, now_ms: int, max_never_used_ms: int = 0) -> list[str]:
        """Nodes that the leader is to delete: used containers that are empty, TTLs gone by.

        For each one the leader decides a DELETE_CONTAINER of its own (`origin` None), which checks
        again. ZooKeeper looks every minute (`znode.container.checkIntervalMs`). A container that
        never had a child is still to be used, until `max_never_used_ms` if that is not 0.
        """
        due: list[str] = []
        for path in self.collectable:
            node = self.nodes[path]
            if node.children:
                continue
            if is_ttl(node.owner):
                is_due = now_ms - node.mtime > ttl_of(node.owner)
            elif node.cversion > 0:
                is_due = True
            else:
                is_due = 0 < max_never_used_ms < now_ms - node.mtime
            if is_due:
                due.append(path)
        return due

    def check(self) -> None:
        """Assert every relation between the indexes."""
        child_count = 0
        data_bytes = 0
        nodes, last_zxid = self.nodes, self.last_zxid
        for path, node in nodes.items():
            assert paths.is_valid(path), path
            data_bytes += len(path) + len(node.data or b"")
            if path != paths.ROOT:
                above, _, name = path.rpartition("/")
                parent = nodes[above or paths.ROOT]
                assert parent.children is not None
                assert name in parent.children, path
                assert not (parent.owner and is_ephemeral(parent.owner)), path
            if node.children:
                child_count += len(node.children)
            assert node.czxid <= node.mzxid <= last_zxid, path
            assert node.czxid <= node.pzxid <= last_zxid, path
            owner = node.owner
            if owner and is_ephemeral(owner):
                assert path in self.ephemerals[owner], path
                assert owner in self.sessions, path
                assert path not in self.collectable, path
            else:
                assert (path in self.collectable) == (owner != 0)
        assert child_count == len(self.nodes) - 1
        self.births.check(self.nodes)
        assert self.collectable.keys() <= self.nodes.keys()
        assert data_bytes == self.data_bytes
        for session_id, owned in self.ephemerals.items():
            assert owned, session_id
            assert all(self.nodes[path].owner == session_id for path in owned)
        assert self.secret or not self.sessions

    # Appliers: (reader at the body, opcode, session id) -> encoded response.

    def _set_data(self, reader: Reader, _opcode: int, _session_id: int) -> bytes:
        return self._set_data_at(reader.data, reader.at)

    def _set_data_at(self, payload: BytesLike, at: int) -> bytes:
        version, length = _unpack_set_data(payload, at)
        at += 8
        end = at + length
        path = str(payload[at:end], "utf-8")
        (length,) = _unpack_int(payload, end)
        end += 4
        data = bytes(payload[end : end + length]) if length >= 0 else None
        node = self.nodes[path]
        if self._frozen:
            self.for_change(path)
        more = (len(data) if data else 0) - (len(node.data) if node.data else 0)
        self.data_bytes += more
        node.data = data
        node.version = version
        node.mzxid = self._zxid
        node.mtime = self._time_ms
        if more and self.quotas.limited:
            self.quotas.changed(path, 0, more)
        self._events.append(_new(NodeChange, (_DATA_CHANGED, path, node.acl)))
        return node.new_stat()

    def _create(self, reader: Reader, opcode: int, _session_id: int) -> bytes:
        owner, cversion = reader.unpack(txns.OWNER_AND_CVERSION)
        path = reader.string()
        data = reader.buffer()
        acl = access_list(bytes(reader.data[reader.at : reader.end]))  # the last field
        parent_path = paths.parent_of(path)
        parent = self.for_change(parent_path)
        node = Znode(data, acl, self._zxid, self._time_ms, owner)
        parent.cversion = cversion
        parent.pzxid = self._zxid
        self.insert(path, node)
        if self.quotas.limited:
            self.quotas.changed(path, 1, len(data) if data else 0)
        self._events.append(NodeChange(_CREATED, path, acl))
        self._events.append(NodeChange(_CHILDREN_CHANGED, parent_path, parent.acl))
        reply = put_string(path)
        if opcode != OpCode.CREATE:
            reply += node.encoded_stat()
        if path.startswith(_QUOTAS):
            self.quotas.begin_stats(path)
        return reply

    def _delete(self, reader: Reader, _opcode: int, _session_id: int) -> bytes:
        self._remove(reader.string())
        return b""

    def _remove(self, path: str) -> None:
        node = self.for_change(path)
        assert not node.children, path
        del self.nodes[path]
        self.data_bytes -= len(path) + (len(node.data) if node.data else 0)
        if self.quotas.limited:
            self.quotas.removed(path)
            self.quotas.changed(path, -1, -len(node.data) if node.data else 0)
        parent_path = paths.parent_of(path)
        parent = self.for_change(parent_path)
        assert parent.children is not None
        del parent.children[paths.name_of(path)]
        parent.pzxid = self._zxid
        parent.touched()
        if node.owner:
            if is_ephemeral(node.owner):
                owned = self.ephemerals[node.owner]
                del owned[path]
                if not owned:
                    del self.ephemerals[node.owner]
            else:
                del self.collectable[path]
        self._events.append(NodeChange(_DELETED, path, node.acl))
        self._events.append(NodeChange(_CHILDREN_CHANGED, parent_path, parent.acl))

    def _set_acl(self, reader: Reader, _opcode: int, _session_id: int) -> bytes:
        aversion = reader.int32()
        node = self.for_change(reader.string())
        node.acl = access_list(bytes(reader.data[reader.at : reader.end]))  # the last field
        node.aversion = aversion
        node.touched()
        return node.encoded_stat()

    def _check_version(self, reader: Reader, _opcode: int, _session_id: int) -> bytes:
        return self.nodes[reader.string()].encoded_stat()

    def _sync(self, reader: Reader, _opcode: int, _session_id: int) -> bytes:
        return bytes(reader.data[reader.at : reader.end])

    def _multi(self, reader: Reader, _opcode: int, session_id: int) -> bytes:
        operations = txns.decode_multi(reader)
        if any(error for _, error, _ in operations):
            return encode_results(
                [(-1, error, error.to_bytes(4, "big", signed=True)) for _, error, _ in operations]
            )
        results = []
        for opcode, _, body in operations:
            reply = self._appliers[opcode](body, opcode, session_id)
            if opcode == OpCode.CHECK:
                reply = b""
            elif opcode in (OpCode.CREATE_TTL, OpCode.CREATE_CONTAINER):
                opcode = int(OpCode.CREATE2)
            results.append((opcode, 0, reply))
        return encode_results(results)

    def _reconfig(self, reader: Reader, _opcode: int, _session_id: int) -> bytes:
        """A configuration's version is the zxid of the entry that ends the change to it."""
        text = reader.string()
        self.config_version = self._zxid
        node = self._put_configuration(f"{text}\nversion={self._zxid:x}".encode())
        node.mzxid = self._zxid
        node.mtime = self._time_ms
        self._events.append(NodeChange(_DATA_CHANGED, paths.CONFIG, node.acl))
        return node.encoded_data()

    def _create_session(self, reader: Reader, _opcode: int, session_id: int) -> bytes:
        timeout_ms = reader.int32()
        self.secret = self.secret or reader.buffer() or b""
        assert self.secret, "a first createSession without a secret"
        assert session_id not in self.sessions
        self.sessions[session_id] = (timeout_ms, self._member_id)
        self.last_session_ids[(session_id >> 56) & 0xFF] = session_id
        return b""

    def _reopen_session(self, reader: Reader, _opcode: int, session_id: int) -> bytes:
        assert session_id in self.sessions
        self.sessions[session_id] = (reader.int32(), self._member_id)
        return b""

    def _close_session(self, _reader: Reader, _opcode: int, session_id: int) -> bytes:
        for path in list(self.ephemerals.get(session_id, ())):
            self._remove(path)
        del self.sessions[session_id]
        return b""


__all__ = ["Tree"]
