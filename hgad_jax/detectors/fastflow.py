"""FastFlow (Yu et al., 2021), as its known implementations have it: convolutional flows over whole maps."""

from hgad_jax.detectors.class_search import BY_MEANS
from hgad_jax.detectors.compose import compose
from hgad_jax.detectors.detector import Detector
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.detectors.objective import whole_maps
from hgad_jax.distributions import Base
from hgad_jax.flows import Flow
from hgad_jax.scoring.published import MEAN_DENSITY


def fastflow(first: FirstLayer, flow: Flow, base: Base, *, score_log_det: bool) -> Detector:
    """The FastFlow detector: by default convolutional couplings under the standard normal distribution.

    Args:
      first: keys of the first layer.
      flow: of every level.
      base: of every level's latents.
      score_log_det: whether a position's score has its share of the log-determinant.
    """
    objective = whole_maps(score_log_det=score_log_det)
    return compose(first, flow, base, objective, BY_MEANS, published=MEAN_DENSITY)
