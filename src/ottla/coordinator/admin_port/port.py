"""A small HTTP/1.1 server: one request per connection, answered and closed.

It reads no bodies, believes no claimed length and gives up on a client that dawdles. Task tree:
`serve` > one task per connection, `CONNECTIONS_MAX` of them at most.
"""

from collections.abc import Callable
from http import HTTPStatus

import trio

from ottla.coordinator.admin_port.pages import Page, page_of
from ottla.coordinator.figures import Facts
from ottla.runtime.interfaces import Address, ConnectionLost, Runtime, Stream

HEAD_BYTES_MAX = 8192
PATIENCE_S = 30.0
CONNECTIONS_MAX = 64
_TEXT = "text/plain; charset=utf-8"


class AdminPort:
    """Lives until `serve` is cancelled. `facts` gives what there is to tell, as of now."""

    def __init__(self, facts: Callable[[], Facts], address: Address, runtime: Runtime) -> None:
        self._facts = facts
        self._address = address
        self._runtime = runtime
        self._limit = trio.CapacityLimiter(CONNECTIONS_MAX)

    async def serve(
        self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until cancelled; reports the bound address.

        A port that is taken is an event and not the end: the ensemble needs this member more.
        """
        events = self._runtime.events
        try:
            listener = await self._runtime.network.listen(self._address)
        except OSError as error:
            events.warning("admin_port.refused", address=str(self._address), reason=str(error))
            task_status.started(self._address)
            return
        events.info("admin_port.opened", address=str(listener.address))
        try:
            async with trio.open_nursery() as nursery:
                task_status.started(listener.address)
                while True:
                    nursery.start_soon(self._answer, await listener.accept())
        finally:
            listener.close()

    async def _answer(self, stream: Stream) -> None:
        try:
            if self._limit.available_tokens:
                async with self._limit:
                    with trio.move_on_after(PATIENCE_S):
                        head = await _read_head(stream)
                        if head is not None:
                            await stream.send_all(self._response(head))
        except ConnectionLost:
            pass
        finally:
            stream.close()

    def _response(self, head: bytes) -> bytes:
        line = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(line) != 3 or not line[2].startswith("HTTP/1."):
            page = Page(HTTPStatus.BAD_REQUEST, _TEXT, "This is no HTTP/1 request.\n")
        elif line[0] not in {"GET", "HEAD"}:
            page = Page(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, "Only GET and HEAD are answered.\n")
        else:
            page = page_of(line[1].partition("?")[0], self._facts())
        body = page.body.encode()
        headers = (
            f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\n"
            f"Content-Type: {page.content_type}\r\nContent-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n"
            + ("Allow: GET, HEAD\r\n" if page.status is HTTPStatus.METHOD_NOT_ALLOWED else "")
        )
        return headers.encode("latin-1") + b"\r\n" + (b"" if line[0] == "HEAD" else body)


async def _read_head(stream: Stream) -> bytes | None:
    """Up to the empty line; None: the client left, or goes on for too long."""
    head = bytearray()
    buffer = memoryview(bytearray(2048))
    while b"\r\n\r\n" not in head:
        count = await stream.receive_into(buffer)
        if not count or len(head) + count > HEAD_BYTES_MAX:
            return None
        head += buffer[:count]
    return bytes(head)


__all__ = ["AdminPort"]
