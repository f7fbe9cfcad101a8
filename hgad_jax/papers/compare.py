"""The published figures that a run can be compared with, and what was different about it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hgad_jax import detectors
from hgad_jax.papers.figures import Figures, every, fractions

_LAST, _BEST, _WINDOW = "last", "best", "window"
_ORIGINS = ("the paper", "the authors' README", "another implementation", "another paper, as cited")
_STATES = {
    _LAST: "of the last state",
    _BEST: "the best of several evaluations on the test set",
    _WINDOW: "the mean over a window of epochs",
}


class Measured(NamedTuple):
    """How a run was evaluated.

    Attributes:
      protocol: of the scores; "" for the config's.
      state: "last", "best" (on the test set) or "window".
      runs: that a figure is the mean of.
      aupro: kinds of AUPRO that were computed.
    """

    protocol: str = ""
    state: str = _LAST
    runs: int = 1
    aupro: tuple[str, ...] = ("exact", "dfr1000")


DEFAULT = Measured()


def matching(config: Any, measured: Measured = DEFAULT) -> Figures | None:
    """The figures for a run's detector and dataset, None if nothing was published.

    Of its backbone if there are; then of the method's own paper before others; then with fewest differences.
    """
    method, dataset = detectors.method(config.detector), config.data.name
    found = [f for f in every().values() if f.method == method and f.dataset == dataset and f.columns]
    if config.data.class_name:
        found = [f for f in found if config.data.class_name in f.rows]
    if not found:
        return None

    def rank(figures: Figures) -> tuple[bool, int, bool, int, int]:
        away = len(differences(config, figures, measured))
        averaged = figures.settings.get("state") == _WINDOW and measured.state != _WINDOW
        other, origin = figures.backbone != _base(config), _ORIGINS.index(figures.origin)
        return other, origin, averaged, away, -sum(not column.endswith("_std") for column in figures.columns)

    return min(found, key=rank)


def comparison(config: Any, measured: Measured = DEFAULT) -> dict[str, Any] | None:
    """The figures that a run is shown beside, for `results.json`.

    Args:
      config: of the run.
      measured: how it was evaluated.

    Returns:
      `{"method": …, "figures": name, "source": …, "classes": {name: {metric: value}}, "mean": {metric:
      value}, "differences": [text]}`, values between 0 and 1 under the names of `results.json`; of one class
      alone if the run is, the mean then being its own. None if nothing was published.
    """
    figures = matching(config, measured)
    if figures is None:
        return None
    classes = {name: of_class(figures, row) for name, row in figures.rows.items()}
    mean = fractions(figures.columns, figures.mean) if figures.mean else {}
    if chosen := config.data.class_name:
        classes = {chosen: classes[chosen]}
        mean = classes[chosen]
    return {
        "method": figures.method,
        "figures": figures.name,
        "source": figures.source,
        "classes": classes,
        "mean": mean,
        "differences": differences(config, figures, measured),
    }


def differences(config: Any, figures: Figures, measured: Measured = DEFAULT) -> list[str]:
    """How a run's settings differ from those behind published figures, one sentence each.

    Computed from what the figures' file says of them and the run's config: every setting that is stored is
    compared, and those that the source does not tell are named.
    """
    return list(_differences(config, figures, measured))


def _differences(config: Any, figures: Figures, measured: Measured) -> Iterator[str]:
    settings = figures.settings
    if figures.backbone not in (_base(config), "by class", ""):  # "": rows are backbones
        yield f"the backbone is {config.backbone.name}, published with {figures.backbone}"
    tag = config.backbone.name.partition(".")[2]
    if tag and settings.get("weights", tag) != tag and figures.backbone == _base(config):
        yield f"the backbone's weights are {tag}, published with {settings['weights']}"
    for name, difference in _COMPARED.items():
        if name in settings:
            yield from difference(config, settings[name], measured)
    if config.data.allow_partial:
        yield "config.data.allow_partial is True: the images may be others than the published ones"
    if figures.dataset == "stc":
        yield "12 scenes are averaged, those with ground truth; the paper counts 13"
    yield from _scored_state(settings, measured)
    for key, expected in settings.get("keys", {}).items():
        value = _get(config, key)
        if _plain(value) != _plain(expected):
            yield f"config.{key} is {value!r}, published with {expected!r}"
    told = {*settings, *(["training"] if settings.get("keys") else [])}
    if untold := [said for name, said in _TOLD.items() if name not in told]:
        yield f"the source does not say: {', '.join(untold)}"


def _protocol(config: Any, published: str, measured: Measured) -> Iterator[str]:
    used = measured.protocol or config.scoring.protocol
    if used != published:
        yield f"scores are of the protocol {used}, published with {published}"


def _image_size(config: Any, published: int | Mapping[str, int], measured: Measured) -> Iterator[str]:
    del measured
    side, chosen = config.data.image_size, config.data.class_name
    if isinstance(published, int):
        expected, said = {published}, f"{published}"
    elif chosen:
        expected = {published.get(chosen, published["default"])}
        said = f"{next(iter(expected))}"
    else:
        expected, said = set(published.values()), " or ".join(map(str, sorted(set(published.values()))))
        said += " pixels, by class"
    if expected != {side}:
        yield f"images have {side} pixels a side, published with {said}"


def _classes(config: Any, published: str, measured: Measured) -> Iterator[str]:
    del measured
    together = not config.data.class_name
    if together != (published == "together"):
        one, many = "one model of one class", "one model of all classes"
        here, there = (many, one) if together else (one, many)
        yield f"this is {here}, published {there}"


def _held_out(config: Any, published: bool, measured: Measured) -> Iterator[str]:
    del measured
    share = config.calibration.fraction
    if bool(share) != published:
        here = f"{share:.0%} of the good images are held out of training" if share else "no image is held out"
        yield f"{here}, published with {'some held out' if published else 'all trained on'}"


def _runs(config: Any, published: int, measured: Measured) -> Iterator[str]:
    del config
    if measured.runs != published:
        yield f"of {measured.runs} run{'s' * (measured.runs > 1)}, published as the mean of {published}"


def _aupro(config: Any, published: str, measured: Measured) -> Iterator[str]:
    del config
    if published not in measured.aupro:
        here = " and ".join(measured.aupro)
        there = "does not say which it is" if published == "unknown" else f"has that by {published}"
        yield f"AUPRO here is {here}, and its source {there} (docs/metrics.md)"


_TOLD = {
    "protocol": "how scores are made",
    "image_size": "the images' size",
    "classes": "whether classes are together",
    "held_out": "whether images are held out",
    "state": "of which state the figures are",
    "training": "epochs, rates and the like",
}
_COMPARED = {
    "protocol": _protocol,
    "image_size": _image_size,
    "classes": _classes,
    "held_out": _held_out,
    "runs": _runs,
    "aupro": _aupro,
}


def _scored_state(settings: Mapping[str, Any], measured: Measured) -> Iterator[str]:
    published = settings.get("state", measured.state)
    if published != measured.state:
        there = _STATES[published]
        if published == _WINDOW:
            there += " {} to {}".format(*settings["window"])
        yield f"these figures are {_STATES[measured.state]}, the published ones {there}"


def of_class(figures: Figures, row: tuple[float | None, ...]) -> dict[str, float]:
    """The figures of a row that are those of its class, as `fractions`."""
    given = fractions(figures.columns, row)
    return {name: value for name, value in given.items() if name not in figures.misaligned}


def _base(config: Any) -> str:
    return config.backbone.name.partition(".")[0]


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part, None)
        if config is None:
            return None
    return config


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
