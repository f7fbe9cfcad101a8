"""Normalizing flows over feature maps: forward and inverse, each with its log-determinant."""

from collections.abc import Callable

from hgad_jax.flows.convolution import convolution
from hgad_jax.flows.dense import dense
from hgad_jax.flows.grid import Grid
from hgad_jax.flows.identity import identity
from hgad_jax.flows.part import Flow

__all__ = ["FLOWS", "Flow", "Grid", "convolution", "dense", "identity"]

# By their name in a config, `detector.flow`; the arguments are keys of the same section.
FLOWS: dict[str, Callable[..., Flow]] = {"dense": dense, "convolution": convolution, "none": identity}
