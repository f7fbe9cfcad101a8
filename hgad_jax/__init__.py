"""Anomaly detection with normalizing flows in JAX: one model for all products.

What is public is here, and imported when it is first used: `import hgad_jax` takes no time and touches no
device. docs/api.md shows each with an example.
"""

import importlib
from typing import Any

__version__ = "0.1.0.dev0"

# Name -> the module that holds it.
_PUBLIC = {
    "train": "hgad_jax.api",
    "evaluate": "hgad_jax.api",
    "predict": "hgad_jax.api",
    "Predictor": "hgad_jax.inference.predictor",
    "Prediction": "hgad_jax.inference.predictor",
    "Outputs": "hgad_jax.inference.prediction_files",
    "get_config": "hgad_jax.config",
    "EXPERIMENTS": "hgad_jax.config",
    "UserError": "hgad_jax.errors",
    "Interrupted": "hgad_jax.errors",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hgad_jax' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
