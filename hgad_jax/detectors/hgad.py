"""HGAD (Yao et al., ECCV 2024): one model for all classes, each with its place in the latent space."""

from hgad_jax.detectors.class_search import BY_BASE, BY_FIRST_LAYER, BY_MEANS
from hgad_jax.detectors.compose import compose
from hgad_jax.detectors.detector import Detector
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.detectors.objective import per_vector
from hgad_jax.distributions import Base
from hgad_jax.flows import Flow
from hgad_jax.scoring.published import LIKELIHOOD_AND_ENTROPY


def hgad(first: FirstLayer, flow: Flow, base: Base, *, zero_grad: str = "none") -> Detector:
    """The HGAD detector: by default dense couplings told the position under the hierarchical mixture.

    The class of an image is found by the first layer, if each class has its own, else by the mixture. A step
    takes a sample of positions where the flow can.

    Args:
      first: keys of the first layer.
      flow: of every level.
      base: of every level's latents.
      zero_grad: whether levels are trained together, or one after the other (see `Optimised`).
    """
    of_pooled = BY_BASE if base.classes else BY_MEANS
    classes = BY_FIRST_LAYER if first.grouped else of_pooled
    return compose(
        first,
        flow,
        base,
        per_vector(),
        classes,
        published=LIKELIHOOD_AND_ENTROPY,
        ready=True,
        zero_grad=zero_grad,
    )
