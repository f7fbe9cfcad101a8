"""What a server counts, for Prometheus."""

from collections.abc import Callable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hgad_jax.inference.predictor import Prediction
from hgad_jax.serving.models import SIZES

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TENTHS = tuple(tenth / 10 for tenth in range(1, 11))


class Meters(NamedTuple):
    """The counters of one server."""

    registry: CollectorRegistry
    requests: Counter  # by route and status
    seconds: Histogram  # of requests, by route
    images: Counter  # by model, class and decision
    scores: Histogram  # normalised, by model: where it moves, the parts or the light have changed
    batches: Histogram  # images of a batch
    device: Counter  # seconds of scoring
    reloads: Counter  # by model and result

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self.registry)

    def scored(self, model: str, prediction: Prediction) -> None:
        """Counts an image."""
        decision = "anomalous" if prediction.anomalous else "good"
        self.images.labels(model, prediction.class_name, decision).inc()
        self.scores.labels(model).observe(prediction.normalized)

    def batch(self, images: int, seconds: float) -> None:
        """Counts a batch."""
        self.batches.observe(images)
        self.device.inc(seconds)


def meters(waiting: Callable[[], int], ready: Callable[[], bool]) -> Meters:
    """Counters at zero.

    Args:
      waiting: tells how many images are accepted and not answered yet.
      ready: tells whether requests are answered.
    """
    registry = CollectorRegistry()
    Gauge("hgad_jax_images_waiting", "Images accepted, not answered yet.", registry=registry).set_function(
        waiting
    )
    Gauge("hgad_jax_ready", "1 when requests are answered.", registry=registry).set_function(ready)

    def counter(name: str, what: str, *labels: str) -> Counter:
        return Counter(f"hgad_jax_{name}", what, labels, registry=registry)

    def histogram(name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"hgad_jax_{name}", what, labels, buckets=buckets, registry=registry)

    return Meters(
        registry,
        counter("requests", "Requests answered.", "route", "status"),
        histogram("request_seconds", "Seconds of a request.", _SECONDS, "route"),
        counter("images", "Images scored.", "model", "class_name", "decision"),
        histogram("normalized_score", "Scores, 0.5 at the threshold.", _TENTHS, "model"),
        histogram("batch_images", "Images of a batch.", SIZES),
        counter("device_seconds", "Seconds of scoring."),
        counter("reloads", "Models loaded anew.", "model", "result"),
    )
