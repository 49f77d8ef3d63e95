"""What the ensemble, or the way to it, answers instead of a result."""

from typing import ClassVar

from ottla.protocol.zookeeper.errors import ZkError


class EnsembleError(Exception):
    """The ensemble refused a request. `code` is the protocol's, `path` what it was about."""

    code: ClassVar[ZkError] = ZkError.SYSTEMERROR

    def __init__(self, path: str = "", code: ZkError | None = None) -> None:
        super().__init__(f"{(code or self.code).name} {path}".rstrip())
        self.path = path


class NoNode(EnsembleError):
    code = ZkError.NONODE


class NodeExists(EnsembleError):
    code = ZkError.NODEEXISTS


class BadVersion(EnsembleError):
    code = ZkError.BADVERSION


class NotEmpty(EnsembleError):
    code = ZkError.NOTEMPTY


class NoChildrenForEphemerals(EnsembleError):
    code = ZkError.NOCHILDRENFOREPHEMERALS


class NotAuthorized(EnsembleError):
    code = ZkError.NOAUTH


class SessionExpired(EnsembleError):
    """The session is over and its ephemerals are gone; this client is of no more use."""

    code = ZkError.SESSIONEXPIRED


class ConnectionLoss(EnsembleError):
    """The connection broke before the answer came: a write may or may not have happened.

    Also raised when no member could be reached for a whole session timeout; then nothing was sent.
    """

    code = ZkError.CONNECTIONLOSS


class MultiFailed(EnsembleError):
    """One operation of a multi failed, so none was done. `index` says which, `cause` why."""

    def __init__(self, index: int, cause: EnsembleError) -> None:
        Exception.__init__(self, f"operation {index} of a multi: {cause}")
        self.path = cause.path
        self.index = index
        self.cause = cause


_BY_CODE: dict[int, type[EnsembleError]] = {
    kind.code: kind
    for kind in (
        NoNode,
        NodeExists,
        BadVersion,
        NotEmpty,
        NoChildrenForEphemerals,
        NotAuthorized,
        SessionExpired,
        ConnectionLoss,
    )
}


def error_for(code: int, path: str) -> EnsembleError:
    """The exception for a reply's error code."""
    kind = _BY_CODE.get(code)
    if kind is not None:
        return kind(path)
    try:
        return EnsembleError(path, ZkError(code))
    except ValueError:
        return EnsembleError(f"{path} (error {code})")


__all__ = [
    "BadVersion",
    "ConnectionLoss",
    "EnsembleError",
    "MultiFailed",
    "NoChildrenForEphemerals",
    "NoNode",
    "NodeExists",
    "NotAuthorized",
    "NotEmpty",
    "SessionExpired",
    "error_for",
]
