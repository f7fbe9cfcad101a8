"""Parameters and constants as checkpoints of format 1 have them: HGAD's parts had names of their own."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from hgad_jax.detectors.compose import LevelConstants, LevelParams

_MARK = ".mixture."  # in the names of these arrays alone


class _Params(NamedTuple):
    flow: Any
    mixture: Any


class _Constants(NamedTuple):
    first: Any
    rotations: Any


def has_former_names(arrays: Mapping[str, str]) -> bool:
    """Whether a checkpoint's parameters, by their places, are named as they were."""
    return any(_MARK in place for place in arrays)


def to_former(tree: Any) -> Any:
    """A pytree in which levels are named as they were."""

    def rename(node):
        if isinstance(node, LevelParams):
            return _Params(*node)
        return _Constants(node.first, node.mixing) if isinstance(node, LevelConstants) else node

    return jax.tree.map(rename, tree, is_leaf=lambda node: isinstance(node, LevelParams | LevelConstants))


def from_former(tree: Any) -> Any:
    """Inverse of `to_former`."""

    def rename(node):
        if isinstance(node, _Params):
            return LevelParams(*node)
        return LevelConstants(node.first, None, node.rotations) if isinstance(node, _Constants) else node

    return jax.tree.map(rename, tree, is_leaf=lambda node: isinstance(node, _Params | _Constants))
