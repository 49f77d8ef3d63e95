"""Whether an operation on znodes may happen, and the versions, names and owners it results in.

Checks and their order follow `PrepRequestProcessor` of ZooKeeper 3.9, so that a request with two
faults gets the same code. Methods named `*_body` turn a request's body into a transaction's (see
`txns`); all of them raise Refused or DecodeError, after which the change they were given is void.
"""

from collections.abc import Sequence

from ottla.coordinator.tree import paths, txns
from ottla.coordinator.tree.access import AccessList, AuthIds, expand, in_use
from ottla.coordinator.tree.pending import Change, Overlay, PendingNode
from ottla.coordinator.tree.values import Refused
from ottla.coordinator.tree.znode import (
    CONTAINER_OWNER,
    TTL_MAX_MS,
    as_int32,
    is_ephemeral,
    ttl_owner,
)
from ottla.protocol.zookeeper.data import ACL, get_acls
from ottla.protocol.zookeeper.errors import DecodeError, ZkError
from ottla.protocol.zookeeper.jute import INT, Reader, put_buffer, put_string
from ottla.protocol.zookeeper.multi import MultiRequest, OpRequest
from ottla.protocol.zookeeper.opcodes import CreateMode, OpCode, Perms
from ottla.protocol.zookeeper.requests import (
    CheckVersionRequest,
    CreateRequest,
    CreateTTLRequest,
    DeleteContainerRequest,
    DeleteRequest,
    SetACLRequest,
    SetDataRequest,
    SyncRequest,
)

_READ, _WRITE, _CREATE, _DELETE, _ADMIN = (
    int(perm) for perm in (Perms.READ, Perms.WRITE, Perms.CREATE, Perms.DELETE, Perms.ADMIN)
)
_SEQUENTIAL = {
    int(CreateMode.PERSISTENT_SEQUENTIAL),
    int(CreateMode.EPHEMERAL_SEQUENTIAL),
    int(CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL),
}
_EPHEMERAL = {int(CreateMode.EPHEMERAL), int(CreateMode.EPHEMERAL_SEQUENTIAL)}
_WITH_TTL = {
    int(CreateMode.PERSISTENT_WITH_TTL),
    int(CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL),
}
_MODES = frozenset(int(mode) for mode in CreateMode)
_INT_MAX = 0x7FFF_FFFF
_PACK_INT = INT.pack
_UNPACK_INT = INT.unpack_from


