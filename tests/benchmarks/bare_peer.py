"""The least that a Produce peer can do: a loop that reads frames and writes bytes to a file.

    python -m tests.benchmarks.bare_peer FILE

It prints its port and serves until it is ended. It says of itself that it leads partition 0 of any
topic, checks nothing (no CRC, no offsets, no batch headers), writes the record bytes of a Produce
request to FILE with one write and answers with offset 0. One process, one thread, `select`, a
receive buffer as large as the broker's. The broker is measured against it with the same client.
"""

import os
import selectors
import socket
import struct
import sys

from ottla.protocol.kafka import codec
from ottla.protocol.kafka.api_keys import ApiKey
from ottla.protocol.kafka.headers import decode_request_header, encode_response_frame
from ottla.protocol.kafka.messages.api_versions import ApiVersion, ApiVersionsResponse
from ottla.protocol.kafka.messages.metadata import (
    MetadataRequest,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)

HOST = "127.0.0.1"
PRODUCE_VERSION = 7  # the last one without compact lengths
METADATA_VERSION = 8
BUFFER_BYTES = 2 << 20
FILE_BYTES_MAX = 1 << 30  # then it begins anew, so that a long run does not fill the disk
# Fetch is claimed alone because librdkafka takes it as the sign of record batches v2.
_SERVED = {
    ApiKey.PRODUCE: PRODUCE_VERSION,
    ApiKey.FETCH: 11,
    ApiKey.METADATA: METADATA_VERSION,
    ApiKey.API_VERSIONS: 3,
}
_INT = struct.Struct(">i")
_SHORT = struct.Struct(">h")
# length, correlation id, 1 topic, its name; then 1 partition: index, error, offset, time, start;
# throttle time
_HEAD = struct.Struct(">iiih")
_TAIL = struct.Struct(">iihqqqi")


class Peer:
    """One connection: its buffer and how much of it is filled."""

    def __init__(self, sock: socket.socket, port: int, fd: int) -> None:
        self.socket = sock
        self._port = port
        self._fd = fd
        self._memory = memoryview(bytearray(BUFFER_BYTES))
        self._filled = 0
        self._written = 0

    def turn(self) -> bool:
        """Receive once and serve every whole frame; False at the end of the connection."""
        count = self.socket.recv_into(self._memory[self._filled :])
        self._filled += count
        at = 0
        while self._filled - at >= 4:
            end = at + 4 + _INT.unpack_from(self._memory, at)[0]
            assert end - at <= BUFFER_BYTES, "a frame beyond the buffer"
            if end > self._filled:
                break
            self.socket.sendall(self._answer(self._memory[at + 4 : end]))
            at = end
        self._memory[: self._filled - at] = self._memory[at : self._filled]
        self._filled -= at
        return count > 0

    def _answer(self, frame: memoryview) -> bytes:
        key = _SHORT.unpack_from(frame)[0]
        if key == ApiKey.PRODUCE:
            return self._produce(frame)
        header = decode_request_header(frame)
        if key == ApiKey.API_VERSIONS:
            response: object = ApiVersionsResponse(
                api_keys=[
                    ApiVersion(api_key=key, min_version=0, max_version=last)
                    for key, last in _SERVED.items()
                ]
            )
        else:
            asked = codec.decode(MetadataRequest, header.api_version, frame, header.body_offset)
            response = self._metadata([topic.name or "" for topic in asked.topics or []])
        parts = encode_response_frame(key, header.api_version, header.correlation_id, response)
        return b"".join(parts)  # type: ignore[arg-type]  # none of them is a file's range

    def _metadata(self, topics: list[str]) -> MetadataResponse:
        alone = MetadataResponsePartition(
            partition_index=0, leader_id=1, leader_epoch=0, replica_nodes=[1], isr_nodes=[1]
        )
        return MetadataResponse(
            brokers=[MetadataResponseBroker(node_id=1, host=HOST, port=self._port)],
            cluster_id="bare",
            controller_id=1,
            topics=[MetadataResponseTopic(name=name, partitions=[alone]) for name in topics],
        )

    def _produce(self, frame: memoryview) -> bytes:
        """Produce v7 of one batch: client id, transactional id, acks, timeout, topics."""
        (correlation_id,) = _INT.unpack_from(frame, 4)
        at = 10 + max(_SHORT.unpack_from(frame, 8)[0], 0)
        at += 2 + max(_SHORT.unpack_from(frame, at)[0], 0)
        at += 2 + 4 + 4  # acks, timeout, number of topics
        (length,) = _SHORT.unpack_from(frame, at)
        name = bytes(frame[at + 2 : at + 2 + length])
        at += 2 + length + 4  # number of partitions
        index, size = struct.unpack_from(">ii", frame, at)
        records = frame[at + 8 : at + 8 + size]
        os.write(self._fd, records)
        self._written += size
        if self._written > FILE_BYTES_MAX:
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._written = 0
        total = _HEAD.size - 4 + length + _TAIL.size
        return (
            _HEAD.pack(total, correlation_id, 1, length)
            + name
            + _TAIL.pack(1, index, 0, 0, -1, 0, 0)
        )


def main(path: str) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    selector = selectors.DefaultSelector()
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        print(port, flush=True)
        selector.register(listener, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    sock, _ = listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(sock, selectors.EVENT_READ, Peer(sock, port, fd))
                elif not key.data.turn():
                    selector.unregister(key.data.socket)
                    key.data.socket.close()


if __name__ == "__main__":
    main(sys.argv[1])
