"""HGAD: a flow per level under the hierarchical mixture, one model for all classes."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_softmax, logsumexp

from hgad_jax.detectors import first_layer
from hgad_jax.detectors.detector import Detector, Evidence
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.distributions import mixture
from hgad_jax.distributions.mixture import MixtureParams
from hgad_jax.flows import flow
from hgad_jax.flows.conditioning import Affine, apply_affine, at_positions, group_log_prob, most_likely
from hgad_jax.flows.coupling import CouplingParams
from hgad_jax.flows.rotation import random_rotations


class LevelParams(NamedTuple):
    """What is trained of one level."""

    flow: CouplingParams
    mixture: MixtureParams


class LevelConstants(NamedTuple):
    """What is fixed of one level."""

    first: Affine  # fitted to the features
    rotations: jax.Array  # [blocks, C, C], drawn


def hgad(
    *,
    num_classes: int,
    num_blocks: int,
    condition_channels: int,
    hidden_ratio: float,
    clamp: float,
    identity_init: bool,
    conditioning: str,
    per_class: bool,
    regions: int,
    shrinkage: float,
    num_centres: int,
    centre_distance: float,
    delta_scale: float,
    label_smoothing: float,
) -> Detector:
    """The HGAD detector. Hyper-parameters are the keys of `config.detector`, explained in its defaults.

    Its loss weights are `likelihood`, `mutual_information`, `entropy`, `intra` and `log_sigmoid`.
    """
    layer = FirstLayer(num_classes, conditioning, per_class, regions, shrinkage)
    per_class = layer.grouped
    initial_centres = functools.partial(mixture.block_identity_centres, num_classes, distance=centre_distance)

    def fit_first(batches):
        # With statistics per class all classes would fall onto the origin: each gets its own place.
        channels = next(iter(batches()))[0].shape[-1]
        return first_layer.fit(layer, batches, np.asarray(initial_centres(channels)) if per_class else None)

    def init_level(key, first):
        channels = first.mean.shape[-1]
        flow_key, mixture_key, rotation_key = jax.random.split(key, 3)
        rotations = random_rotations(rotation_key, num_blocks, channels)
        centres = initial_centres(channels)
        if identity_init:  # such couplings leave a class where it is, but for the rotations
            centres = functools.reduce(lambda c, r: c @ r.T, rotations, centres)
        flow_params = flow.init_params(
            flow_key,
            channels=channels,
            num_blocks=num_blocks,
            condition_channels=condition_channels,
            hidden_ratio=hidden_ratio,
            identity=identity_init,
        )
        mixture_params = mixture.init_params(
            mixture_key, centres, num_centres=num_centres, delta_scale=delta_scale
        )
        return LevelParams(flow_params, mixture_params), LevelConstants(first, rotations)

    def init_from(key, firsts):
        levels = [
            init_level(k, first) for k, first in zip(jax.random.split(key, len(firsts)), firsts, strict=True)
        ]
        return tuple(params for params, _ in levels), tuple(constants for _, constants in levels)

    def init(key, batches):
        firsts = [fit_first(level) for level in batches]
        return jax.jit(init_from)(key, firsts)

    def abstract(sizes):
        firsts = [first_layer.abstract(layer, size) for size in sizes]
        return jax.eval_shape(init_from, jax.eval_shape(lambda: jax.random.key(0)), firsts)

    def prepare(constants, features, labels, grids=None):
        groups = labels if per_class else jnp.zeros_like(labels)
        layers = [c.first for c in constants]
        if grids is not None:
            layers = map(at_positions, layers, grids)
        return tuple(apply_affine(layer, x, groups) for layer, x in zip(layers, features, strict=True))

    def ready(params, inputs, grids=None):
        places = [x.shape[1:3] for x, _ in inputs] if grids is None else grids
        return tuple(
            level._replace(flow=flow.blocks_at(level.flow, place))
            for level, place in zip(params, places, strict=True)
        )

    def latents(params, rotations, inputs):
        """Per level z and the log-det of first layer and flow together."""
        for level, level_rotations, (x, first_log_det) in zip(params, rotations, inputs, strict=True):
            z, log_det = flow.forward(level.flow, level_rotations, x, clamp=clamp)
            yield level, z, first_log_det + log_det

    def loss(params, constants, inputs, labels, weights):
        total, metrics = 0.0, {}
        rotations = [c.rotations for c in constants]
        for index, (level, z, log_det) in enumerate(latents(params, rotations, inputs)):
            terms = mixture.loss_terms(level.mixture, z, log_det, labels, smoothing=label_smoothing)
            signed = terms._replace(mutual_information=-terms.mutual_information)
            total += sum(weights[name] * value for name, value in signed._asdict().items())
            metrics |= {f"level{index}/{name}": value for name, value in terms._asdict().items()}
        return total, metrics

    def log_probs_of_classes(params, constants, inputs, grids=None):
        """Per level, log p(x | class) `[B, h, w, K]` in nats of what `prepare` gave; and z."""
        rotations = [c.rotations for c in constants]
        if grids is not None:
            params = ready(params, inputs, grids)
        for level, z, log_det in latents(params, rotations, inputs):
            log_prob = mixture.class_log_prob(level.mixture, z)
            yield log_prob + jnp.broadcast_to(log_det[..., None], log_prob.shape), z

    def class_mixture(params, constants, features):
        """Per level, log p(x) `[B, h, w]` in nats under all classes, weighted as learned."""

        def joint(level, log_prob, k):
            return log_prob[..., k] + log_softmax(level.mixture.class_logits)[k]

        def of_class(k):
            groups = jnp.full(len(features[0]), k, jnp.int32)
            found = log_probs_of_classes(params, constants, prepare(constants, features, groups))
            return tuple(
                joint(level, log_prob, k) for level, (log_prob, _) in zip(params, found, strict=True)
            )

        if per_class:  # each class has its own first layer: a pass for each
            return tuple(logsumexp(m, axis=0) for m in jax.lax.map(of_class, jnp.arange(num_classes)))
        no_group = jnp.zeros(len(features[0]), jnp.int32)
        found = log_probs_of_classes(params, constants, prepare(constants, features, no_group))
        return tuple(
            logsumexp(jnp.stack([joint(level, log_prob, k) for k in range(num_classes)]), axis=0)
            for level, (log_prob, _) in zip(params, found, strict=True)
        )

    def evidence(params, constants, features, class_ids=None, *, mix_classes=False):
        class_log_prob, firsts = None, [c.first for c in constants]
        if per_class and class_ids is None:  # the first layer finds the class, so that the flow runs once
            inputs, class_log_prob = most_likely(firsts, features)
            class_ids = jnp.argmax(class_log_prob, -1)
        elif per_class:
            class_log_prob = sum(map(group_log_prob, firsts, features))
            inputs = prepare(constants, features, class_ids)
        else:
            inputs = prepare(constants, features, jnp.zeros(len(features[0]), jnp.int32))
        log_probs, latent = zip(*log_probs_of_classes(params, constants, inputs), strict=True)
        if class_log_prob is None:
            class_log_prob = sum(log_prob.sum((1, 2)) for log_prob in log_probs)
            class_ids = jnp.argmax(class_log_prob, -1) if class_ids is None else class_ids
        if mix_classes:
            chosen = class_mixture(params, constants, features)
        else:
            chosen = [jnp.take_along_axis(p, class_ids[:, None, None, None], -1)[..., 0] for p in log_probs]
        return Evidence(
            log_likelihood=tuple(p / x.shape[-1] for p, x in zip(chosen, features, strict=True)),
            negative_entropy=tuple(
                mixture.negative_entropy(level.mixture, z) for level, z in zip(params, latent, strict=True)
            ),
            class_log_prob=class_log_prob,
            class_ids=class_ids.astype(jnp.int32),
        )

    def log_likelihood(params, constants, features, labels, grids=None):
        groups = labels if per_class else jnp.zeros_like(labels)
        inputs = prepare(constants, features, groups, grids)
        of_levels = log_probs_of_classes(params, constants, inputs, grids)
        own = (jnp.take_along_axis(p, labels[:, None, None, None], -1)[..., 0] for p, _ in of_levels)
        return tuple(p.mean((1, 2)) / x.shape[-1] for p, x in zip(own, features, strict=True))

    return Detector(
        init, abstract, prepare, loss, evidence, log_likelihood, ready=ready, samples_positions=True
    )
