"""Detectors by their name in a config."""

from hgad_jax.detectors.cflow import cflow
from hgad_jax.detectors.detector import Detector, Evidence
from hgad_jax.detectors.fastflow import fastflow
from hgad_jax.detectors.hgad import hgad
from hgad_jax.detectors.padim import padim
from hgad_jax.detectors.spade import spade

__all__ = ["DETECTORS", "FITTED", "MIXING", "Detector", "Evidence", "create"]

DETECTORS = {"hgad": hgad, "cflow": cflow, "fastflow": fastflow, "padim": padim, "spade": spade}

FITTED = ("padim", "spade")  # without training steps
MIXING = ("hgad",)  # with a likelihood under the mixture of all classes


def create(config, num_classes: int) -> Detector:
    """The detector of `config.detector`, whose keys are the hyper-parameters of its constructor."""
    settings = dict(config)
    return DETECTORS[settings.pop("name")](num_classes=num_classes, **settings)
