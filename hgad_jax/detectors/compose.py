"""A detector out of its parts: first layer, flow, base distribution, objective, and how classes are found.

Every level of the backbone is a piece of evidence of its own: its features go through its first layer and its
flow, and what the base distribution says of the latents is a map of log-likelihoods. Levels share no
parameter; their losses are added. What combines the maps (`scoring`) does not know what made them.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp

from hgad_jax.detectors import class_finder, first_layer
from hgad_jax.detectors.class_finder import ClassStatistics
from hgad_jax.detectors.class_search import ClassSearch
from hgad_jax.detectors.detector import Detector, Evidence, Fibres, Optimised, as_they_are
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.detectors.objective import Objective
from hgad_jax.distributions import Base, Classes
from hgad_jax.errors import UserError
from hgad_jax.flows import Flow
from hgad_jax.flows.conditioning import Affine
from hgad_jax.scoring.published import PublishedScore
from hgad_jax.types import total


class LevelParams(NamedTuple):
    """What is trained of one level."""

    flow: Any
    base: Any  # None: the base distribution has nothing to train


class LevelConstants(NamedTuple):
    """What is fixed of one level."""

    first: Affine  # fitted to the features
    classes: ClassStatistics | None  # likewise; None where the class is found without
    mixing: Any  # what the flow has drawn: rotations or permutations


class Parts(NamedTuple):
    """Of one detector."""

    first: FirstLayer
    flow: Flow
    base: Base
    objective: Objective
    classes: ClassSearch


def compose(
    first: FirstLayer,
    flow: Flow,
    base: Base,
    objective: Objective,
    classes: ClassSearch,
    *,
    published: PublishedScore,
    ready: bool = False,
    fibre: int = 0,
    zero_grad: str = "none",
) -> Detector:
    """A detector of independent levels.

    Args:
      first: keys of the first layer of every level.
      flow: of every level.
      base: of every level's latents.
      objective: loss and score.
      classes: how the class of an image is found.
      published: its score maps in the protocol `paper`.
      ready: whether what depends on parameters and place alone is computed once per batch (`Flow.at`), not
        once per part of it; then a step may also take a sample of positions. The numbers are the same up to
        rounding.
      fibre: vectors of a fibre (see `Fibres`); 0: one step per batch, over all levels.
      zero_grad: see `Fibres` and, without them, `Optimised`.

    Raises:
      UserError: fibres of a flow that cannot take vectors out of their maps.
    """
    if fibre and flow.forward_vectors is None:
        raise UserError(
            f"config.detector.fibre is {fibre}, expected 0: this flow takes whole maps, since the latents of "
            "a position depend on its neighbours."
        )
    parts = Parts(first, flow, base, objective, classes)
    ready = ready and flow.at is not None

    def bound(function):
        return functools.partial(function, parts)

    return Detector(
        bound(_init),
        bound(_abstract),
        bound(_prepare),
        bound(_loss),
        bound(_evidence),
        published,
        bound(_log_likelihood),
        fibres=Fibres(fibre, zero_grad, bound(_fibre_loss)) if fibre else None,
        level_loss=bound(_level_loss),
        ready=bound(_ready) if ready else as_they_are,
        latents=bound(_standardized) if base.standardized else None,
        samples_positions=ready,
        mixes_classes=base.classes is not None,
        least_channels=base.classes.number if base.classes else 1,
        terms=base.terms if objective.terms is None else objective.terms,
        stage_two=base.stage_two,
        optimised=Optimised(
            alternated="base" if base.alternation else "", alternation=base.alternation, zero_grad=zero_grad
        ),
    )


def _init(parts: Parts, key, batches):
    sizes = tuple(next(iter(level()))[0].shape[1:] for level in batches)
    layers = [_fit_first(parts, level, size[-1]) for level, size in zip(batches, sizes, strict=True)]
    fit, num_classes = parts.classes.fit, parts.first.num_classes
    statistics = [fit(level, num_classes) if fit else None for level in batches]
    init_from = functools.partial(_init_from, parts)
    params, constants = jax.jit(init_from, static_argnums=1)(key, sizes, layers, statistics)
    fit_base = parts.base.fit
    if fit_base is not None:
        counts = _counts(batches, num_classes)
        params = tuple(
            level._replace(
                base=fit_base(jax.random.fold_in(key, i), _latents_of(parts, level, *fixed), counts)
            )
            for i, (level, *fixed) in enumerate(zip(params, constants, batches, strict=True))
        )
    return params, constants


def _counts(batches, num_classes: int) -> np.ndarray:
    """Images of each class, from the level that is read fastest."""
    counts = np.zeros(num_classes, int)
    for _, labels in batches[-1]():
        counts += np.bincount(labels, minlength=num_classes)
    return counts


def _latents_of(parts: Parts, params: LevelParams, constants: LevelConstants, batches):
    """`batches` of a level's features as latents, as they are before training."""

    @jax.jit
    def latents(features, labels):
        x, _ = first_layer.apply(parts.first, constants.first, features, labels)
        return parts.flow.forward(params.flow, constants.mixing, jnp.asarray(x))[0]

    return lambda: ((latents(features, labels), labels) for features, labels in batches())


