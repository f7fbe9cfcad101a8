"""How a composed detector finds the class of an image that nobody names: three ways, as values."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from hgad_jax.detectors import class_finder, first_layer
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.flows.conditioning import group_log_prob, most_likely
from hgad_jax.types import Array, total

Inputs = tuple[tuple[Array, jax.Array], ...]  # of the flows, per level, with log-dets: see `apply_affine`


class Found(NamedTuple):
    """What is known of a batch before the flows."""

    inputs: Inputs
    class_log_prob: jax.Array | None  # [B, K]; None: the base distributions will tell
    class_ids: Array | None  # [B], given or most probable; None likewise


class Find(Protocol):
    """The search itself."""

    def __call__(
        self,
        first: FirstLayer,
        constants: Sequence[Any],
        features: Sequence[jax.Array],
        class_ids: jax.Array | None,
        /,
    ) -> Found:
        """(first layer's keys, constants of the levels, features, class ids or None) → `Found`."""
        ...


class ClassSearch(NamedTuple):
    """A way to find the class.

    Attributes:
      find: the class, and the features through its first layers.
      fit: (batches of a level, number of classes) → statistics to find it by; None if it needs none.
      abstract: (number of classes, channels) → their shapes.
    """

    find: Find
    fit: Callable[..., Any] | None = None
    abstract: Callable[[int, int], Any] | None = None


def _by_means(first, constants, features, class_ids):
    statistics = tuple(c.classes for c in constants)
    class_log_prob, class_ids = class_finder.find(statistics, features, class_ids)
    return Found(_prepared(first, constants, features, class_ids), class_log_prob, class_ids)


def _by_first_layer(first, constants, features, class_ids):
    layers = [c.first for c in constants]
    if class_ids is None:  # so that the flow runs once
        inputs, class_log_prob = most_likely(layers, features)
        return Found(inputs, class_log_prob, jnp.argmax(class_log_prob, -1))
    class_log_prob = total(map(group_log_prob, layers, features))
    return Found(_prepared(first, constants, features, class_ids), class_log_prob, class_ids)


def _by_base(first, constants, features, class_ids):
    no_group = jnp.zeros(len(features[0]), jnp.int32)
    return Found(_prepared(first, constants, features, no_group), None, class_ids)


def _prepared(first, constants, features, class_ids) -> Inputs:
    return first_layer.apply_levels(first, [c.first for c in constants], features, class_ids)


# By the means of its features (`class_finder`).
BY_MEANS = ClassSearch(_by_means, class_finder.fit, class_finder.abstract)
# By the likelihood of its features under the first layers of each class, where there is one for each.
BY_FIRST_LAYER = ClassSearch(_by_first_layer)
# By a base distribution that knows classes, where the first layer is the same for all.
BY_BASE = ClassSearch(_by_base)
