"""HGAD's base distribution: a Gaussian mixture over classes, and within each class one over centres.

All components have unit covariance. K classes, M centres a class, C channels, N = B·h·w vectors.

Distances never appear as such: −‖z − μ‖²/2 = −‖z‖²/2 + (z·μ − ‖μ‖²/2), and the term in ‖z‖² is common
to all components. Left out of every softmax and added once to every logsumexp, it cannot cancel the
difference between components in float32, however far out a defect's features are.

Equation numbers are those of the paper (Yao et al., Hierarchical Gaussian mixture normalizing flow
modeling for unified anomaly detection, ECCV 2024). Where the published code differs from the text, the
formulas here are the code's: it is what the published tables were made with.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.nn import log_sigmoid, log_softmax, logsumexp
from jaxtyping import Float, Int

from hgad_jax.distributions.part import LOG_2PI
from hgad_jax.types import Array


class MixtureParams(NamedTuple):
    """Parameters of one level."""

    centres: Array  # [K, C], main centre of each class
    deltas: jax.Array  # [K, M-1, C], further centres, relative to the main one
    class_logits: jax.Array  # [K]
    centre_logits: jax.Array  # [K, M]


def block_identity_centres(
    num_classes: int, channels: int, *, distance: float = 5.0
) -> Float[jax.Array, "{num_classes} {channels}"]:
    """The published initial centres: columns [K·k, K·(k+1)) hold s times the identity, for all k that fit.

    s = distance / sqrt(floor(2C/K)), so that all pairwise distances are about `distance`.

    Returns:
      `[K, C]`.
    """
    copies = channels // num_classes
    if copies == 0:
        raise ValueError(f"{num_classes} classes need at least as many channels, got {channels}.")
    scale = distance / math.sqrt(2 * channels // num_classes)
    blocks = scale * jnp.tile(jnp.eye(num_classes), (1, copies))
    return jnp.pad(blocks, ((0, 0), (0, channels - num_classes * copies)))


def init_params(
    key: jax.Array, centres: Float[Array, "K C"], *, num_centres: int, delta_scale: float
) -> MixtureParams:
    """Mixture around main centres `[K, C]`: deltas from N(0, delta_scale²), uniform weights."""
    num_classes, channels = centres.shape
    deltas = delta_scale * jax.random.normal(key, (num_classes, num_centres - 1, channels))
    return MixtureParams(centres, deltas, jnp.zeros(num_classes), jnp.zeros((num_classes, num_centres)))


def component_logits(z: Float[Array, "*B C"], centres: Float[Array, "K C"]) -> Float[Array, "*B K"]:
    """z·μ − ‖μ‖²/2 = −‖z − μ‖²/2 + ‖z‖²/2 for each centre: z `[..., C]`, centres `[K, C]` → `[..., K]`."""
    products = z @ centres.T
    return products - jnp.broadcast_to(0.5 * jnp.sum(centres**2, -1), products.shape)


def _half_norm(z):
    return 0.5 * jnp.sum(z**2, -1)


def _add_log_prior(logits, log_prior):
    return logits + jnp.broadcast_to(log_prior, logits.shape)


def class_centres(params: MixtureParams) -> Float[jax.Array, "K M C"]:
    """All centres of all classes `[K, M, C]`; the first of each class is its main centre."""
    main = params.centres[:, None, :]
    shifted = params.deltas + jnp.broadcast_to(main, params.deltas.shape)
    return jnp.concatenate([main, shifted], axis=1)


def class_log_prob(params: MixtureParams, z: Float[Array, "*B C"]) -> Float[jax.Array, "*B K"]:
    """log p(z | y) under the mixture of each class, in nats (constant −(C/2)·ln 2π included).

    Args:
      params: one level.
      z: latents `[..., C]`.

    Returns:
      `[..., K]`.
    """
    num_classes, num_centres = params.centre_logits.shape
    logits = component_logits(z, class_centres(params).reshape(num_classes * num_centres, -1))
    logits = logits.reshape(*z.shape[:-1], num_classes, num_centres)
    mixed = logsumexp(_add_log_prior(logits, log_softmax(params.centre_logits)), axis=-1)
    constant = _half_norm(z) + 0.5 * z.shape[-1] * LOG_2PI
    return mixed - jnp.broadcast_to(constant[..., None], mixed.shape)


def negative_entropy(params: MixtureParams, z: Float[Array, "*B C"]) -> Float[jax.Array, "*B"]:
    """−H(softmax_y(−‖z − μ_y‖²/2)) over classes, without their prior, in nats: `[..., C]` → `[...]`.

    The higher, the surer the class. Zero throughout when there is one class.
    """
    log_p = log_softmax(component_logits(z, params.centres))
    return jnp.sum(jnp.exp(log_p) * log_p, -1)


class LossTerms(NamedTuple):
    """Means over all vectors; what each one's gradient reaches is in the functions below."""

    likelihood: jax.Array  # L_g, nats per dimension, without the constant ln(2π)/2
    mutual_information: jax.Array  # the quantity to maximise, in nats
    entropy: jax.Array  # L_e, in nats
    intra: jax.Array  # L_in, nats per dimension, without the constant
    log_sigmoid: jax.Array  # L_z


