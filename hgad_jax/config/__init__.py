"""Configs: one table of keys, presets of the detectors, experiments by name, checks of values."""

from hgad_jax.config.completed import completed
from hgad_jax.config.experiments import EXPERIMENTS, RECIPES, get_config
from hgad_jax.config.validate import validate

__all__ = ["EXPERIMENTS", "RECIPES", "completed", "get_config", "validate"]
