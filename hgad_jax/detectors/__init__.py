"""Detectors by their name in a config."""

from typing import Any

from hgad_jax.detectors import keys
from hgad_jax.detectors.beside import beside
from hgad_jax.detectors.cflow import cflow
from hgad_jax.detectors.compose import compose
from hgad_jax.detectors.detector import Detector, Evidence
from hgad_jax.detectors.fastflow import fastflow
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.detectors.hgad import hgad
from hgad_jax.detectors.keys import Row, Section
from hgad_jax.detectors.padim import padim
from hgad_jax.detectors.patchcore import patchcore
from hgad_jax.detectors.spade import spade
from hgad_jax.distributions import BASES
from hgad_jax.errors import UserError
from hgad_jax.flows import FLOWS

__all__ = [
    "DETECTORS",
    "Detector",
    "Evidence",
    "FirstLayer",
    "Row",
    "cflow",
    "compose",
    "create",
    "fastflow",
    "hgad",
    "in_fibres",
    "method",
    "padim",
    "patchcore",
    "problems",
    "spade",
    "unknown",
    "used_keys",
    "with_bank",
]

DETECTORS = {
    "hgad": Row(hgad, flow="dense", base="hierarchical"),
    "cflow": Row(cflow, flow="dense", base="standard"),
    "fastflow": Row(fastflow, flow="convolution", base="standard"),
    "padim": Row(padim),
    "spade": Row(spade),
    "patchcore": Row(patchcore),
}
_ALTUB = {"trainable": "+altub"}


def unknown(section: Section) -> list[str]:
    """Names of a detector, a flow or a base distribution that no table has; one sentence each."""
    tables = {"name": DETECTORS, "flow": FLOWS, "base": BASES}
    return [
        f"detector.{key} is {section[key]!r}, expected one of {', '.join(map(repr, table))}"
        for key, table in tables.items()
        if key in section and section[key] not in table
    ]


def create(section: Section, num_classes: int) -> Detector:
    """The detector of `config.detector`, whose keys are the hyper-parameters of its parts.

    Raises:
      UserError: a name that no table has, or a key is missing.
    """
    wrong = unknown(section)
    if wrong:
        raise UserError("\n".join(f"config.{problem}" for problem in wrong))
    return keys.build(DETECTORS[section["name"]], section, num_classes)


def with_bank(detector: Detector, bank: Any, num_classes: int, num_levels: int) -> Detector:
    """The detector with a bank of centres beside it, on the last `num_levels` levels (`config.bank`)."""
    fitted = patchcore(
        num_classes=num_classes,
        join=False,
        bank_size=bank.size,
        bank_candidates=bank.candidates,
        bank_projection=bank.projection,
        bank_kernel=bank.kernel,
    )
    return beside(detector, fitted, num_levels)


def used_keys(section: Section) -> dict:
    """The keys of `config.detector` that its detector is made of, those not given by their defaults."""
    return keys.used(DETECTORS[section["name"]], section)


def in_fibres(section: Section) -> bool:
    """Whether a batch is consumed in fibres: steps too short to be shared by several cores."""
    return bool(section.get("fibre", 0))


def method(section: Section) -> str:
    """What a paper calls the detector; a name that no table has where no paper has these parts together."""
    row, section = DETECTORS[section["name"]], used_keys(section)
    name, flow, base = section["name"], section.get("flow"), section.get("base")
    if name == "cflow" and flow == "dense" and not section["condition_channels"]:
        name = "uflow"
    if flow != row.flow:
        name += f"+{flow}"
    return name if base is None or base == row.base else name + _ALTUB.get(base, f"+{base}")


def problems(section: Section, num_devices: int) -> list[str]:
    """What is wrong with `config.detector`, but for the bounds of single keys; one sentence each."""
    return unknown(section) or list(keys.problems(used_keys(section), num_devices))
