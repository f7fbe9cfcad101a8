"""CFLOW-AD (Gudovskiy et al., WACV 2022): a conditional flow per level under a standard normal.

Without a condition it is the paper's ablation U-FLOW; with one step per batch over whole levels (`fibre=0`)
it is HGAD's flow under a normal distribution instead of the mixture.
"""

from hgad_jax.detectors.class_search import BY_MEANS
from hgad_jax.detectors.compose import compose
from hgad_jax.detectors.detector import Detector
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.detectors.objective import per_vector
from hgad_jax.distributions import Base
from hgad_jax.flows import Flow
from hgad_jax.scoring.published import BELOW_HIGHEST


def cflow(first: FirstLayer, flow: Flow, base: Base, *, fibre: int, zero_grad: str) -> Detector:
    """The CFLOW-AD detector: by default dense couplings under the standard normal distribution.

    Args:
      first: keys of the first layer.
      flow: of every level.
      base: of every level's latents.
      fibre: vectors of one optimiser step, out of the shuffled batch; 0: one step per batch.
      zero_grad: what such a step does to the other levels (see `Fibres`).
    """
    return compose(
        first,
        flow,
        base,
        per_vector(),
        BY_MEANS,
        published=BELOW_HIGHEST,
        fibre=fibre,
        zero_grad=zero_grad,
    )
