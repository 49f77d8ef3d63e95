"""Whether a daemon of this machine serves, for health checks of containers.

A broker serves when it answers ApiVersions without an error, a coordinator member when `srvr` shows
that it has a majority. Exit code 0 or 1; nothing but sockets is imported, since it runs often.
"""

import socket
import struct
import sys

_TIMEOUT_S = 4.0
_DEFAULT = ("--broker", "9092")
_API_VERSIONS = 18
_NOT_SERVING = b"not currently serving"


def broker_serves(port: int) -> bool:
    """Ask for ApiVersions v0: key, version, correlation id, and no client id."""
    request = struct.pack(">hhih", _API_VERSIONS, 0, 1, -1)
    with socket.create_connection(("localhost", port), timeout=_TIMEOUT_S) as sock:
        sock.sendall(struct.pack(">i", len(request)) + request)
        answer = _read(sock, 10)
    return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (1, 0)


def coordinator_serves(port: int) -> bool:
    with socket.create_connection(("localhost", port), timeout=_TIMEOUT_S) as sock:
        sock.sendall(b"srvr")
        answer = _read(sock, 4096)
    return bool(answer) and _NOT_SERVING not in answer


def _read(sock: socket.socket, count: int) -> bytes:
    parts = b""
    while len(parts) < count and (part := sock.recv(count - len(parts))):
        parts += part
    return parts


def main(arguments: list[str]) -> int:
    """`--broker PORT` or `--coordinator PORT`."""
    kind, port = arguments or _DEFAULT
    serves = broker_serves if kind == "--broker" else coordinator_serves
    try:
        return 0 if serves(int(port)) else 1
    except OSError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
