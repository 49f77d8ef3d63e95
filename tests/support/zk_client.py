"""A bare ZooKeeper client over a runtime Stream: sends frames, reads frames, in plain sight."""

from collections import deque

import trio

from ottla.protocol.zookeeper.framing import FrameReader, frame
from ottla.protocol.zookeeper.jute import Reader
from ottla.protocol.zookeeper.messages import (
    ConnectRequest,
    ConnectResponse,
    ReplyHeader,
    RequestHeader,
    WatcherEvent,
)
from ottla.protocol.zookeeper.opcodes import XID_NOTIFICATION


class Closed(Exception):
    """The server closed the connection."""


class ZkClient:
    """`events` gathers what came unasked between replies."""

    def __init__(self, stream):
        self.stream = stream
        self.events = []
        self.order = []  # "event" / xid, as they came
        self.session = None
        self.last_zxid = 0
        self._frames = FrameReader()
        self._arrived = deque()
        self._xid = 0

    @classmethod
    async def connect(cls, network, address, request=None):
        client = cls(await network.connect(address))
        await client.stream.send_all(frame((request or ConnectRequest(0, 0, 10_000)).encode()))
        client.session = ConnectResponse.decode(Reader(await client.next_frame()))
        return client

    async def next_frame(self):
        while not self._arrived:
            with trio.fail_after(5):
                try:
                    count = await self.stream.receive_into(self._frames.buffer())
                except OSError:
                    raise Closed from None
            if not count:
                raise Closed
            self._arrived.extend(bytes(view) for view in self._frames.received(count))
        return self._arrived.popleft()

    def encode(self, opcode, request=None, xid=None):
        if xid is None:
            self._xid += 1
            xid = self._xid
        return frame(RequestHeader(xid, opcode).encode() + (request.encode() if request else b""))

    async def send(self, opcode, request=None, xid=None):
        await self.stream.send_all(self.encode(opcode, request, xid))

    async def reply(self, response=None):
        """The next reply's header and decoded body; events before it go to `events`."""
        while True:
            reader = Reader(await self.next_frame())
            header = ReplyHeader.decode(reader)
            if header.xid == XID_NOTIFICATION:
                self.order.append("event")
                self.events.append(WatcherEvent.decode(reader))
                continue
            self.order.append(header.xid)
            if header.zxid > 0:
                self.last_zxid = header.zxid
            if header.error or response is None:
                return header, None
            return header, response.decode(reader)

    async def call(self, opcode, request=None, response=None, xid=None):
        await self.send(opcode, request, xid)
        return await self.reply(response)

    async def wait_event(self):
        reader = Reader(await self.next_frame())
        assert ReplyHeader.decode(reader).xid == XID_NOTIFICATION
        return WatcherEvent.decode(reader)

    async def wait_closed(self):
        try:
            while True:
                await self.next_frame()
        except Closed:
            self.stream.close()
