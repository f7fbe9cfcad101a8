"""Which class an image shows, for detectors that do not find out by themselves.

Scores are calibrated per class, and CFLOW-AD, FastFlow, PaDiM and SPADE were made for one product: trained
on several at once, they need to be told which one an image shows. Where nobody tells them, the means of an
image's features over all positions decide: they are compared with each class's mean, in units of the
deviation within classes (a naive Bayes classifier with one Gaussian per class and channel).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hgad_jax.errors import UserError
from hgad_jax.types import Array, abstract_array, total


class ClassStatistics(NamedTuple):
    """Of one level's features, averaged over positions."""

    mean: jax.Array  # [K, C]
    deviation: jax.Array  # [C], within classes


def fit(batches, num_classes: int) -> ClassStatistics:
    """Fits the statistics of one level in one streaming pass; `batches` as in `fit_affine`."""
    count = np.zeros(num_classes)
    summed, square = 0.0, 0.0
    for features, labels in batches():
        pooled = features.mean((1, 2), dtype=np.float64)
        members = np.eye(num_classes)[labels]
        count += members.sum(0)
        summed = summed + members.T @ pooled
        square = square + np.sum(pooled**2, 0)
    if not count.all():
        raise ValueError(f"no training images of class(es) {np.flatnonzero(count == 0).tolist()}")
    mean = summed / count[:, None]
    variance = (square - np.sum(count[:, None] * mean**2, 0)) / count.sum()
    # The floor, a thousandth of a typical channel's, keeps channels that hardly vary from deciding alone.
    deviation = np.sqrt(np.maximum(variance, 0) + 1e-3 * max(variance.mean(), np.finfo(np.float32).tiny))
    return ClassStatistics(jnp.asarray(mean, jnp.float32), jnp.asarray(deviation, jnp.float32))


def abstract(num_classes: int, channels: int) -> ClassStatistics:
    """Shapes and dtypes of what `fit` gives."""
    return ClassStatistics(abstract_array(num_classes, channels), abstract_array(channels))


def log_prob(
    levels: tuple[ClassStatistics, ...], features: Sequence[Float[Array, "B _ _ _"]]
) -> Float[jax.Array, "B K"]:
    """log p(image's mean features | class), in nats, but for a constant: features per level → `[B, K]`."""

    def of_level(statistics, x):
        pooled = x.mean((1, 2)) / jnp.broadcast_to(statistics.deviation, (len(x), x.shape[-1]))
        centres = statistics.mean / jnp.broadcast_to(statistics.deviation, statistics.mean.shape)
        difference = pooled[:, None, :] - jnp.broadcast_to(centres, (len(x), *centres.shape))
        return -0.5 * jnp.sum(difference**2, -1)

    return total(of_level(s, x) for s, x in zip(levels, features, strict=True))


def find(
    levels: tuple[ClassStatistics, ...],
    features: Sequence[Float[Array, "B _ _ _"]],
    class_ids: Int[Array, " B"] | None,
) -> tuple[Float[jax.Array, "B K"], Int[Array, " B"]]:
    """Log-probabilities `[B, K]`, and int32 class ids `[B]`: those given, or the most probable ones."""
    class_log_prob = log_prob(levels, features)
    class_ids = jnp.argmax(class_log_prob, -1) if class_ids is None else class_ids
    return class_log_prob, class_ids.astype(jnp.int32)


def refuse_mixture(mix_classes: bool) -> None:
    """Ends with an error where the likelihood under a mixture of classes is asked for.

    Raises:
      UserError: it is.
    """
    if mix_classes:
        raise UserError(
            "config.scoring.classes is 'mixture', which needs a model of the mixture: detector hgad. With "
            "this detector choose 'inferred' or 'given'."
        )
