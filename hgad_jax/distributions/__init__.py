"""Base distributions: the log-probability of latents, and the loss terms that go with it."""

from collections.abc import Callable

from hgad_jax.distributions.centres import centres
from hgad_jax.distributions.hierarchical import hierarchical
from hgad_jax.distributions.normal import standard, trainable
from hgad_jax.distributions.part import Base, Classes

__all__ = ["BASES", "Base", "Classes", "centres", "hierarchical", "standard", "trainable"]

# By their name in a config, `detector.base`; the arguments are keys of the same section (and `num_classes`).
BASES: dict[str, Callable[..., Base]] = {
    "standard": standard,
    "trainable": trainable,
    "hierarchical": hierarchical,
    "centres": centres,
}
