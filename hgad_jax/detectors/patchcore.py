"""PatchCore (Roth et al. 2022): the nearest of thousands of vectors of good images, and nothing trained."""

import jax
import jax.numpy as jnp

from hgad_jax.detectors.class_search import BY_MEANS
from hgad_jax.detectors.compose import compose
from hgad_jax.detectors.detector import Detector
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.detectors.fitted import as_fitted
from hgad_jax.detectors.objective import per_vector
from hgad_jax.distributions import centres
from hgad_jax.flows import identity
from hgad_jax.scoring.published import DENSITY_DISTANCE

_PLAIN = {"conditioning": "none", "per_class": False, "regions": 0, "shrinkage": 0.0}


def patchcore(
    *,
    num_classes: int,
    join: bool,
    bank_size: int,
    bank_candidates: int,
    bank_projection: int,
    bank_kernel: str,
) -> Detector:
    """The PatchCore detector: a bank of centres of plain features, with no flow.

    Args:
      num_classes: K.
      join: levels side by side at the size of the first, as published; else each level is a piece of evidence
        with a bank of its own.
      bank_size: see `distributions.centres`, as the others.
      bank_candidates: likewise.
      bank_projection: likewise.
      bank_kernel: likewise.
    """
    base = centres(
        num_classes=num_classes,
        bank_size=bank_size,
        bank_candidates=bank_candidates,
        bank_projection=bank_projection,
        bank_kernel=bank_kernel,
    )
    first = FirstLayer(num_classes, **_PLAIN)
    bank = compose(first, identity(), base, per_vector(), BY_MEANS, published=DENSITY_DISTANCE)
    return as_fitted(joined(bank) if join else bank)


def joined(detector: Detector) -> Detector:
    """A detector of one level, given several: side by side at the size of the first, enlarged bilinearly."""

    def init(key, batches):
        together = jax.jit(side_by_side)

        def of_all():
            for parts in zip(*(level() for level in batches), strict=True):
                yield together(tuple(features for features, _ in parts)), parts[0][1]

        return detector.init(key, [of_all])

    def abstract(sizes):
        h, w, _ = sizes[0]
        return detector.abstract(((h, w, sum(channels for *_, channels in sizes)),))

    def evidence(params, constants, features, class_ids=None, *, mix_classes=False):
        levels = (side_by_side(features),)
        return detector.evidence(params, constants, levels, class_ids, mix_classes=mix_classes)

    return detector._replace(init=init, abstract=abstract, evidence=evidence)


def side_by_side(features: tuple[jax.Array, ...]) -> jax.Array:
    """Levels `[B, h, w, C]` → `[B, H, W, ΣC]`, H×W that of the first, by half-pixel centres as in PyTorch."""
    height, width = features[0].shape[1:3]

    def enlarged(x):
        return jax.image.resize(x, (len(x), height, width, x.shape[-1]), "bilinear", antialias=False)

    return jnp.concatenate([features[0], *map(enlarged, features[1:])], -1)
