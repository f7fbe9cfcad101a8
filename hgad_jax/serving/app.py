"""The routes of a server: predictions, models, health, counters, and the page."""

import asyncio
import importlib.resources
import platform
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

import hgad_jax
from hgad_jax.errors import UserError
from hgad_jax.serving import description
from hgad_jax.serving.answers import Wanted, plain_value
from hgad_jax.serving.batches import Batcher
from hgad_jax.serving.guard import Door, Guard, Routes, Seen
from hgad_jax.serving.limits import Limits
from hgad_jax.serving.meters import Meters, meters
from hgad_jax.serving.models import Model, Models
from hgad_jax.serving.predicting import Asked, predict
from hgad_jax.serving.problems import Refusal, busy, fault
from hgad_jax.serving.promises import promises

PAGE = {  # what the page is made of: path → file of `page/` and its type
    "/": ("index.html", "text/html; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    **{f"/page/{name}.css": (f"{name}.css", "text/css; charset=utf-8") for name in ("style",)},
    **{
        f"/page/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("api", "decide", "docs", "history", "main", "picture", "sources")
    },
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
_LIGHT = ("/healthz", "/readyz", "/metrics")
ROUTES = Routes(
    known=("/v1/predict", "/v1/model", "/v1/models", "/v1/models/*", "/openapi.json", *_LIGHT, *PAGE),
    open=("/healthz", "/readyz", "/openapi.json", *PAGE),
    light=(*_LIGHT, *PAGE),
    slow=("/v1/models/*",),
)


class State(NamedTuple):
    """What the routes share.

    Attributes:
      models: that are served.
      batcher: that scores.
      workers: threads that decode and paint.
      limits: of requests.
      meters: counters.
      ready: set when all is compiled.
      door: who is let in.
    """

    models: Models
    batcher: Batcher
    workers: ThreadPoolExecutor
    limits: Limits
    meters: Meters
    ready: threading.Event
    door: Door


def make_state(models: Models, limits: Limits, door: Door, workers: int) -> State:
    """The state of a server that is not ready yet; `close` ends its threads."""
    ready = threading.Event()
    counters: list[Meters] = []
    batcher = Batcher(limits.queue, lambda images, seconds: counters[0].batch(images, seconds))
    counters.append(meters(lambda: batcher.taken, ready.is_set))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    return State(models, batcher, pool, limits, counters[0], ready, door)


def close(state: State) -> None:
    """Answers what was accepted, then ends the threads."""
    state.batcher.stop()
    state.workers.shutdown()


def make_app(state: State, seen: Callable[[Seen], None], failed: Callable[[Exception], None]) -> ASGIApp:
    """The whole application.

    Args:
      state: of `make_state`.
      seen: told of every request that is over.
      failed: told of an exception that nobody caught.
    """
    app = FastAPI(
        title="hgad_jax",
        version=hgad_jax.__version__,
        description=description.ABOUT,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere; /docs is one of ours
        redoc_url=None,
        exception_handlers=dict.fromkeys((Refusal, HTTPException, ClientDisconnect, Exception), _refused),
    )
    _add_models(app, state)
    _add_health(app, state)
    _add_page(app)

    def count(request: Seen) -> None:
        state.meters.requests.labels(request.route, str(request.status)).inc()
        state.meters.seconds.labels(request.route).observe(request.seconds)
        seen(request)

    return Guard(app, state.limits, state.door, ROUTES, count, failed)


def _add_models(app: FastAPI, state: State) -> None:
    @app.post("/v1/predict", openapi_extra=description.PREDICT, summary="Score images")
    async def score(request: Request) -> Response:
        asked = _asked(state, request)
        return JSONResponse(await predict(state, request, asked))

    @app.get("/v1/models", summary="Names of the models")
    async def names() -> dict[str, Any]:
        return {"models": [{"name": m.name, "generation": m.generation} for m in state.models]}

    @app.get("/v1/model", openapi_extra=description.MODEL, summary="A model and what its thresholds promise")
    async def about(request: Request) -> Response:
        model = _model(state, _only(request, "model").get("model"))
        loop = asyncio.get_running_loop()
        return JSONResponse(await loop.run_in_executor(state.workers, lambda: describe(model, state.limits)))

    @app.post("/v1/models/{name}/reload", summary="Load a model anew from where it lies")
    async def reload(name: str) -> Response:
        if not state.door.token:
            raise Refusal(
                403,
                "no_token",
                "A server without a token loads models anew on the signal SIGHUP only: kill -HUP PID.",
            )
        model = _model(state, name)
        return JSONResponse(await asyncio.to_thread(_reloaded, state, model.name))


def _reloaded(state: State, name: str) -> dict[str, Any]:
    try:
        model = state.models.reload(name)
    except Exception as error:
        state.meters.reloads.labels(name, "failed").inc()
        if isinstance(error, UserError):
            raise Refusal(409, "not_loaded", f"{error} The model of before goes on.") from error
        raise
    state.meters.reloads.labels(name, "done").inc()
    return {"model": model.name, "generation": model.generation}


def _add_health(app: FastAPI, state: State) -> None:
    @app.get("/healthz", summary="Whether the server is there")
    async def healthy() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether it answers predictions")
    async def ready() -> dict[str, str]:
        _check_ready(state)
        return {"status": "ready"}

    @app.get("/metrics", summary="Counters, for Prometheus")
    async def counters() -> Response:
        return Response(state.meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_page(app: FastAPI) -> None:
    folder = importlib.resources.files("hgad_jax.serving") / "page"

    def add(path: str, content: bytes, kind: str) -> None:
        @app.get(path, include_in_schema=False)
        async def page() -> Response:
            return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    for path, (name, kind) in PAGE.items():
        add(path, (folder / name).read_bytes(), kind)


def describe(model: Model, limits: Limits) -> dict[str, Any]:
    """What `/v1/model` says: no paths, nothing of the images that it was trained on but their number."""
    scorer = model.predictor.scorer
    found = {
        "name": model.name,
        "generation": model.generation,
        "opened": model.opened,
        "step": scorer.step,
        "classes": list(model.classes),
        "needs_class": model.needs_class,
        "mode": scorer.mode,
        "false_alarm_rate": scorer.config.calibration.false_alarm_rate,
        "thresholds": promises(model.predictor, scorer.mode),
        "thresholds_of_named": promises(model.predictor, "given"),  # of images whose class is named
        "transform": model.transform._asdict(),
        "limits": limits._asdict() | {"max_pixels": min(limits.max_pixels, model.transform.max_pixels)},
        "versions": {
            "hgad_jax": hgad_jax.__version__,
            "jax": jax.__version__,
            "python": platform.python_version(),
        },
        "device": f"{jax.devices()[0].device_kind} × {jax.device_count()}",
    }
    return plain_value(found)


def _check_ready(state: State) -> None:
    if not state.ready.is_set():
        raise busy("The model is being compiled; the server will be ready soon.", code="starting", seconds=5)


def _model(state: State, name: str | None) -> Model:
    model = state.models.get(name)
    if model is None:
        known = ", ".join(state.models.names)
        asked = "No model is named" if name is None else f"There is no model {name[:100]!r}"
        raise Refusal(404, "no_such_model", f"{asked}; there are: {known}. Choose one by ?model=NAME.")
    return model


def _asked(state: State, request: Request) -> Asked:
    _check_ready(state)
    query = _only(request, "model", "class", "heatmap", "map", "contours")
    model = _model(state, query.get("model"))
    name = query.get("class")
    if name is None and model.needs_class:
        raise Refusal(400, "class", f"Name the class of the images: ?class=, {', '.join(model.classes)}.")
    try:
        class_id = model.predictor.class_id(name)
    except UserError as error:
        raise Refusal(400, "class", str(error)) from error
    wanted = Wanted(*(_flag(query, field) for field in Wanted._fields))
    return Asked(model, class_id, wanted)


def _only(request: Request, *names: str) -> Mapping[str, str]:
    """The parameters of a request, if they are some of these, each once."""
    pairs = request.query_params.multi_items()
    for name, _ in pairs:
        if name not in names:
            raise Refusal(
                400, "parameter", f"There is no parameter {name[:100]!r}; there are {', '.join(names)}."
            )
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refusal(400, "parameter", "A parameter is given twice.")
    return found


def _flag(query: Mapping[str, str], name: str) -> bool:
    value = query.get(name, "0")
    if value not in ("0", "1", "false", "true"):
        raise Refusal(400, "parameter", f"{name} is {value[:100]!r}, expected 1 or 0.")
    return value in ("1", "true")


async def _refused(request: Request, error: Exception) -> Response:
    """The answer to an exception that ended a request."""
    if isinstance(error, Refusal):
        return error.response()
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # which nobody reads
    if isinstance(error, HTTPException):  # of the router: no such path, no such method
        said = "There is nothing here" if error.status_code == 404 else str(error.detail)
        refusal = Refusal(
            error.status_code, "route", f"{said}; /docs has what there is.", headers=error.headers
        )
        return refusal.response()
    return fault().response()
