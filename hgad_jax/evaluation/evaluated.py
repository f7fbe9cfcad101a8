"""What an evaluation found, together."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from hgad_jax.data.transforms import ImageLike
from hgad_jax.evaluation.decided import Decided
from hgad_jax.evaluation.measure import Measured
from hgad_jax.evaluation.scored import Scored
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.scoring.threshold import Threshold


class Evaluated(NamedTuple):
    """All that a report is made of."""

    config: Any
    test: EvalSet
    scored: Scored
    measured: Measured
    decided: Decided
    scales: tuple[Threshold, ...]  # of pixels, per class: what colours of heat maps are anchored to
    results: dict[str, Any]  # what results.json holds
    good_images: Mapping[str, ImageLike] = MappingProxyType({})  # of the training split now, by their names
