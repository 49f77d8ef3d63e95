"""A coordinator's files: txn logs `log.<zxid>` and snapshots `snapshot.<zxid>`.

The formats are those of `coordinator.store`. Reading changes nothing: a tail that a crash tore is
reported, not cut off.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack

from ottla.coordinator.servers import details_of
from ottla.coordinator.store.records import PREFIX_SIZE, later_records, leading_records
from ottla.coordinator.tree import txns
from ottla.coordinator.tree.values import REOPEN_SESSION
from ottla.protocol.peer.entries import Entry, decode_block
from ottla.protocol.peer.errors import ProtocolError
from ottla.protocol.peer.membership import MARK, Membership
from ottla.protocol.peer.membership import decode as decode_membership
from ottla.protocol.zookeeper.data import ACL, get_acls
from ottla.protocol.zookeeper.errors import DecodeError, ZkError
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.opcodes import OpCode, Perms
from ottla.scripts.dump.mapped import mapped

_CREATIONS = (OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL)
# A record whose checksum is right may still say what nobody wrote; OverflowError: as its time.
_UNREADABLE = (ValueError, OverflowError, DecodeError, ProtocolError, msgpack.UnpackException)
_DELETIONS = (OpCode.DELETE, OpCode.DELETE_CONTAINER)


def dump_txn_log(path: Path, *, contents: bool) -> list[str]:
    """Print a txn log's entries; what is wrong with it, a line each. OSError."""
    with mapped(path) as data:
        end = 0
        for position, body in leading_records(data):
            try:
                for line in _write_lines(msgpack.unpackb(body), contents=contents):
                    print(line)
            except _UNREADABLE as error:
                return [f"Damage in {path.absolute()}", f"at position {position}: {error}"]
            end = position + PREFIX_SIZE + len(body)
        rest = bytes(data[end:])
    if end and not rest.strip(b"\0"):  # nothing, or what was reserved for later writes
        return []
    whole = sum(1 for _ in later_records(rest, 0))
    what = f"{len(rest)} bytes from position {end} on are no record"
    if whole:
        what += f"; {whole} whole records follow, so this is no tail that a crash tore"
    return [f"Damage in {path.absolute()}", what]


def dump_snapshot(path: Path, *, contents: bool) -> list[str]:
    """Print a snapshot's sessions and znodes; what is wrong with it, a line each. OSError."""
    end, last = 0, b"-"
    with mapped(path) as data:
        for position, body in leading_records(data):
            try:
                lines = _snapshot_lines(position, body, contents=contents)
                for line in lines:
                    print(line)
            except (ValueError, KeyError, TypeError, DecodeError, msgpack.UnpackException) as error:
                return [f"Damage in {path.absolute()}", f"at position {position}: {error}"]
            end, last = position + PREFIX_SIZE + len(body), body
        if end != len(data):
            what = f"{len(data) - end} bytes from position {end} on are no record"
            return [f"Damage in {path.absolute()}", what]
    if last:
        return [f"Damage in {path.absolute()}", "the end is missing; a start would not use it"]
    return []


def _write_lines(row: list[object], *, contents: bool) -> Iterator[str]:
    match row:
        case [0, int(version), int(index), int(epoch), int(zxid), int(hard_epoch), vote]:
            yield (
                f"format: {version} follows index: {index} epoch: {epoch} zxid: {zxid:#x} "
                f"currentEpoch: {hard_epoch} vote: {vote}"
            )
        case [1, int(), hard_epoch, vote, *blocks]:
            if hard_epoch is not None:
                yield f"currentEpoch: {hard_epoch} vote: {vote}"
            for encoded in blocks:
                block = decode_block(encoded if isinstance(encoded, bytes) else b"")
                for entry in block.entries:
                    yield _entry_line(entry, contents=contents)
        case _:
            raise ValueError("a record that is neither a start nor a write")


def _entry_line(entry: Entry, *, contents: bool) -> str:
    line = f"index: {entry.index} epoch: {entry.epoch} zxid: {entry.zxid:#x}"
    if not entry.payload:
        return f"{line} first of its epoch"
    if entry.payload[:1] == MARK:
        return f"{line} {_members(decode_membership(entry.payload))}"
    reader = Reader(entry.payload)
    _, opcode, error, member, _, session_id, time_ms = reader.unpack(txns.HEADER)
    line += f" time: {_time(time_ms)} session: {session_id & (1 << 64) - 1:#x}"
    line += f" member: {member if member >= 0 else 'leader'} {_name(opcode)}"
    if error:
        return f"{line} error: {_error(error)}"
    return line + "".join(f" {word}" for word in _words(opcode, reader, contents=contents))


