"""Detectors by their name in a config."""

from hgad_jax.detectors.detector import Detector, Evidence
from hgad_jax.detectors.hgad import hgad

__all__ = ["DETECTORS", "Detector", "Evidence", "create"]

DETECTORS = {"hgad": hgad}


def create(config, num_classes: int) -> Detector:
    """The detector of `config.detector`, whose keys are the hyper-parameters of its constructor."""
    settings = dict(config)
    return DETECTORS[settings.pop("name")](num_classes=num_classes, **settings)
