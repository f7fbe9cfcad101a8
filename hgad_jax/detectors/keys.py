"""The section `config.detector`: which keys its parts take, what they may be, and what is made of them.

The keys `name`, `flow` and `base` choose rows of the tables `DETECTORS`, `FLOWS` and `BASES`; all others are
arguments of the functions in these rows (and of the first layer), by their names. A config holds the keys of
parts that it does not choose too, so that choosing others is one key; they are not looked at.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from hgad_jax.detectors.detector import Detector
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.distributions import BASES
from hgad_jax.errors import UserError
from hgad_jax.flows import FLOWS

Section = Mapping[str, Any]  # config.detector

CHOICES = {
    "detector.conditioning": ("none", "standardize", "whiten"),
    "detector.zero_grad": ("none", "zeros"),
    "detector.norm": ("none", "fixed", "trainable"),
    "altub.clip_by": ("norm", "value"),
}
AT_LEAST = {
    "detector.num_blocks": 1,
    "detector.condition_channels": 0,
    "detector.hidden_ratio": 1e-3,
    "detector.num_centres": 1,
    "detector.shrinkage": 0,
    "detector.regions": 0,
    "detector.fibre": 0,
    "detector.dimensions": 1,
    "detector.regularization": 1e-9,
    "detector.gallery": 1,
    "detector.neighbours": 1,
    "detector.pixel_neighbours": 1,
    "altub.freeze_interval": 1,
    "altub.first_epoch": 0,
    "altub.start_epoch": 0,
    "altub.rate_ratio": 0,
    "altub.clip": 0,
}
AT_MOST = {"detector.label_smoothing": 1}


class Row(NamedTuple):
    """A detector by its name in a config.

    Attributes:
      build: makes it of `first`, `flow`, `base` and own keys; without a flow, of `num_classes` and own keys.
      flow: the flow where the config chooses none, as those of before there was a choice; None: it has none.
      base: likewise.
    """

    build: Callable[..., Detector]
    flow: str | None = None
    base: str | None = None


def completed(row: Row, section: Section) -> dict[str, Any]:
    """The section with flow and base, also if it is of before these could be chosen."""
    chosen = {} if row.flow is None else {"flow": row.flow, "base": row.base}
    return chosen | dict(section)


def _keys(function: Callable) -> dict[str, bool]:
    """Keys that a function takes, and whether it needs them."""
    given = ("num_classes", "first", "flow", "base")
    parameters = inspect.signature(function).parameters
    return {name: p.default is p.empty for name, p in parameters.items() if name not in given}


def _functions(row: Row, section: Section) -> list[Callable]:
    """All that is called with keys of a completed section."""
    if row.flow is None:
        return [row.build]
    return [row.build, FirstLayer, FLOWS[section["flow"]], BASES[section["base"]]]


def _used(row: Row, section: Section) -> dict[str, bool]:
    return {name: needed for function in _functions(row, section) for name, needed in _keys(function).items()}


def used(row: Row, section: Section) -> dict[str, Any]:
    """Of the completed section, what the detector is made of: two that agree in it make the same detector."""
    section = completed(row, section)
    names = {"name", *_used(row, section)} | ({"flow", "base"} if row.flow else set())
    return {name: value for name, value in section.items() if name in names}


def foreign(row: Row, section: Section) -> set[str]:
    """Keys that neither the detector nor any part could take; if there are none, those that it lacks."""
    section = completed(row, section)
    functions = [row.build]
    if row.flow is not None:
        functions += [FirstLayer, *FLOWS.values(), *BASES.values()]
    known = {"name"} | {name for function in functions for name in _keys(function)}
    known |= {"flow", "base"} if row.flow else set()
    needed = {name for name, needed in _used(row, section).items() if needed}
    return (set(section) - known) or (needed - set(section))


def build(row: Row, section: Section, num_classes: int) -> Detector:
    """The detector of a section.

    Raises:
      UserError: a part's key is missing.
    """
    section = completed(row, section)
    missing = [name for name, needed in _used(row, section).items() if needed and name not in section]
    if missing:
        raise UserError(
            f"config.detector lacks {', '.join(missing)}, which the detector {section['name']!r} needs"
            + (f" with flow={section['flow']!r} and base={section['base']!r}." if row.flow else ".")
        )
    values = dict(section) | {"num_classes": num_classes}

    def call(function, **parts):
        names = set(inspect.signature(function).parameters) - {"flow", "base"}
        return function(**parts, **{name: value for name, value in values.items() if name in names})

    if row.flow is None:
        return call(row.build)
    first, flow, base = map(call, (FirstLayer, FLOWS[section["flow"]], BASES[section["base"]]))
    return call(row.build, first=first, flow=flow, base=base)


def problems(section: Section, num_devices: int) -> Iterator[str]:
    """What is wrong with keys that have to fit each other or the devices, one sentence each."""
    channels = section.get("condition_channels", 0)
    if channels % 4:
        yield f"detector.condition_channels is {channels}, expected a multiple of 4"
    if section.get("fibre", 0) % num_devices:
        yield (
            f"detector.fibre is {section['fibre']}, expected a multiple of the {num_devices} devices that it "
            "is split over"
        )
    kernels = section.get("kernel_sizes", (1,))
    if not kernels or any(k < 1 or k % 2 == 0 for k in kernels):
        yield f"detector.kernel_sizes is {tuple(kernels)}, expected odd numbers"
    elif section.get("num_blocks", 0) % len(kernels):
        yield (
            f"detector.num_blocks is {section['num_blocks']}, expected a multiple of the {len(kernels)} "
            "sizes of detector.kernel_sizes"
        )
