"""A server in this process, on a thread, and requests to it."""

import contextlib
import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request
import uuid
from typing import Any, NamedTuple

import numpy as np
from by_brightness import ByBrightness
from PIL import Image

from hgad_jax.serving import server
from hgad_jax.serving.app import State, close, make_state
from hgad_jax.serving.guard import Door
from hgad_jax.serving.limits import Limits
from hgad_jax.serving.models import Models

TOKEN = "a-token-of-some-length"


class Here(NamedTuple):
    """A server that runs."""

    port: int
    state: State
    log: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def here(*, models=None, limits=Limits(), token="", ready=True, paths=None):  # noqa: B008
    """A server of models by brightness (or others); all that was accepted is answered at the end."""
    log: list[str] = []
    models = models or Models(paths or {"default": "run"}, log.append, lambda path: ByBrightness())
    state = make_state(models, limits, Door(token), workers=2)
    running = server.make_server(state, log.append)
    if ready:
        state.ready.set()
    with server.listening(server.Place(port=0)) as bound:
        thread = threading.Thread(target=server._run, args=(running, bound))
        thread.start()
        until(lambda: running.started)
        try:
            yield Here(bound.getsockname()[1], state, log)
        finally:
            running.should_exit = True
            thread.join()
            close(state)


def until(happened, *, seconds=60.0):
    """Waits for something."""
    start = time.monotonic()
    while not happened():
        assert time.monotonic() - start < seconds, "it did not happen"
        time.sleep(0.01)


class Answer(NamedTuple):
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["error"]["code"]


def ask(url: str, *, data: bytes | None = None, headers=None, method=None) -> Answer:
    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request) as found:
            return Answer(found.status, found.headers, found.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def form(*parts: tuple[str, str | None, bytes]) -> tuple[bytes, dict[str, str]]:
    """A multipart body of (field, file name, content) and its header."""
    boundary = uuid.uuid4().hex
    body = b""
    for field, name, content in parts:
        file = "" if name is None else f'; filename="{name}"'
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"{file}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), {
        "Content-Type": f"multipart/form-data; boundary={boundary}"
    }


def post(url: str, *images: bytes, headers=None) -> Answer:
    """Sends images in a form."""
    body, kind = form(*(("images", f"{number}.png", image) for number, image in enumerate(images)))
    return ask(url, data=body, headers=kind | (headers or {}))


def encoded(pixels: np.ndarray, kind: str = "PNG", **settings) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **settings)
    return file.getvalue()


def good(height=40, width=60) -> bytes:
    return encoded(np.full((height, width), 100, np.uint8))


def defective(height=40, width=60) -> bytes:
    pixels = np.full((height, width), 100, np.uint8)
    pixels[10:25, 10:25] = 255
    return encoded(pixels)


def raw(port: int, *pieces: bytes, wait: float = 0.0, timeout: float = 60.0) -> bytes:
    """Sends bytes as they are, and returns all that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        found = b""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(wait)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                found += piece
        return found
