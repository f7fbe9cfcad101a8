"""PaDiM (Defard et al., 2020): a Gaussian of the features at each position, fitted in one streaming pass."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular

from hgad_jax.detectors import class_finder, fitted
from hgad_jax.detectors.class_finder import ClassStatistics
from hgad_jax.detectors.detector import Detector, Evidence
from hgad_jax.errors import UserError
from hgad_jax.precision import EXACT
from hgad_jax.scoring.published import MAHALANOBIS
from hgad_jax.types import Array, abstract_array


class PaDiMConstants(NamedTuple):
    """All that is fitted; d chosen channels, maps of the size of the first level."""

    channels: jax.Array  # [d] int32, of the concatenation of all levels
    mean: jax.Array  # [K, H, W, d]
    whitener: jax.Array  # [K, H, W, d, d], inverse of the Cholesky factor of the covariance
    classes: tuple[ClassStatistics, ...]  # per level


def padim(*, num_classes: int, dimensions: int, regularization: float) -> Detector:
    """The PaDiM detector. Hyper-parameters are the keys of `config.detector` in `hgad_jax/config/padim.py`.

    Its map is −M²/(2d), M the Mahalanobis distance: the log-likelihood per dimension, but for what depends on
    the position alone.
    """

    def init(key, batches):
        widths = [next(iter(level()))[0].shape[-1] for level in batches]
        channels = np.sort(
            np.asarray(jax.random.permutation(key, sum(widths)))[: min(dimensions, sum(widths))]
        )
        mean, whitener = _fit(batches, channels, num_classes, regularization)
        classes = tuple(class_finder.fit(level, num_classes) for level in batches)
        constants = PaDiMConstants(jnp.asarray(channels, jnp.int32), mean, whitener, classes)
        return fitted.init_params(), constants

    def abstract(sizes):
        h, w, _ = sizes[0]
        d = min(dimensions, sum(size[-1] for size in sizes))
        constants = PaDiMConstants(
            abstract_array(d, dtype=np.int32),
            abstract_array(num_classes, h, w, d),
            abstract_array(num_classes, h, w, d, d),
            tuple(class_finder.abstract(num_classes, size[-1]) for size in sizes),
        )
        return jax.eval_shape(fitted.init_params), constants

    def evidence(params, constants, features, class_ids=None, *, mix_classes=False):
        del params
        class_finder.refuse_mixture(mix_classes)
        class_log_prob, class_ids = class_finder.find(constants.classes, features, class_ids)
        x = concatenated(features)[..., constants.channels]

        def of_image(arguments):  # one by one: a class's matrices are not copied for every image
            x, class_id = arguments
            centred = x - constants.mean[class_id]
            whitened = jnp.einsum("hwij,hwj->hwi", constants.whitener[class_id], centred, precision=EXACT)
            return jnp.sum(whitened**2, -1)

        maps = -0.5 * jax.lax.map(of_image, (x, class_ids)) / x.shape[-1]
        return Evidence((maps,), (jnp.zeros_like(maps),), class_log_prob, class_ids)

    return Detector(init, abstract, fitted.prepare, fitted.loss, evidence, MAHALANOBIS, fitted=True)


def concatenated(features: Sequence[Float[Array, "B _ _ _"]]) -> Float[jax.Array, "B H W D"]:
    """Levels side by side at the size of the first, enlarged without interpolation: `[B, H, W, ΣC]`."""
    h, w = features[0].shape[1:3]

    def enlarged(x):
        rows, columns = fitted.nearest_indices(x.shape[1], h), fitted.nearest_indices(x.shape[2], w)
        return x[:, rows][:, :, columns]

    return jnp.concatenate([enlarged(x) for x in features], axis=-1)


def _fit(batches, channels, num_classes, regularization) -> tuple[jax.Array, jax.Array]:
    """Means `[K, H, W, d]` and whiteners `[K, H, W, d, d]`, float32, from sums in float64."""
    select = jax.jit(lambda features: concatenated(features)[..., jnp.asarray(channels)])
    count, total, second = np.zeros(num_classes), np.zeros(0), []
    for parts in zip(*(level() for level in batches), strict=True):
        x, labels = np.asarray(select(tuple(f for f, _ in parts)), np.float64), parts[0][1]
        _, h, w, d = x.shape
        if not second:
            total = np.zeros((num_classes, h, w, d))
            # One array a row, so that each can go as soon as its covariances are there.
            second = [[np.zeros((w, d, d)) for _ in range(h)] for _ in range(num_classes)]
        for k in np.unique(labels):
            own = x[labels == k]
            count[k] += len(own)
            total[k] += own.sum(0)
            for y in range(h):
                columns = own[:, y].transpose(1, 0, 2)  # [w, n, d]
                second[k][y] += columns.transpose(0, 2, 1) @ columns
    if count.min() < 2:
        raise UserError(
            f"PaDiM needs two training images of each class for a covariance, found {int(count.min())}. "
            "Add images, or lower config.calibration.fraction and config.calibration.min_images."
        )
    mean = total / count[:, None, None, None]
    _, h, w, d = mean.shape
    whitener = np.empty((num_classes, h, w, d, d), np.float32)
    for k in range(num_classes):
        for y in range(h):
            outer = count[k] * mean[k, y, :, :, None] * mean[k, y, :, None, :]
            covariance = (second[k].pop(0) - outer) / (count[k] - 1) + regularization * np.eye(d)
            factors = np.linalg.cholesky(covariance)
            whitener[k, y] = [solve_triangular(factor, np.eye(d), lower=True) for factor in factors]
    return jnp.asarray(mean, jnp.float32), jnp.asarray(whitener)
