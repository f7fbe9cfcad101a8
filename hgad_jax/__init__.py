"""Anomaly detection with normalizing flows in JAX: one model for all products.

What is public is here, and imported when it is first used: `import hgad_jax` takes no time and touches no
device. docs/api.md shows each with an example.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # of what is below, for type checkers
    from hgad_jax.api import decide, evaluate, export, export_onnx, predict, train
    from hgad_jax.config import EXPERIMENTS, get_config
    from hgad_jax.errors import Interrupted, UserError
    from hgad_jax.inference.load import load
    from hgad_jax.inference.prediction_files import Outputs
    from hgad_jax.inference.predictor import Prediction, Predictor

__version__ = "0.1.0.dev0"

# Name -> the module that holds it.
_PUBLIC = {
    "train": "hgad_jax.api",
    "evaluate": "hgad_jax.api",
    "decide": "hgad_jax.api",
    "predict": "hgad_jax.api",
    "export": "hgad_jax.api",
    "export_onnx": "hgad_jax.api",
    "load": "hgad_jax.inference.load",
    "Predictor": "hgad_jax.inference.predictor",
    "Prediction": "hgad_jax.inference.predictor",
    "Outputs": "hgad_jax.inference.prediction_files",
    "get_config": "hgad_jax.config",
    "EXPERIMENTS": "hgad_jax.config",
    "UserError": "hgad_jax.errors",
    "Interrupted": "hgad_jax.errors",
}

__all__ = [
    "EXPERIMENTS",
    "Interrupted",
    "Outputs",
    "Prediction",
    "Predictor",
    "UserError",
    "__version__",
    "decide",
    "evaluate",
    "export",
    "export_onnx",
    "get_config",
    "load",
    "predict",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hgad_jax' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