def _members(members: Membership) -> str:
    words = [f"members voters: {list(members.voters)} observers: {list(members.observers)}"]
    if members.is_joint:
        words.append(f"outgoing: {list(members.outgoing)}")
    details = details_of(members)
    if details is not None:
        words += [f"server.{id_}={server}" for id_, server in sorted(details.servers.items())]
    return " ".join(words)


def _words(opcode: int, reader: Reader, *, contents: bool) -> Iterator[str]:
    if opcode in _CREATIONS:
        owner, cversion = reader.unpack(txns.OWNER_AND_CVERSION)
        yield reader.string()
        yield _data(reader.buffer(), contents=contents)
        yield f"acl: {_acl(get_acls(reader))} owner: {owner & (1 << 64) - 1:#x}"
        yield f"parentCversion: {cversion}"
    elif opcode in _DELETIONS:
        yield reader.string()
    elif opcode == OpCode.SET_DATA:
        version = reader.int32()
        yield reader.string()
        yield f"version: {version} {_data(reader.buffer(), contents=contents)}"
    elif opcode == OpCode.SET_ACL:
        version = reader.int32()
        yield reader.string()
        yield f"aversion: {version} acl: {_acl(get_acls(reader))}"
    elif opcode in (OpCode.CHECK, OpCode.SYNC):
        yield reader.string()
    elif opcode in (OpCode.CREATE_SESSION, REOPEN_SESSION):
        yield f"timeoutMs: {reader.int32()}"
    elif opcode == OpCode.MULTI:
        for each, error, body in txns.decode_multi(reader):
            if each == OpCode.ERROR:
                yield f"[{_error(error) if error else 'not done'}]"
            else:
                yield f"[{' '.join([_name(each), *_words(each, body, contents=contents)])}]"
    elif opcode != OpCode.CLOSE_SESSION:
        yield f"bodyLength: {reader.remaining}"


def _snapshot_lines(position: int, body: bytes, *, contents: bool) -> Iterable[str]:
    if not body:
        return ()
    row = msgpack.unpackb(body)
    if position == 0:
        version, index, epoch, zxid, *membership = row
        line = f"format: {version} after index: {index} epoch: {epoch} zxid: {zxid:#x}"
        if membership:
            line += f" {_members(decode_membership(membership[0]))}"
        return (line,)
    if isinstance(row, dict):
        sessions = [_session_line(*session) for session in row["sessions"]]
        return (f"treeZxid: {row['zxid']:#x} sessions: {len(sessions)}", *sessions)
    if isinstance(row, int):
        return (f"znodes: {row}",)
    return [_znode_line(each, contents=contents) for each in row]


def _session_line(session_id: int, timeout_ms: int, member: int) -> str:
    return f"session: {session_id & (1 << 64) - 1:#x} timeoutMs: {timeout_ms} member: {member}"


def _znode_line(row: list[Any], *, contents: bool) -> str:
    path, data, _, czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid = row
    return (
        f"{path} cZxid: {czxid:#x} ctime: {_time(ctime)} mZxid: {mzxid:#x} mtime: {_time(mtime)} "
        f"pZxid: {pzxid:#x} cversion: {cversion} dataVersion: {version} aclVersion: {aversion} "
        f"ephemeralOwner: {owner:#x} {_data(data, contents=contents)}"
    )


def _name(opcode: int) -> str:
    if opcode == REOPEN_SESSION:
        return "reopenSession"
    try:
        words = OpCode(opcode).name.lower().split("_")
    except ValueError:
        return f"opcode {opcode}"
    return words[0] + "".join(word.capitalize() for word in words[1:])


def _error(code: int) -> str:
    return next((error.name for error in ZkError if error == code), str(code))


def _data(data: bytes | None, *, contents: bool) -> str:
    line = f"dataLength: {-1 if data is None else len(data)}"
    if contents and data:
        line += f" data: {json.dumps(data.decode(errors='backslashreplace'), ensure_ascii=False)}"
    return line


def _acl(entries: Iterable[ACL]) -> str:
    return ",".join(f"{each.id.scheme}:{each.id.id}:{_perms(each.perms)}" for each in entries)


def _perms(perms: int) -> str:
    letters = (("c", Perms.CREATE), ("d", Perms.DELETE), ("r", Perms.READ),
               ("w", Perms.WRITE), ("a", Perms.ADMIN))  # fmt: skip
    return "".join(letter for letter, perm in letters if perms & perm)


def _time(milliseconds: int) -> str:
    when = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


__all__ = ["dump_snapshot", "dump_txn_log"]
