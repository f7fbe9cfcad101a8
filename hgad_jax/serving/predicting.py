"""A request for predictions, from its form to its answer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from starlette.requests import ClientDisconnect, Request

from hgad_jax.serving.answers import Wanted, fields, pictures
from hgad_jax.serving.batches import Batcher, Full, Scored
from hgad_jax.serving.decoding import Unreadable, Upload, decoded
from hgad_jax.serving.limits import Limits
from hgad_jax.serving.meters import Meters
from hgad_jax.serving.models import Model
from hgad_jax.serving.problems import busy, unreadable
from hgad_jax.serving.uploads import images_of

T = TypeVar("T")


class Asked(NamedTuple):
    """What a request asks for, besides the images."""

    model: Model
    class_id: int | None
    wanted: Wanted


class Means(Protocol):
    """What it takes to answer: of `app.State`."""

    @property
    def batcher(self) -> Batcher: ...  # noqa: D102
    @property
    def workers(self) -> ThreadPoolExecutor: ...  # noqa: D102
    @property
    def limits(self) -> Limits: ...  # noqa: D102
    @property
    def meters(self) -> Meters: ...  # noqa: D102


class _Square(NamedTuple):
    pixels: np.ndarray
    size: tuple[int, int]
    seconds: float


async def predict(means: Means, request: Request, asked: Asked) -> dict[str, Any]:
    """Scores the images of a request.

    Returns:
      The answer as JSON: `model`, `generation`, `results` in the order of the images, and `seconds`.

    Raises:
      Refusal: the form or an image cannot be read, or there is no room for them.
      ClientDisconnect: nobody waits for the answer any more.
    """
    start = time.monotonic()
    uploads = await images_of(request, means.limits.max_images)
    try:
        with means.batcher.room_for(len(uploads)):
            async with _while_there(request):
                results = await _scored(means, asked, uploads)
    except Full as full:
        raise busy("The queue of images is full; send this request again.") from full
    return {
        "model": asked.model.name,
        "generation": asked.model.generation,
        "results": results,
        "seconds": round(time.monotonic() - start, 6),
    }


async def _scored(means: Means, asked: Asked, uploads: list[Upload]) -> list[dict[str, Any]]:
    model = asked.model
    squares = await _in_threads(
        means.workers, lambda upload: _decode(upload, model, means.limits.max_pixels), uploads
    )
    wrong = [
        (index, uploads[index].name, str(square))
        for index, square in enumerate(squares)
        if isinstance(square, Unreadable)
    ]
    if wrong:
        raise unreadable(wrong)
    whole = [square for square in squares if isinstance(square, _Square)]
    waiting = [
        means.batcher.submit(model, square.pixels, square.size, asked.class_id, upload.name)
        for square, upload in zip(whole, uploads, strict=True)
    ]
    try:
        found = await asyncio.gather(*map(asyncio.wrap_future, waiting))
    finally:
        for future in waiting:
            future.cancel()  # those that wait, if the client has left or the time is over
    return await _in_threads(
        means.workers,
        lambda one: _said(means.meters, asked, *one),
        list(zip(uploads, whole, found, strict=True)),
    )


def _decode(upload: Upload, model: Model, max_pixels: int) -> _Square | Unreadable:
    start = time.monotonic()
    try:
        pixels, size = decoded(upload, model.transform, max_pixels)
    except Unreadable as error:
        return error
    return _Square(pixels, size, time.monotonic() - start)


def _said(meters: Meters, asked: Asked, upload: Upload, square: _Square, scored: Scored) -> dict[str, Any]:
    start = time.monotonic()
    painted = pictures(scored.decided, square.size, asked.model.transform, asked.wanted)
    meters.scored(asked.model.name, scored.decided.prediction)
    timings = {
        "decode": square.seconds,
        "wait": scored.waited,
        "score": scored.took,
        "paint": time.monotonic() - start,
    }
    return {
        "name": upload.name,
        "height": square.size[0],
        "width": square.size[1],
        **fields(scored.decided.prediction),
        **painted,
        "timings": {name: round(seconds, 6) for name, seconds in timings.items()} | {"batch": scored.batch},
    }


async def _in_threads(workers: ThreadPoolExecutor, run: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
    loop = asyncio.get_running_loop()
    started: list[Awaitable[T]] = [loop.run_in_executor(workers, run, item) for item in items]
    return list(await asyncio.gather(*started))


@contextlib.asynccontextmanager
async def _while_there(request: Request) -> AsyncIterator[None]:
    """Ends the block when the client leaves, so that nothing is scored for nobody.

    Raises:
      ClientDisconnect: it has left.
    """
    block = asyncio.current_task()
    assert block is not None
    has_left = False

    async def wait() -> None:
        nonlocal has_left
        while (await request.receive())["type"] != "http.disconnect":
            pass
        has_left = True
        block.cancel()

    watcher = asyncio.create_task(wait())
    try:
        yield
    except asyncio.CancelledError:
        if not has_left:
            raise
        block.uncancel()
        raise ClientDisconnect from None
    finally:
        watcher.cancel()
