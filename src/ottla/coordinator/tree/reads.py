"""Answers to requests that change nothing, from one member's tree.

Errors and their order follow `FinalRequestProcessor` of ZooKeeper 3.9.
"""

from collections.abc import Callable
from typing import NamedTuple

from ottla.coordinator.tree.access import AuthIds
from ottla.coordinator.tree.paths import ROOT
from ottla.coordinator.tree.tree import Tree
from ottla.coordinator.tree.values import Refused
from ottla.coordinator.tree.watches import Watches
from ottla.coordinator.tree.znode import Znode
from ottla.protocol.zookeeper.data import ACL, Id, put_acls
from ottla.protocol.zookeeper.errors import DecodeError, ZkError
from ottla.protocol.zookeeper.jute import INT, Reader, put_strings
from ottla.protocol.zookeeper.messages import (
    AddWatchRequest,
    CheckWatchesRequest,
    ClientInfo,
    ErrorResponse,
    GetAllChildrenNumberResponse,
    GetChildrenRequest,
    GetDataRequest,
    GetEphemeralsRequest,
    GetEphemeralsResponse,
    MultiRequest,
    RemoveWatchesRequest,
    WhoAmIResponse,
)
from ottla.protocol.zookeeper.multi import encode_results
from ottla.protocol.zookeeper.opcodes import AddWatchMode, OpCode, Perms, WatcherType

_READ = int(Perms.READ)
_ADMIN = int(Perms.ADMIN)


class Asker(NamedTuple):
    """Who reads."""

    session_id: int
    auth: AuthIds


def answer(tree: Tree, watches: Watches, asker: Asker, opcode: int, body: Reader) -> bytes:
    """The encoded response. Raises Refused; a broken body is MARSHALLINGERROR."""
    handler = _HANDLERS.get(opcode)
    if handler is None:
        raise Refused(ZkError.UNIMPLEMENTED)
    try:
        return handler(tree, watches, asker, body)
    except DecodeError:
        raise Refused(ZkError.MARSHALLINGERROR) from None


def _readable(tree: Tree, path: str, auth: AuthIds) -> Znode:
    node = tree.nodes.get(path or ROOT)  # the root has both names
    if node is None:
        raise Refused(ZkError.NONODE)
    acl = node.acl
    if not acl.world_perms & _READ and not acl.permits(_READ, auth):
        raise Refused(ZkError.NOAUTH)
    return node


def _get_data(tree: Tree, watches: Watches, asker: Asker, body: Reader) -> bytes:
    path = body.present_string()
    watch = body.boolean()
    node = _readable(tree, path, asker.auth)
    if watch:
        watches.watch_data(path, asker.session_id)
    return node.encoded_data()


def _exists(tree: Tree, watches: Watches, asker: Asker, body: Reader) -> bytes:
    path = body.present_string()
    watch = body.boolean()
    if "\0" in path:
        raise Refused(ZkError.BADARGUMENTS)
    node = _readable(tree, path, asker.auth) if (path or ROOT) in tree.nodes else None
    if watch:
        watches.watch_data(path, asker.session_id)
    if node is None:
        raise Refused(ZkError.NONODE)
    return node.encoded_stat()


def _get_children(tree: Tree, watches: Watches, asker: Asker, body: Reader) -> bytes:
    return put_strings(_children(tree, watches, asker, body).children or ())


def _get_children2(tree: Tree, watches: Watches, asker: Asker, body: Reader) -> bytes:
    node = _children(tree, watches, asker, body)
    return put_strings(node.children or ()) + node.encoded_stat()


def _children(tree: Tree, watches: Watches, asker: Asker, body: Reader) -> Znode:
    path = body.present_string()
    watch = body.boolean()
    node = _readable(tree, path, asker.auth)
    if watch:
        watches.watch_children(path, asker.session_id)
    return node


def _get_acl(tree: Tree, _watches: Watches, asker: Asker, body: Reader) -> bytes:
    node = tree.nodes.get(body.present_string() or ROOT)
    if node is None:
        raise Refused(ZkError.NONODE)
    if not node.acl.permits(_READ | _ADMIN, asker.auth):
        raise Refused(ZkError.NOAUTH)
    if node.acl.permits(_ADMIN, asker.auth):
        return node.acl.encoded + node.encoded_stat()
    return put_acls([_without_hash(acl) for acl in node.acl.entries]) + node.encoded_stat()


def _without_hash(acl: ACL) -> ACL:
    # Who may not administer a node sees whose it is, not what their passwords hash to.
    if acl.id.scheme != "digest":
        return acl
    return ACL(acl.perms, Id("digest", acl.id.id.partition(":")[0] + ":x"))


