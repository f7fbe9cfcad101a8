"""The hierarchical mixture over classes and centres as a `Base` (HGAD); its mathematics is in `mixture`."""

import functools

import jax
import jax.numpy as jnp
from jax.nn import log_softmax
from jaxtyping import Float, Int

from hgad_jax.distributions import mixture
from hgad_jax.distributions.part import Base, Classes
from hgad_jax.types import Array


def hierarchical(
    *, num_classes: int, num_centres: int, centre_distance: float, delta_scale: float, label_smoothing: float
) -> Base:
    """A Gaussian mixture over classes, within each class one over centres.

    Args:
      num_classes: K, at most the channels of every level.
      num_centres: Gaussian centres a class.
      centre_distance: between the initial centres of two classes.
      delta_scale: deviation of a class's further centres around its main one, at the start.
      label_smoothing: of the mutual information.
    """

    def init(key, size, centres):
        del size
        return mixture.init_params(key, centres, num_centres=num_centres, delta_scale=delta_scale)

    def loss(params, z, log_det, class_ids, weights):
        terms = mixture.loss_terms(params, z, log_det, class_ids, smoothing=label_smoothing)
        signed = terms._replace(mutual_information=-terms.mutual_information)
        used = ((weights[name], value) for name, value in signed._asdict().items() if name in weights)
        return sum(weight * value for weight, value in used), terms._asdict()

    return Base(
        init,
        log_prob=own_log_prob,
        loss=loss,
        terms=mixture.LossTerms._fields,
        stage_two=("intra", "log_sigmoid"),
        drawn=True,
        classes=Classes(
            num_classes,
            centres=functools.partial(mixture.block_identity_centres, num_classes, distance=centre_distance),
            log_prob=class_log_prob,
            log_prior=lambda params: log_softmax(params.class_logits),
            negative_entropy=mixture.negative_entropy,
        ),
    )


def class_log_prob(
    params: mixture.MixtureParams, z: Float[Array, "*B C"], log_det: Float[Array, "*B"]
) -> Float[jax.Array, "*B K"]:
    """log p(features | class) for every class, in nats: z `[..., C]`, log-dets `[...]` → `[..., K]`."""
    log_prob = mixture.class_log_prob(params, z)
    return log_prob + jnp.broadcast_to(log_det[..., None], log_prob.shape)


def own_log_prob(
    params: mixture.MixtureParams,
    z: Float[Array, "B *hw C"],
    log_det: Float[Array, " B *hw"],
    class_ids: Int[Array, " B"],
) -> Float[jax.Array, " B *hw"]:
    """The same for the class of each image (or vector) `[B]` alone: `[B, ...]`."""
    log_prob = class_log_prob(params, z, log_det)
    own = class_ids.reshape(-1, *(1,) * (log_prob.ndim - 1))
    return jnp.take_along_axis(log_prob, own, -1)[..., 0]
