"""What every request passes: who asks, how much, how long; and what every answer carries."""

import asyncio
import contextlib
import hmac
import ipaddress
import time
from collections.abc import Callable
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hgad_jax.serving.limits import Limits
from hgad_jax.serving.problems import Refusal, busy, fault, too_large

# The page may load from here only, nobody may frame it, and it may use the camera.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(self), microphone=(), geolocation=()",
    b"cache-control": b"no-store",
}
_DRAIN = 1.0  # seconds that what is refused may still be sent, so that the answer is read and not the cut


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, by which no other machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Door(NamedTuple):
    """Who is let in.

    Attributes:
      token: that requests have to carry; "" for none.
      any_host: without a token, whether requests may name the server as they like. If not, a page of another
        origin that a browser of this machine shows cannot use it, by whatever name.
    """

    token: str = ""
    any_host: bool = False


class Routes(NamedTuple):
    """Paths by how they are treated; one that ends with "*" stands for all that begin so."""

    known: tuple[str, ...]  # as they are called in logs and counters
    open: tuple[str, ...]  # without a token: what tells nothing of models
    light: tuple[str, ...]  # answered however many requests there are, and not logged when all is well
    slow: tuple[str, ...]  # without a time limit


class Seen(NamedTuple):
    """A request that is over, for logs and counters; of an image it tells nothing."""

    method: str
    route: str  # of `Routes.known`, or "other"
    status: int
    seconds: float
    bytes: int
    client: str


class Guard:
    """An ASGI application around another.

    Args:
      app: that answers what is let in.
      limits: of every request.
      door: who is let in.
      routes: what there is.
      seen: told of every request that is over.
      failed: told of an exception that nobody caught.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        door: Door,
        routes: Routes,
        seen: Callable[[Seen], None],
        failed: Callable[[Exception], None],
    ):
        self._app, self._limits, self._door, self._routes = app, limits, door, routes
        self._seen, self._failed = seen, failed
        self._running = self._uploading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        exchange = _Exchange(receive, send, is_asked_first="expect" in headers)
        start, light = time.monotonic(), _is_in(scope["path"], self._routes.light)
        self._running += not light
        limit = None if _is_in(scope["path"], self._routes.slow) else self._limits.timeout
        try:
            async with asyncio.timeout(limit):
                await self._answer(scope, headers, exchange, light)
        except TimeoutError:
            await exchange.refuse(scope, self._too_slow(exchange))
        except asyncio.CancelledError:
            if not exchange.has_left:  # else there is nobody to answer
                raise
        except Exception as error:
            self._failed(error)
            await exchange.refuse(scope, fault())
        finally:
            self._running -= not light
            self._uploading -= exchange.received
            client = (scope.get("client") or ("?",))[0]
            route = next((r for r in self._routes.known if _is_in(scope["path"], (r,))), "other")
            seconds = time.monotonic() - start
            self._seen(Seen(scope["method"], route, exchange.status, seconds, exchange.received, client))

    async def _answer(self, scope: Scope, headers: Headers, exchange: "_Exchange", light: bool) -> None:
        try:
            self._let_in(scope, headers)
            if not light and self._running > self._limits.max_requests:
                raise busy("The server is answering as many requests as it may; send this one again.")
            length = headers.get("content-length", "")
            if length.isdecimal() and int(length) > self._limits.max_bytes:
                raise too_large(length, self._limits.max_bytes)
            await self._app(scope, lambda: self._receive(exchange), exchange.send)
        except Refusal as refusal:
            await exchange.refuse(scope, refusal)

    def _let_in(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        if not self._door.token and not self._door.any_host:
            name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
            origin = headers.get("origin")
            if not is_loopback(name.strip("[]")) or (
                origin is not None and origin.partition("://")[2] != host
            ):
                raise Refusal(
                    403,
                    "other_origin",
                    "Without a token the server answers this machine and its own page only. Start it with "
                    "HGAD_JAX_TOKEN in its environment to use it from elsewhere.",
                )
        if self._door.token and not _is_in(scope["path"], self._routes.open):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            known = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._door.token.encode())
            if scheme.lower() != "bearer" or not known:
                raise Refusal(
                    401,
                    "token",
                    "The token is missing or wrong. Send the header 'Authorization: Bearer TOKEN'.",
                    headers={"WWW-Authenticate": "Bearer"},
                )

    async def _receive(self, exchange: "_Exchange") -> Message:
        message = await exchange.receive()
        size = len(message.get("body", b""))
        self._uploading += size
        exchange.received += size
        if exchange.received > self._limits.max_bytes:
            raise too_large(f"more than {self._limits.max_bytes}", self._limits.max_bytes)
        if self._uploading > self._limits.uploads:
            raise busy("The server is receiving as much as it may; send this request again.")
        return message

    def _too_slow(self, exchange: "_Exchange") -> Refusal:
        seconds = f"{self._limits.timeout:g} s"
        if exchange.is_whole:
            return busy(f"There was no answer within {seconds}; send the request again.", code="timeout")
        return Refusal(408, "timeout", f"The request did not arrive within {seconds}.")


class _Exchange:
    """A request and its answer, as far as they have got."""

    def __init__(self, receive: Receive, send: Send, *, is_asked_first: bool):
        self._receive, self._send = receive, send
        self._is_asked_first = is_asked_first  # the client waits to hear whether its request is wanted
        self.received = 0  # bytes that were asked for and let through
        self.is_whole = self.has_left = False
        self.status = 0  # of the answer that was begun; 0: none, the client has left

    async def receive(self) -> Message:
        message = await self._receive()
        self.has_left = message["type"] == "http.disconnect"
        self.is_whole = self.is_whole or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not self.is_whole and not self._is_asked_first:
                await self._drain()
            # What is left of a request must not be taken for the next one.
            close = [] if self.is_whole else [(b"connection", b"close")]
            message = {**message, "headers": _with_policy([*message["headers"], *close])}
        await self._send(message)

    async def _drain(self) -> None:
        """Takes what is still being sent: a client that sends does not read the answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN):
                while not self.is_whole:
                    await self.receive()

    async def refuse(self, scope: Scope, refusal: Refusal) -> None:
        """Answers so, unless an answer was begun, or nobody is there any more."""
        if not self.status and not self.has_left:
            with contextlib.suppress(OSError):
                await refusal.response()(scope, self._receive, self.send)


def _with_policy(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    there = {name.lower() for name, _ in headers}
    return [*headers, *((name, value) for name, value in _ALWAYS.items() if name not in there)]


def _is_in(path: str, routes: tuple[str, ...]) -> bool:
    return any(path == route or (route[-1] == "*" and path.startswith(route[:-1])) for route in routes)