def _get_all_children_number(tree: Tree, _watches: Watches, asker: Asker, body: Reader) -> bytes:
    path = body.present_string()
    node = _readable(tree, path, asker.auth)
    # By its other name the root counts as below itself, as in ZooKeeper.
    return GetAllChildrenNumberResponse(_descendants(tree, path, node) + (not path)).encode()


def _descendants(tree: Tree, path: str, node: Znode) -> int:
    below = 0
    stack = [(path if path != "/" else "", node)]
    while stack:
        parent_path, parent = stack.pop()
        for name in parent.children or ():
            below += 1
            child_path = f"{parent_path}/{name}"
            stack.append((child_path, tree.nodes[child_path]))
    return below


def _get_ephemerals(tree: Tree, _watches: Watches, asker: Asker, body: Reader) -> bytes:
    prefix = GetEphemeralsRequest.decode(body).prefix_path.strip()
    owned = tree.ephemerals.get(asker.session_id, {})
    if prefix in ("", "/"):
        return GetEphemeralsResponse(list(owned)).encode()
    return GetEphemeralsResponse([path for path in owned if path.startswith(prefix)]).encode()


def _who_am_i(_tree: Tree, _watches: Watches, asker: Asker, _body: Reader) -> bytes:
    # Of a digest only the user is told, as ZooKeeper does.
    infos = [
        ClientInfo(who.scheme, who.id.partition(":")[0] if who.scheme == "digest" else who.id)
        for who in asker.auth
    ]
    return WhoAmIResponse(infos).encode()


def _add_watch(_tree: Tree, watches: Watches, asker: Asker, body: Reader) -> bytes:
    path, mode = AddWatchRequest.decode(body)
    if mode not in (AddWatchMode.PERSISTENT, AddWatchMode.PERSISTENT_RECURSIVE):
        raise Refused(ZkError.MARSHALLINGERROR)
    recursive = mode == AddWatchMode.PERSISTENT_RECURSIVE
    watches.watch_always(path, asker.session_id, recursive=recursive)
    return ErrorResponse(0).encode()


def _check_watches(_tree: Tree, watches: Watches, asker: Asker, body: Reader) -> bytes:
    path, kind = CheckWatchesRequest.decode(body)
    if not watches.has(path, asker.session_id, _watcher_type(kind)):
        raise Refused(ZkError.NOWATCHER)
    return b""


def _remove_watches(_tree: Tree, watches: Watches, asker: Asker, body: Reader) -> bytes:
    path, kind = RemoveWatchesRequest.decode(body)
    if not watches.remove(path, asker.session_id, _watcher_type(kind)):
        raise Refused(ZkError.NOWATCHER)
    return b""


def _watcher_type(kind: int) -> WatcherType:
    try:
        return WatcherType(kind)
    except ValueError:
        raise Refused(ZkError.MARSHALLINGERROR) from None


def _multi_read(tree: Tree, watches: Watches, asker: Asker, body: Reader) -> bytes:
    results: list[tuple[int, int, bytes]] = []
    for opcode, request in MultiRequest.decode(body).operations:
        if not isinstance(request, GetDataRequest | GetChildrenRequest):
            raise Refused(ZkError.MARSHALLINGERROR)
        # Within a multi a read leaves no watch: the flag is there, but does not count.
        reader = Reader(type(request)(request.path, watch=False).encode())
        try:
            results.append((opcode, 0, _HANDLERS[opcode](tree, watches, asker, reader)))
        except Refused as refused:
            results.append((int(OpCode.ERROR), int(refused.error), INT.pack(refused.error)))
    return encode_results(results)


_Handler = Callable[[Tree, Watches, Asker, Reader], bytes]
_HANDLERS: dict[int, _Handler] = {
    OpCode.GET_DATA: _get_data,
    OpCode.EXISTS: _exists,
    OpCode.GET_CHILDREN: _get_children,
    OpCode.GET_CHILDREN2: _get_children2,
    OpCode.GET_ACL: _get_acl,
    OpCode.GET_ALL_CHILDREN_NUMBER: _get_all_children_number,
    OpCode.GET_EPHEMERALS: _get_ephemerals,
    OpCode.WHO_AM_I: _who_am_i,
    OpCode.ADD_WATCH: _add_watch,
    OpCode.CHECK_WATCHES: _check_watches,
    OpCode.REMOVE_WATCHES: _remove_watches,
    OpCode.MULTI_READ: _multi_read,
}
READS = frozenset(_HANDLERS)

__all__ = ["READS", "Asker", "answer"]