def _fit_first(parts: Parts, batches, channels: int) -> Affine:
    """With statistics per class all classes would fall onto the origin: the base gives each its own place."""
    classes = parts.base.classes if parts.first.grouped else None
    centres = np.asarray(classes.centres(channels)) if classes else None
    return first_layer.fit(parts.first, batches, centres)


def _abstract(parts: Parts, sizes):
    layers = [first_layer.abstract(parts.first, size) for size in sizes]
    abstract, num_classes = parts.classes.abstract, parts.first.num_classes
    statistics = [abstract(num_classes, size[-1]) if abstract else None for size in sizes]
    key = jax.eval_shape(lambda: jax.random.key(0))
    init_from = functools.partial(_init_from, parts)
    return jax.eval_shape(lambda *args: init_from(args[0], sizes, *args[1:]), key, layers, statistics)


def _init_from(parts: Parts, key, sizes, layers, statistics):
    keys = jax.random.split(key, len(sizes))
    levels = list(map(functools.partial(_init_level, parts), keys, sizes, layers, statistics))
    return tuple(params for params, _ in levels), tuple(constants for _, constants in levels)


def _init_level(parts: Parts, key, size, layer, statistics):
    flow, base = parts.flow, parts.base
    flow_key, *base_key, mixing_key = jax.random.split(key, 3 if base.drawn else 2)
    mixing = flow.draw(mixing_key, size)
    centres = base.classes and flow.carry(mixing, base.classes.centres(size[-1]))
    base_params = base.init(base_key[0] if base_key else None, size, centres)
    return LevelParams(flow.init(flow_key, size), base_params), LevelConstants(layer, statistics, mixing)


def _prepare(parts: Parts, constants, features, labels, grids=None):
    return first_layer.apply_levels(parts.first, [c.first for c in constants], features, labels, grids)


def _ready(parts: Parts, params, inputs, grids=None):
    at = parts.flow.at
    assert at is not None
    places = [x.shape[1:3] for x, _ in inputs] if grids is None else grids

    def of_level(level, place):
        base = level.base if grids is None else parts.base.at_grid(level.base, place)
        return LevelParams(at(level.flow, place), base)

    return tuple(map(of_level, params, places))


def _latents(parts: Parts, params, constants, inputs):
    """Per level parameters of the base, z, and the log-det of first layer and flow together."""
    for level, fixed, (x, first_log_det) in zip(params, constants, inputs, strict=True):
        z, log_det = parts.flow.forward(level.flow, fixed.mixing, x)
        yield level.base, z, first_log_det + log_det


def _loss(parts: Parts, params, constants, inputs, labels, weights):
    summed, metrics = 0.0, {}
    for index in range(len(params)):
        value, terms = _level_loss(parts, params, constants, inputs, labels, weights, index)
        summed, metrics = summed + value, metrics | terms
    return summed, metrics


