"""The section `config.detector`: which keys its parts take, and what is made of them.

The keys `name`, `flow` and `base` choose rows of the tables `DETECTORS`, `FLOWS` and `BASES`; all others are
arguments of the functions in these rows (and of the first layer), by their names. A config holds the keys of
parts that it does not choose too, so that choosing others is one key; they are not looked at.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hgad_jax.detectors.detector import Detector
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.distributions import BASES
from hgad_jax.errors import UserError
from hgad_jax.flows import FLOWS
from hgad_jax.types import Config

Section = Config  # config.detector


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
    """Of the completed section, what the detector is made of."""
    section = completed(row, section)
    names = {"name", *_used(row, section)} | ({"flow", "base"} if row.flow else set())
    return {name: value for name, value in section.items() if name in names}


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
    if section.get("fibre", 0) % num_devices:
        yield (
            f"detector.fibre is {section['fibre']}, expected a multiple of the {num_devices} devices that it "
            "is split over"
        )
    kernels = section.get("kernel_sizes", (1,))
    if section.get("num_blocks", 0) % len(kernels):
        yield (
            f"detector.num_blocks is {section['num_blocks']}, expected a multiple of the {len(kernels)} "
            "sizes of detector.kernel_sizes"
        )
