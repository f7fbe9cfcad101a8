"""A server's process: its socket, its threads, its signals."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import NamedTuple

import uvicorn

from hgad_jax.errors import UserError
from hgad_jax.serving.app import State, close, make_app, make_state
from hgad_jax.serving.guard import Door, Seen, is_loopback
from hgad_jax.serving.limits import Limits, checked
from hgad_jax.serving.models import Models
from hgad_jax.serving.protocol import protocol

TOKEN = "HGAD_JAX_TOKEN"
_SHORTEST_TOKEN = 16
_QUIET = ("/healthz", "/readyz", "/metrics", "/", "/docs", "other")
_IDLE = 20  # seconds that a connection may be kept without a request


class Place(NamedTuple):
    """Where a server listens and whom it lets in."""

    host: str = "127.0.0.1"
    port: int = 8000
    allow_no_token: bool = False


def door_of(place: Place, environment: Mapping[str, str]) -> Door:
    """Who is let in.

    Args:
      place: where the server listens.
      environment: of the process; `HGAD_JAX_TOKEN` in it is the token.

    Raises:
      UserError: a token that can be guessed, or none where others can reach the server.
    """
    token = environment.get(TOKEN)
    if token is not None and (len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise UserError(
            f"{TOKEN} in the environment has {len(token)} characters, expected {_SHORTEST_TOKEN} or more, "
            "letters and digits. Make one: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    if token is None and not is_loopback(place.host) and not place.allow_no_token:
        raise UserError(
            f"--host={place.host} lets other machines in, and there is no token. Set {TOKEN} in the "
            "environment (python -c 'import secrets; print(secrets.token_urlsafe())' makes one), or give "
            "--allow_no_token if everybody who can reach this machine may use the model."
        )
    return Door(token or "", any_host=place.allow_no_token)


def listening(place: Place) -> socket.socket:
    """A socket that is bound.

    Raises:
      UserError: the port is taken, or there is no such address.
    """
    try:
        kind, _, _, _, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(kind, socket.SOCK_STREAM)
    except OSError as error:
        raise UserError(f"--host={place.host}: {error.strerror}. Give an address of this machine.") from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        raise UserError(
            f"The server cannot listen on {place.host}, port {place.port}: {error.strerror}. Give another "
            "--port (0 for any that is free) or --host, or end the program that listens there."
        ) from error
    found.set_inheritable(False)
    return found


def serve(
    paths: Mapping[str, str],
    place: Place,
    limits: Limits,
    *,
    log: Callable[[str], None],
    environment: Mapping[str, str] = os.environ,
    open_models: Callable[..., Models] = Models,
) -> None:
    """Serves models until SIGTERM or Ctrl-C; what was accepted by then is answered.

    SIGHUP loads all models anew. Lines of the log are for people: what was asked, by whom, how long it took;
    nothing of images, nor their names.

    Args:
      paths: of the models, by name.
      place: where to listen.
      limits: of requests.
      log: gets the lines.
      environment: where the token is.
      open_models: from paths and log to models.

    Raises:
      UserError: no model, no token, no port.
    """
    door = door_of(place, environment)
    with listening(place) as bound:
        models = open_models(paths, log)
        state = make_state(models, checked(limits), door, workers=min(8, 2 * (os.cpu_count() or 1)))
        try:
            running = make_server(state, log)
            with _heeding_signals(state, running, log):
                failure, warming = _start(state, running, log)
                bound.listen()  # who comes from here on is served as soon as uvicorn takes over
                host, port = bound.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                log(f"listening on http://{shown}:{port}; Ctrl-C or SIGTERM ends it")
                _run(running, bound)
                warming.join()  # a process that ends in the middle of a compilation may abort
        finally:
            close(state)
    if failure:
        raise failure[0]
    log("ended: all that was accepted is answered")


def make_server(state: State, log: Callable[[str], None]) -> uvicorn.Server:
    """A server of uvicorn's that answers with the routes of `app`; it is not started."""
    limits = state.limits
    config = uvicorn.Config(
        make_app(state, lambda request: _tell(request, log), lambda error: _tell_fault(error, log)),
        http=protocol(limits.head_timeout, limits.max_connections),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=int(limits.timeout) + 5,
        h11_max_incomplete_event_size=32_768,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """Leaves signals to `_heeding_signals`; uvicorn raises them again when all is done."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _run(server: uvicorn.Server, bound: socket.socket) -> None:
    asyncio.run(server.serve([bound]))


def _start(
    state: State, server: uvicorn.Server, log: Callable[[str], None]
) -> tuple[list[Exception], threading.Thread]:
    """Compiles in the background; what goes wrong there ends the server and is in the list."""
    failure: list[Exception] = []

    def warm_up() -> None:
        start = time.monotonic()
        try:
            state.models.warm_up(lambda: server.should_exit)
        except Exception as error:
            failure.append(error)
            server.should_exit = True
            return
        if server.should_exit:
            return
        state.ready.set()
        log(f"ready after {time.monotonic() - start:.0f} s: {', '.join(state.models.names)}")

    thread = threading.Thread(target=warm_up, name="warm-up")
    thread.start()
    return failure, thread


@contextlib.contextmanager
def _heeding_signals(state: State, server: uvicorn.Server, log: Callable[[str], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the server, the second time at once; SIGHUP loads the models anew."""

    def stop(*_: object) -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    def reload(*_: object) -> None:  # on a thread, which Python waits for before it ends
        threading.Thread(target=_reload_all, args=(state, log), name="reload").start()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
    before = {number: signal.signal(number, heed) for number, heed in wanted.items()}
    try:
        yield
    finally:
        for number, heed in before.items():
            signal.signal(number, heed)


def _reload_all(state: State, log: Callable[[str], None]) -> None:
    for name in state.models.names:
        try:
            model = state.models.reload(name)
        except Exception as error:
            state.meters.reloads.labels(name, "failed").inc()
            log(f"model {name} cannot be loaded anew, the one of before goes on: {error}")
        else:
            state.meters.reloads.labels(name, "done").inc()
            log(f"model {name} is loaded anew: generation {model.generation}")


def _tell(request: Seen, log: Callable[[str], None]) -> None:
    if request.status < 400 and (request.route in _QUIET or request.route.startswith("/page/")):
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
    status = request.status or "left"
    log(
        f"{stamp} {request.client} {request.method[:10]} {request.route} {status} "
        f"{request.bytes} bytes {request.seconds:.3f} s"
    )


def _tell_fault(error: Exception, log: Callable[[str], None]) -> None:
    log(f"fault: {''.join(traceback.format_exception(error)).rstrip()}")
