"""Anomaly detection with normalizing flows in JAX: one model for all products."""

__version__ = "0.1.0.dev0"
