"""Configs of runs that an older version made: keys that are new since then get what was done before."""

import copy
from typing import Any

from hgad_jax.config.experiments import RECIPES
from hgad_jax.config.recipe import keys


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """A stored config with every key of today's, each that it lacks with what the run then did.

    A config of an unknown detector is left as it is: `validate` has the words for it.
    """
    config = copy.deepcopy(config)
    detector = config.get("detector")
    recipe = RECIPES.get(detector.get("name", "")) if isinstance(detector, dict) else None
    if recipe is None:
        return config
    for section in keys(recipe):
        if section in recipe.sections.keys() - {"detector", "loss"} | {"bank"}:  # the others all runs have
            config.setdefault(section, {})
    for section, of_section in keys(recipe).items():
        for name, key in of_section.items():
            before = key.default if key.before is None else key.before
            value = list(before) if isinstance(before, tuple) else before  # as JSON has it
            if isinstance(config.get(section), dict):
                config[section].setdefault(name, value)
    return config