def _level_loss(parts: Parts, params, constants, inputs, labels, weights, index):
    own = slice(index, index + 1)
    (latents,) = _latents(parts, params[own], constants[own], inputs[own])
    value, terms = parts.objective.loss(parts.base, *latents, labels, weights)
    return value, {f"level{index}/{name}": term for name, term in terms.items()}


def _fibre_loss(parts: Parts, params, constants, inputs, positions, class_ids, size, weights):
    assert parts.flow.forward_vectors is not None
    x, first_log_det = inputs
    z, log_det = parts.flow.forward_vectors(params.flow, constants.mixing, x, positions, size)
    base = parts.base.of_vectors(params.base, positions)
    return parts.objective.loss(parts.base, base, z, first_log_det + log_det, class_ids, weights)


def _evidence(parts: Parts, params, constants, features, class_ids=None, *, mix_classes=False):
    classes = parts.base.classes
    if classes is None:
        class_finder.refuse_mixture(mix_classes)
    inputs, class_log_prob, class_ids = parts.classes.find(parts.first, constants, features, class_ids)
    levels = list(_latents(parts, params, constants, inputs))
    if class_log_prob is None:
        log_prob = _classes(parts).log_prob
        class_log_prob = total(log_prob(*latents).sum((1, 2)) for latents in levels)
    class_ids = (jnp.argmax(class_log_prob, -1) if class_ids is None else class_ids).astype(jnp.int32)
    if mix_classes:
        mixed = _class_mixture(parts, params, constants, features)
        maps = tuple(m / x.shape[-1] for m, x in zip(mixed, features, strict=True))
    else:
        maps = tuple(parts.objective.score(parts.base, *latents, class_ids) for latents in levels)
    if classes is None:
        entropy = tuple(map(jnp.zeros_like, maps))
    else:
        entropy = tuple(classes.negative_entropy(base, z) for base, z, _ in levels)
    return Evidence(maps, entropy, class_log_prob, class_ids)


def _classes(parts: Parts) -> Classes:
    """Of a base distribution that knows them."""
    assert parts.base.classes is not None
    return parts.base.classes


def _class_mixture(parts: Parts, params, constants, features):
    """Per level, log p(x) `[B, h, w]` in nats under all classes, weighted as learned."""
    classes = _classes(parts)

    def joint(base, log_prob, k):
        return log_prob[..., k] + classes.log_prior(base)[k]

    def log_probs(class_ids):
        inputs = _prepare(parts, constants, features, class_ids)
        for base, z, log_det in _latents(parts, params, constants, inputs):
            yield base, classes.log_prob(base, z, log_det)

    def of_class(k):
        found = log_probs(jnp.full(len(features[0]), k, jnp.int32))
        return tuple(joint(base, log_prob, k) for base, log_prob in found)

    if parts.first.grouped:  # each class has its own first layer: a pass for each
        return tuple(logsumexp(m, axis=0) for m in jax.lax.map(of_class, jnp.arange(classes.number)))
    found = log_probs(jnp.zeros(len(features[0]), jnp.int32))
    return tuple(
        logsumexp(jnp.stack([joint(base, log_prob, k) for k in range(classes.number)]), axis=0)
        for base, log_prob in found
    )


def _log_likelihood(parts: Parts, params, constants, features, labels, grids=None):
    inputs = _prepare(parts, constants, features, labels, grids)
    if grids is not None:
        params = _ready(parts, params, inputs, grids)
    levels = _latents(parts, params, constants, inputs)
    log_probs = (parts.base.log_prob(*latents, labels) for latents in levels)
    return tuple(p.mean((1, 2)) / x.shape[-1] for p, x in zip(log_probs, features, strict=True))


def _standardized(parts: Parts, params, constants, features, class_ids):
    levels = _latents(parts, params, constants, _prepare(parts, constants, features, class_ids))
    standardized = parts.base.standardized
    assert standardized is not None
    return tuple(standardized(base, z) for base, z, _ in levels)