def likelihood_loss(
    params: MixtureParams, z: Float[Array, "*B C"], log_det: Float[Array, "*B"]
) -> Float[jax.Array, ""]:
    """L_g (Eq. 6): negative log-likelihood under the mixture of classes, per dimension.

    Gradients reach the flow, the main centres and the class weights.
    """
    logits = _add_log_prior(component_logits(z, params.centres), log_softmax(params.class_logits))
    return jnp.mean(_half_norm(z) - logsumexp(logits, axis=-1) - log_det) / z.shape[-1]


def mutual_information(
    params: MixtureParams, z: Float[Array, "B *hw C"], labels: Int[Array, " B"], *, smoothing: float
) -> Float[jax.Array, ""]:
    """Lower bound of I(Z; Y) (Eq. 8), to be maximised; labels `[B]` smoothed by `smoothing`.

    Gradients reach the flow and the main centres; the class weights are held.
    """
    log_prior = stop_gradient(log_softmax(params.class_logits))
    gain = log_softmax(_add_log_prior(component_logits(z, params.centres), log_prior))
    gain = gain - jnp.broadcast_to(log_prior, gain.shape)
    num_classes = params.centres.shape[0]
    weights = (1.0 - smoothing) * jax.nn.one_hot(labels, num_classes) + smoothing / num_classes
    weights = weights.reshape(labels.shape[0], *(1,) * (z.ndim - 2), num_classes)
    return jnp.mean(jnp.sum(jnp.broadcast_to(weights, gain.shape) * gain, -1))


def entropy_loss(params: MixtureParams, z: Float[Array, "*B C"]) -> Float[jax.Array, ""]:
    """L_e (Eq. 9): mean entropy of the class posterior. Gradients reach the flow and the main centres."""
    return -jnp.mean(negative_entropy(params, z))


def own_class_log_prob(
    params: MixtureParams, z: Float[Array, "B *hw C"], labels: Int[Array, " B"]
) -> Float[jax.Array, " B *hw"]:
    """log p(z | own class) without the constant, main centres held: z `[B, ..., C]`, labels `[B]`."""
    held = params._replace(centres=stop_gradient(params.centres))
    centres = class_centres(held)[labels]  # [B, M, C]
    log_weights = log_softmax(params.centre_logits)[labels] - 0.5 * jnp.sum(centres**2, -1)
    flat = z.reshape(z.shape[0], -1, z.shape[-1])
    logits = jnp.einsum("bnc,bmc->bnm", flat, centres)
    mixed = logsumexp(logits + jnp.broadcast_to(log_weights[:, None, :], logits.shape), axis=-1)
    return mixed.reshape(z.shape[:-1]) - _half_norm(z)


def intra_losses(
    params: MixtureParams,
    z: Float[Array, "B *hw C"],
    log_det: Float[Array, " B *hw"],
    labels: Int[Array, " B"],
) -> tuple[Float[jax.Array, ""], Float[jax.Array, ""]]:
    """L_in (Eq. 11) and L_z, the log-sigmoid form of it that only the published code has.

    Gradients reach the flow, the deltas and the centre weights; the main centres are held.
    """
    channels = z.shape[-1]
    log_prob = (own_class_log_prob(params, z, labels) + log_det) / channels
    return -jnp.mean(log_prob), -jnp.mean(log_sigmoid(log_prob - 0.5 * LOG_2PI))


def loss_terms(
    params: MixtureParams,
    z: Float[Array, "B *hw C"],
    log_det: Float[Array, " B *hw"],
    labels: Int[Array, " B"],
    *,
    smoothing: float,
) -> LossTerms:
    """All terms of one level.

    Args:
      params: one level's mixture.
      z: latents `[B, h, w, C]`.
      log_det: `[B, h, w]`.
      labels: class ids `[B]`.
      smoothing: label smoothing of the mutual information.
    """
    intra, log_sigmoid_term = intra_losses(params, z, log_det, labels)
    return LossTerms(
        likelihood=likelihood_loss(params, z, log_det),
        mutual_information=mutual_information(params, z, labels, smoothing=smoothing),
        entropy=entropy_loss(params, z),
        intra=intra,
        log_sigmoid=log_sigmoid_term,
    )
