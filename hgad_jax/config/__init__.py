"""Configs: one table of keys, presets of the detectors, experiments by name, checks of values."""

from hgad_jax.config.completed import completed
from hgad_jax.config.experiments import EXPERIMENTS, RECIPES, add_keys, get_config
from hgad_jax.config.validate import validate

__all__ = ["EXPERIMENTS", "RECIPES", "add_keys", "completed", "get_config", "validate"]
