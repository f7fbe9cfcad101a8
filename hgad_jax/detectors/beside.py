"""A detector that is fitted beside one that is trained: both give evidence, each on levels of its own."""

import functools
from typing import Any, NamedTuple

from hgad_jax.detectors.detector import Detector, Evidence


class Pair(NamedTuple):
    """Constants of both."""

    trained: Any
    fitted: tuple[Any, Any]  # parameters and constants of the other, which no step changes


def beside(trained: Detector, fitted: Detector, num_levels: int) -> Detector:
    """One detector of the levels of both: those of `fitted` are the last `num_levels`, at least one.

    Functions that take no part in `init` and `evidence` are those of `trained`, given its levels alone.

    The class of an image is what `trained` finds; `fitted` is told.
    """

    def init(key, batches):
        params, constants = trained.init(key, batches[:-num_levels])
        return params, Pair(constants, fitted.init(key, batches[-num_levels:]))

    def abstract(sizes):
        params, constants = trained.abstract(sizes[:-num_levels])
        return params, Pair(constants, fitted.abstract(sizes[-num_levels:]))

    def evidence(params, constants, features, class_ids=None, *, mix_classes=False):
        own, others = tuple(features[:-num_levels]), tuple(features[-num_levels:])
        first = trained.evidence(params, constants.trained, own, class_ids, mix_classes=mix_classes)
        fitted_params, fitted_constants = constants.fitted
        second = fitted.evidence(fitted_params, fitted_constants, others, first.class_ids)
        return Evidence(
            first.log_likelihood + second.log_likelihood,
            first.negative_entropy + second.negative_entropy,
            first.class_log_prob,
            first.class_ids,
        )

    def of_trained(function):
        """For a function of (parameters, constants, ...)."""
        return function and functools.partial(_told, function)

    return trained._replace(
        init=init,
        abstract=abstract,
        evidence=evidence,
        prepare=lambda constants, *rest: trained.prepare(constants.trained, *rest),
        loss=of_trained(trained.loss),
        level_loss=of_trained(trained.level_loss),
        log_likelihood=of_trained(trained.log_likelihood),
        latents=of_trained(trained.latents),
        fibres=trained.fibres and trained.fibres._replace(constants=lambda pair: pair.trained),
    )


def _told(function, params, constants: Pair, *arguments):
    return function(params, constants.trained, *arguments)
