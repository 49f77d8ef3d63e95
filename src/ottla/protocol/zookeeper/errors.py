"""ZooKeeper's error codes and the errors of this codec.

Source of the codes: `KeeperException.Code` of ZooKeeper 3.9. Codes above -100 are the server's own
trouble, codes below are answers about znodes and sessions.
"""

import enum


class ZkError(enum.IntEnum):
    """What a reply header, a multi result or an error transaction carries."""

    OK = 0
    SYSTEMERROR = -1
    RUNTIMEINCONSISTENCY = -2
    DATAINCONSISTENCY = -3
    CONNECTIONLOSS = -4
    MARSHALLINGERROR = -5
    UNIMPLEMENTED = -6
    OPERATIONTIMEOUT = -7
    BADARGUMENTS = -8
    UNKNOWNSESSION = -12
    NEWCONFIGNOQUORUM = -13
    RECONFIGINPROGRESS = -14
    APIERROR = -100
    NONODE = -101
    NOAUTH = -102
    BADVERSION = -103
    NOCHILDRENFOREPHEMERALS = -108
    NODEEXISTS = -110
    NOTEMPTY = -111
    SESSIONEXPIRED = -112
    INVALIDCALLBACK = -113
    INVALIDACL = -114
    AUTHFAILED = -115
    SESSIONMOVED = -118
    NOTREADONLY = -119
    EPHEMERALONLOCALSESSION = -120
    NOWATCHER = -121
    REQUESTTIMEOUT = -122
    RECONFIGDISABLED = -123
    SESSIONCLOSEDREQUIRESASLAUTH = -124
    QUOTAEXCEEDED = -125
    THROTTLEDOP = -127


class ProtocolError(Exception):
    """A peer sent bytes that are not this protocol; its connection is of no more use."""


class DecodeError(ProtocolError):
    """Bytes ended early or hold a value that the format does not allow."""


class FrameTooLarge(ProtocolError):
    """A frame's length prefix is negative or above the limit (`jute.maxbuffer`).

    `head` holds the bytes that are there so far, from the length prefix on: a four-letter word, an
    HTTP request and a TLS hello all end up here. `guess` names what they look like.
    """

    def __init__(self, claimed: int, limit: int, head: bytes) -> None:
        super().__init__(f"frame of {claimed} bytes claimed, the limit is {limit}")
        self.claimed = claimed
        self.limit = limit
        self.head = head
        self.guess = guess_protocol(head)


_HTTP_STARTS = (b"GET ", b"HEAD", b"POST", b"PUT ", b"OPTI", b"DELE", b"PATC", b"CONN", b"PRI ")


def guess_protocol(head: bytes) -> str:
    """What a peer that does not speak this protocol seems to speak, for the event log."""
    if head.startswith(_HTTP_STARTS):
        return "looks like HTTP"
    if len(head) >= 2 and head[0] == 0x16 and head[1] == 3:
        return "looks like TLS"
    # A Kafka request: length, then an API key and a version, which are small, not both 0.
    if len(head) >= 12 and head[4] == head[6] == 0 and 0 < head[5] + head[7] <= 100:
        return "looks like Kafka"
    if head[:4].isalpha() and len(head) >= 4:
        return "looks like a four-letter word that is not known"
    return "unknown"


__all__ = ["DecodeError", "FrameTooLarge", "ProtocolError", "ZkError", "guess_protocol"]
