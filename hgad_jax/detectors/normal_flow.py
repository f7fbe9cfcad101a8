"""What CFLOW-AD, U-FLOW, FastFlow and their AltUB variants have in common: flows under a normal base.

Each level has a fixed first layer, a flow, and a normal distribution of the latents, which is the standard
one or, with AltUB, trained. A detector is this with its own flow, loss and score.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hgad_jax.detectors import class_finder, first_layer
from hgad_jax.detectors.class_finder import ClassStatistics
from hgad_jax.detectors.detector import Detector, Evidence, Fibres
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.distributions import normal
from hgad_jax.distributions.normal import NormalParams
from hgad_jax.flows.conditioning import Affine


class LevelParams(NamedTuple):
    """What is trained of one level."""

    flow: Any
    base: NormalParams | None  # None: the standard normal


class LevelConstants(NamedTuple):
    """What is fixed of one level."""

    first: Affine  # fitted to the features
    classes: ClassStatistics  # likewise
    mixing: jax.Array  # the flow's rotations or permutations, drawn


class Flow(NamedTuple):
    """The flow of a detector; its own parameters are a pytree."""

    init: Callable  # (key, (h, w, C)) → (parameters, rotations or permutations)
    forward: Callable  # (parameters, rotations, x [B, h, w, C]) → z, log|det| shares [B, h, w]
    forward_vectors: Callable | None = (
        None  # (parameters, rotations, x [N, C], positions, (h, w)) → z, log|det|
    )


class Objective(NamedTuple):
    """What a detector makes of energies and log-dets.

    Attributes:
      loss: (energy, log_det, channels, weights) → (scalar, dict of metrics); energy and log_det are `[N]` or
        `[B, h, w]`, in nats, the energy without the constant (C/2)·ln 2π.
      score: (energy, log_det, channels) → what `Evidence.log_likelihood` holds, `[B, h, w]`.
    """

    loss: Callable
    score: Callable


def normal_flow(
    flow: Flow,
    objective: Objective,
    first: FirstLayer,
    *,
    trainable_base: bool,
    fibre: int = 0,
    zero_grad: str = "none",
) -> Detector:
    """A detector of independent levels.

    Args:
      flow: of every level.
      objective: loss and score.
      first: keys of the first layer.
      trainable_base: AltUB's base distribution instead of the standard normal.
      fibre: vectors of a fibre (see `Fibres`); 0: one step per batch, over all levels.
      zero_grad: see `Fibres`.
    """

    def init_level(key, fitted):
        size, layer, classes = fitted
        flow_params, mixing = flow.init(key, size)
        base = normal.init_params(size) if trainable_base else None
        return LevelParams(flow_params, base), LevelConstants(layer, classes, mixing)

    def init_from(key, sizes, layers, classes):
        keys = jax.random.split(key, len(sizes))
        levels = list(map(init_level, keys, zip(sizes, layers, classes, strict=True)))
        return tuple(params for params, _ in levels), tuple(constants for _, constants in levels)

    def init(key, batches):
        sizes = tuple(next(iter(level()))[0].shape[1:] for level in batches)
        layers = [first_layer.fit(first, level) for level in batches]
        classes = [class_finder.fit(level, first.num_classes) for level in batches]
        return jax.jit(init_from, static_argnums=1)(key, sizes, layers, classes)

    def abstract(sizes):
        layers = [first_layer.abstract(first, size) for size in sizes]
        classes = [class_finder.abstract(first.num_classes, size[-1]) for size in sizes]
        key = jax.eval_shape(lambda: jax.random.key(0))
        return jax.eval_shape(lambda *args: init_from(args[0], sizes, *args[1:]), key, layers, classes)

    def prepare(constants, features, labels):
        return tuple(
            first_layer.apply(first, c.first, x, labels) for c, x in zip(constants, features, strict=True)
        )

    def densities(params, constants, inputs):
        """Energy, log-det of first layer and flow together, and C, per level."""
        for level, fixed, (x, first_log_det) in zip(params, constants, inputs, strict=True):
            z, log_det = flow.forward(level.flow, fixed.mixing, x)
            yield normal.energy(z, level.base), first_log_det + log_det, x.shape[-1]

    def loss(params, constants, inputs, labels, weights):
        del labels
        total, metrics = 0.0, {}
        for index, density in enumerate(densities(params, constants, inputs)):
            value, terms = objective.loss(*density, weights)
            total += value
            metrics |= {f"level{index}/{name}": term for name, term in terms.items()}
        return total, metrics

    def fibre_loss(params, constants, inputs, positions, size, weights):
        x, first_log_det = inputs
        z, log_det = flow.forward_vectors(params.flow, constants.mixing, x, positions, size)
        base = None if params.base is None else normal.at_positions(params.base, positions)
        return objective.loss(normal.energy(z, base), first_log_det + log_det, x.shape[-1], weights)

    def evidence(params, constants, features, class_ids=None, *, mix_classes=False):
        class_finder.refuse_mixture(mix_classes)
        statistics = tuple(c.classes for c in constants)
        class_log_prob, class_ids = class_finder.find(statistics, features, class_ids)
        inputs = prepare(constants, features, class_ids)
        maps = tuple(objective.score(*density) for density in densities(params, constants, inputs))
        return Evidence(maps, tuple(map(jnp.zeros_like, maps)), class_log_prob, class_ids)

    def log_likelihood(params, constants, features, labels):
        found = densities(params, constants, prepare(constants, features, labels))
        return tuple(jnp.mean(log_det - energy, (1, 2)) / channels for energy, log_det, channels in found)

    def latents(params, constants, features, class_ids):
        inputs = prepare(constants, features, class_ids)
        return tuple(
            normal.standardized(flow.forward(level.flow, fixed.mixing, x)[0], level.base)
            for level, fixed, (x, _) in zip(params, constants, inputs, strict=True)
        )

    fibres = Fibres(fibre, zero_grad, fibre_loss) if fibre else None
    return Detector(init, abstract, prepare, loss, evidence, log_likelihood, fibres, latents=latents)
