"""Serve a trained model over HTTP: `hgad-jax serve RUN`, then http://127.0.0.1:8000 in a browser.

RUN is the folder of a trained run, or what `hgad-jax export` made of one; several: --model=NAME=RUN, once for
each. POST /v1/predict scores images, /docs has every route. Only this machine is let in unless HGAD_JAX_TOKEN
in the environment has a token. SIGHUP loads the models anew, SIGTERM or Ctrl-C ends the server when all that
was accepted is answered.
Exit status: 0 ended, 2 something to mend, 3 a fault of hgad_jax.
"""

import functools
import importlib.util

from absl import flags

from hgad_jax.cli import shell
from hgad_jax.errors import UserError
from hgad_jax.serving.limits import Limits

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
_DEFAULT = Limits()
_MODEL = flags.DEFINE_multi_string("model", [], "RUN or NAME=RUN; may be given several times.")
_CLASSES = flags.DEFINE_enum(
    "classes",
    None,
    ["inferred", "mixture", "given"],
    "Where images' classes come from, of all models; by default as in the config of each.",
)
_THRESHOLD = flags.DEFINE_string(
    "threshold",
    None,
    "'tail' or 'conformal' (from the false-alarm rate), or a number; for one class as CLASS=VALUE, several "
    "with a comma between; of all models; by default as in the config of each.",
)
_RATE = flags.DEFINE_string(
    "false_alarm_rate",
    None,
    "Share of good images that may be called anomalous; for one class as CLASS=RATE, several with a comma "
    "between; of all models; by default as in the config of each.",
)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 lets other machines in.")
_PORT = flags.DEFINE_integer("port", 8000, "Port to listen on; 0 for any that is free.", 0, 65535)
_NO_TOKEN = flags.DEFINE_bool("allow_no_token", False, "Let everybody in who can reach the server.")
_BYTES = flags.DEFINE_integer("max_bytes", _DEFAULT.max_bytes, "Bytes of one request.")
_PIXELS = flags.DEFINE_integer("max_pixels", _DEFAULT.max_pixels, "Pixels of one image.")
_IMAGES = flags.DEFINE_integer("max_images", _DEFAULT.max_images, "Images of one request.")
_REQUESTS = flags.DEFINE_integer("max_requests", _DEFAULT.max_requests, "Requests answered at a time.")
_CONNECTIONS = flags.DEFINE_integer("max_connections", _DEFAULT.max_connections, "Connections at a time.")
_QUEUE = flags.DEFINE_integer("queue", _DEFAULT.queue, "Images accepted and not scored yet; then 503.")
_TIMEOUT = flags.DEFINE_float(
    "timeout", _DEFAULT.timeout, "Seconds that a request may take, upload included."
)
_HEAD = flags.DEFINE_float("head_timeout", _DEFAULT.head_timeout, "Seconds for the head of a request.")


def main() -> None:
    """Runs the command."""
    shell.run(_serve, module=__name__, arguments=True)


def _serve(more: list[str]) -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"What a server needs is not installed ({', '.join(missing)}): pip install 'hgad_jax[serve]'"
        )
    from hgad_jax.runs import host, processes  # after the flags: importing jax takes a second
    from hgad_jax.serving import models, server

    processes.refuse_several("hgad-jax serve")
    # All cores are one device here: a batch of few images is scored faster by all of them together.
    host.keep_compiled()
    server.serve(
        models.named_paths([*more, *_MODEL.value]),
        server.Place(_HOST.value, _PORT.value, _NO_TOKEN.value),
        Limits(
            _BYTES.value,
            _PIXELS.value,
            _IMAGES.value,
            _REQUESTS.value,
            _CONNECTIONS.value,
            _QUEUE.value,
            _TIMEOUT.value,
            _HEAD.value,
        ),
        log=shell.say,
        open_models=functools.partial(
            models.Models,
            open_it=functools.partial(
                models.open_model,
                classes=_CLASSES.value,
                threshold=_THRESHOLD.value,
                false_alarm_rate=_RATE.value,
            ),
        ),
    )
