"""HTTP on a connection: uvicorn's, with limits on clients that say nothing, too slowly, or do not listen."""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_GRACE = 0.5  # seconds for the request of a connection that was made just before the end


class _Limited(H11Protocol):
    """A connection.

    Attributes:
      head_timeout: seconds within which the head of a request has to be there, from the connection on, and
        within which a client has to take what was sent to it.
      most: connections at a time; further ones are told so and closed.
    """

    head_timeout: float
    most: int
    _head: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head = self.loop.call_later(self.head_timeout, self._no_head)
        if len(self.connections) > self.most:
            self._refuse(503, "busy", "The server has as many connections as it may.")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_idle():
            self._forget_head()
        elif self._head is None:  # the start of a further request
            self._head = self.loop.call_later(self.head_timeout, self._no_head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(self.head_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "http", "This is no HTTP request.")

    def shutdown(self) -> None:
        if self._is_idle():  # its request may be on its way
            self.loop.call_later(_GRACE, super().shutdown)
        else:
            super().shutdown()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _no_head(self) -> None:
        self._head = None
        if self._is_idle():
            self._refuse(408, "timeout", f"No whole request head came within {self.head_timeout:g} s.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._forget_head()
        if self.transport.is_closing():
            return
        said = json.dumps({"error": {"status": status, "code": code, "message": message}}).encode()
        if self._is_idle() and self.conn.our_state in (h11.IDLE, h11.ERROR, h11.DONE, h11.SEND_RESPONSE):
            head = (
                f"HTTP/1.1 {status} {code}\r\ncontent-type: application/json\r\nconnection: close\r\n"
                f"content-length: {len(said)}\r\nretry-after: 1\r\n\r\n"
            )
            self.transport.write(head.encode("ascii") + said)
        self.transport.close()


def protocol(head_timeout: float, most: int) -> type[H11Protocol]:
    """A protocol for uvicorn; see `_Limited`."""
    return type("Limited", (_Limited,), {"head_timeout": head_timeout, "most": most})