class Judge:
    """Part of a Decider. Between `begin` and the next one, all calls belong to one decision."""

    __slots__ = (
        "_auth",
        "_change",
        "_enforce_quota",
        "_extended_types",
        "_overlay",
        "_session_id",
        "over_quota",
    )

    def __init__(self, overlay: Overlay, *, extended_types: bool, enforce_quota: bool) -> None:
        self._overlay = overlay
        self._extended_types = extended_types
        self._enforce_quota = enforce_quota
        self.over_quota: dict[str, None] = {}
        """Paths that went over a soft limit; whoever tells of them empties it."""
        self._change = Change()
        self._session_id = 0
        self._auth: AuthIds = ()

    def begin(self, session_id: int, auth: AuthIds) -> Change:
        self._session_id = session_id
        self._auth = auth
        self._change = change = Change()
        return change

    # From a request's body to a transaction's.

    def set_data_alone(self, body: bytes, auth: AuthIds) -> bytes:
        """A setData that is no part of a multi: without a `begin`, and put over the tree at once.

        Nearly all are of one form, and nothing of them has to be copied but the path.
        """
        size = len(body) - 4
        if size <= 8:
            return self._set_data_apart(body, auth)
        (length,) = _UNPACK_INT(body)
        end = 4 + length
        if not 0 < length <= size - 8 or _UNPACK_INT(body, end)[0] != size - end - 4:
            return self._set_data_apart(body, auth)
        try:
            path = str(body[4:end], "utf-8")
        except UnicodeDecodeError:
            raise DecodeError("a path that is not UTF-8") from None
        overlay = self._overlay
        node = overlay.open_one(path)
        if node is None:
            raise Refused(ZkError.NONODE if paths.is_valid(path) else ZkError.BADARGUMENTS)
        if not node.acl.world_perms & _WRITE and not node.acl.permits(_WRITE, auth):
            raise Refused(ZkError.NOAUTH)
        if self._enforce_quota:
            self._require_quota(path, 0, size - end - 4 - node.size)
        current = node.version
        expected: int = _UNPACK_INT(body, size)[0]
        if expected not in (-1, current):
            raise Refused(ZkError.BADVERSION)
        node.version = version = current + 1 if current < _INT_MAX else as_int32(current + 1)
        node.size = size - end - 4
        overlay.commit_one(path, node)
        return _PACK_INT(version) + body[:size]

    def _set_data_apart(self, body: bytes, auth: AuthIds) -> bytes:
        change = self.begin(self._session_id, auth)
        reader = Reader(body)
        path = reader.string()
        data = reader.buffer()
        end = reader.at  # path and data go over as they are
        version = self._set_data(path, len(data) if data else 0, reader.int32())
        self._overlay.commit(change)
        return _PACK_INT(version) + body[:end]

    def create_body(self, body: bytes, opcode: int) -> bytes:
        reader = Reader(body)
        if opcode == OpCode.CREATE_TTL:
            return self._create(opcode, CreateTTLRequest.decode(reader))
        path = reader.present_string()
        data = reader.buffer()
        # Nearly all access lists are among those in use already: no need to take them apart.
        acl = in_use(body[reader.at : -4])
        if acl is None:
            return self._create(opcode, CreateRequest(path, data, get_acls(reader), reader.int32()))
        reader.at = len(body) - 4
        return self._create(opcode, CreateRequest(path, data, (), reader.int32()), acl)

    def delete_body(self, body: bytes, _opcode: int) -> bytes:
        return self._delete(DeleteRequest.decode(Reader(body)))

    def delete_container_body(self, body: bytes, _opcode: int) -> bytes:
        """Only the leader asks for this, when a container has been empty for a while."""
        path = DeleteContainerRequest.decode(Reader(body)).path
        self._require_deletable(path)
        node = self._require(path)
        self._require(paths.parent_of(path))
        if node.child_count:
            raise Refused(ZkError.NOTEMPTY)
        assert node.owner is not None
        if node.owner == 0 or is_ephemeral(node.owner):
            raise Refused(ZkError.BADVERSION)
        self.remove(path)
        return put_string(path)

    def set_acl_body(self, body: bytes, _opcode: int) -> bytes:
        path, acl, version = SetACLRequest.decode(Reader(body))
        if not paths.is_valid(path):
            raise Refused(ZkError.BADARGUMENTS)
        expanded = self._expand(acl)
        node = self._require(path)
        self._require_permission(node, _ADMIN)
        node.aversion = _next_version(node.aversion, version)
        node.acl = expanded
        return _PACK_INT(node.aversion) + put_string(path) + expanded.encoded

    def check_body(self, body: bytes, _opcode: int) -> bytes:
        return self._check(CheckVersionRequest.decode(Reader(body)))

    def sync_body(self, body: bytes, _opcode: int) -> bytes:
        reader = Reader(body)
        SyncRequest.decode(reader)
        return body[: reader.at]  # goes back as it came, null too

    def multi_body(self, body: bytes, _opcode: int) -> bytes:
        """All or nothing. One that failed is a transaction too, of errors only."""
        operations = [_resolved(*one) for one in MultiRequest.decode(Reader(body)).operations]
        decided: list[tuple[int, int, bytes]] = []
        for opcode, request in operations:
            try:
                decided.append((opcode, 0, self._operation(opcode, request)))
            except Refused as refused:
                self._change.nodes.clear()
                failed = len(decided)
                errors = [ZkError.OK] * failed + [refused.error]
                errors += [ZkError.RUNTIMEINCONSISTENCY] * (len(operations) - failed - 1)
                return txns.encode_multi([(int(OpCode.ERROR), int(error), b"") for error in errors])
        return txns.encode_multi(decided)

    def remove(self, path: str) -> None:
        """Delete without a question; the node exists and has no children."""
        node = self._require(path)
        assert node.child_count == 0
        node.owner = None
        self._require(paths.parent_of(path)).child_count -= 1

    # Operations, alone or within a multi.

    def _operation(self, opcode: int, request: OpRequest) -> bytes:
        match request:
            case SetDataRequest(path, data, expected):
                version = self._set_data(path, len(data) if data else 0, expected)
                return _PACK_INT(version) + put_string(path) + put_buffer(data)
            case CreateRequest() | CreateTTLRequest():
                return self._create(opcode, request)
            case DeleteRequest():
                return self._delete(request)
            case CheckVersionRequest():
                return self._check(request)
            case _:
                raise DecodeError(f"operation {opcode} among writes")

    def _set_data(self, path: str, size: int, expected: int) -> int:
        node = self._overlay.open(path, self._change)
        if node is None:
            raise Refused(ZkError.NONODE if paths.is_valid(path) else ZkError.BADARGUMENTS)
        if not node.acl.world_perms & _WRITE:
            self._require_permission(node, _WRITE)
        if self._enforce_quota:
            self._require_quota(path, 0, size - node.size)
        node.size = size
        version = node.version = _next_version(node.version, expected)
        return version

    def _create(
        self,
        opcode: int,
        request: CreateRequest | CreateTTLRequest,
        acl: AccessList | None = None,
    ) -> bytes:
        """`acl` stands for the request's own, where it needs no more looking at."""
        path, mode = request.path, request.flags
        owner = self._owner_of_new(opcode, request)
        if "/" not in path or "\0" in path:
            raise Refused(ZkError.BADARGUMENTS)
        if acl is None:
            acl = self._expand(request.acl)
        parent = self._require(paths.parent_of(path))
        if not parent.acl.world_perms & _CREATE:
            self._require_permission(parent, _CREATE)
        if mode in _SEQUENTIAL:
            path = f"{path}{parent.cversion:010d}"
        if not paths.is_valid(path):
            raise Refused(ZkError.BADARGUMENTS)
        if self._overlay.open(path, self._change) is not None:
            raise Refused(ZkError.NODEEXISTS)
        assert parent.owner is not None
        if parent.owner and is_ephemeral(parent.owner):
            raise Refused(ZkError.NOCHILDRENFOREPHEMERALS)
        size = len(request.data) if request.data else 0
        if self._enforce_quota:
            self._require_quota(path, 1, size)
        parent.cversion = as_int32(parent.cversion + 1)
        parent.child_count += 1
        self._change.nodes[path] = PendingNode(0, 0, 0, owner, 0, acl, size)
        head = txns.OWNER_AND_CVERSION.pack(owner, parent.cversion)
        return b"%b%b%b%b" % (head, put_string(path), put_buffer(request.data), acl.encoded)

    def _owner_of_new(self, opcode: int, request: CreateRequest | CreateTTLRequest) -> int:
        """The opcode tells containers and TTL nodes from others, the mode all the rest."""
        mode = request.flags
        if mode not in _MODES:
            raise Refused(ZkError.BADARGUMENTS)
        if mode in _WITH_TTL and not self._extended_types:
            raise Refused(ZkError.UNIMPLEMENTED)
        if opcode == OpCode.CREATE_TTL:
            assert isinstance(request, CreateTTLRequest)
            # ZooKeeper 3.9 lets another mode with a negative ttl pass here, and dies of it later.
            if mode not in _WITH_TTL or not 0 < request.ttl <= TTL_MAX_MS:
                raise Refused(ZkError.BADARGUMENTS)
            return ttl_owner(request.ttl)
        if mode in _WITH_TTL:
            raise Refused(ZkError.BADARGUMENTS)
        if opcode == OpCode.CREATE_CONTAINER:
            return CONTAINER_OWNER
        return self._session_id if mode in _EPHEMERAL else 0

    def _delete(self, request: DeleteRequest) -> bytes:
        path = request.path
        self._require_deletable(path)
        parent = self._require(paths.parent_of(path))
        if not parent.acl.world_perms & _DELETE:
            self._require_permission(parent, _DELETE)
        node = self._require(path)
        _next_version(node.version, request.version)
        if node.child_count:
            raise Refused(ZkError.NOTEMPTY)
        node.owner = None
        parent.child_count -= 1
        return put_string(path)

    def _check(self, request: CheckVersionRequest) -> bytes:
        path = request.path
        node = self._overlay.open(path, self._change)
        if node is None:
            raise Refused(ZkError.NONODE if paths.is_valid(path) else ZkError.BADARGUMENTS)
        self._require_permission(node, _READ)
        _next_version(node.version, request.version)
        return put_string(path)

    # Requirements.

    def _require(self, path: str) -> PendingNode:
        node = self._overlay.open(path, self._change)
        if node is None:
            raise Refused(ZkError.NONODE)
        return node

    def _require_permission(self, node: PendingNode, perm: int) -> None:
        if not node.acl.permits(perm, self._auth):
            raise Refused(ZkError.NOAUTH)

    def _require_quota(self, path: str, count: int, size: int) -> None:
        excess = self._overlay.quotas.excess(path, count, size)
        if excess is None:
            return
        limited, is_hard = excess
        if is_hard:
            raise Refused(ZkError.QUOTAEXCEEDED)
        self.over_quota[limited] = None

    @staticmethod
    def _require_deletable(path: str) -> None:
        if "/" not in path or "\0" in path or path in paths.SPECIAL:
            raise Refused(ZkError.BADARGUMENTS)

    def _expand(self, acl: Sequence[ACL]) -> AccessList:
        expanded = expand(acl, self._auth)
        if expanded is None:
            raise Refused(ZkError.INVALIDACL)
        return expanded


def _resolved(opcode: int, request: OpRequest) -> tuple[int, OpRequest]:
    """An operation of a multi under the opcode that it counts as: for creations the mode decides.

    All of a multi is refused for one whose mode makes no sense, before any is looked at.
    """
    if isinstance(request, CreateRequest):
        if request.flags not in _MODES or request.flags in _WITH_TTL:
            raise DecodeError(f"create mode {request.flags}")
    elif not isinstance(request, CreateTTLRequest) or request.flags in _WITH_TTL:
        return opcode, request
    if request.flags == CreateMode.CONTAINER:
        return int(OpCode.CREATE_CONTAINER), request
    return int(OpCode.CREATE) if opcode == OpCode.CREATE_TTL else opcode, request


def _next_version(current: int, expected: int) -> int:
    if expected not in (-1, current):
        raise Refused(ZkError.BADVERSION)
    return as_int32(current + 1)


__all__ = ["Judge"]
