"""A bank of centres as a `Base`: thousands of good vectors of each class, each with a Gaussian around it.

The likelihood is that of a mixture of equally weighted Gaussians of one variance, which is a kernel density
estimate; where the variance is small against distances, as it is for features of a hundred channels, it tells
of the nearest centre alone, and without a flow it is what PatchCore (Roth et al. 2022) scores with.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hgad_jax.distributions.coreset import coreset
from hgad_jax.distributions.part import LOG_2PI, Base
from hgad_jax.distributions.sample import Sample, samples
from hgad_jax.precision import EXACT

KERNELS = ("gaussian", "nearest")
_BLOCK = 512  # centres at a time: distances to them stay in a core's cache
_LOOKED_AT = 2048  # vectors that tell the variance
_ROUNDS = 5  # of its fit
_ROUND = 1 << 14  # vectors that centres are chosen from are filled up to a multiple of this
_LEAST_SHARE = 1e-6  # of the vectors' own variance that the centres' is at least, as where all are alike
NOTHING = -1e30  # logarithm of 0 as good as: gradients of −∞ are not numbers
_LEAST_VARIANCE = 1e-12  # where even that is 0


class CentresParams(NamedTuple):
    """Of one level."""

    centres: jax.Array  # [K, M, C]
    log_weight: jax.Array  # [K, M], `NOTHING` past the vectors that a class has
    log_variance: jax.Array  # [K]


def centres(
    *, num_classes: int, bank_size: int, bank_candidates: int, bank_projection: int, bank_kernel: str
) -> Base:
    """The bank as a base distribution, fitted to latents before training.

    Args:
      num_classes: K.
      bank_size: centres a class, M.
      bank_candidates: vectors of a class that they are chosen from.
      bank_projection: dimensions that distances are taken in while they are chosen.
      bank_kernel: "gaussian", all centres count; or "nearest", the nearest alone.
    """
    log_kernels = _nearest if bank_kernel == "nearest" else _mixture

    def init(key, size, starts):
        del key, starts
        shape = num_classes, bank_size
        return CentresParams(jnp.zeros((*shape, size[-1])), jnp.zeros(shape), jnp.zeros(num_classes))

    def log_prob(params, z, log_det, class_ids):
        def of_image(arguments):  # one by one: a class's centres are not copied for every image
            x, k = arguments
            own = jax.tree.map(lambda array: array[k], params)
            return log_kernels(own, x.reshape(-1, x.shape[-1])).reshape(x.shape[:-1])

        return jax.lax.map(of_image, (z, class_ids)) + log_det

    def loss(params, z, log_det, class_ids, weights):
        likelihood = -jnp.mean(log_prob(params, z, log_det, class_ids)) / z.shape[-1]
        return weights["likelihood"] * likelihood, {"likelihood": likelihood}

    def fit(key, batches, counts):
        of_class = {}
        for k, sample in samples(key, batches, counts, candidates=bank_candidates, apart=_LOOKED_AT):
            chosen = functools.partial(coreset, count=bank_size, dimensions=bank_projection)
            of_class[k] = _of_class(jax.random.fold_in(key, k), sample, chosen, log_kernels)
        in_order = (of_class[k] for k in range(num_classes))
        return CentresParams(*(jnp.asarray(np.stack(part)) for part in zip(*in_order, strict=True)))

    return Base(init, log_prob, loss, terms=("likelihood",), fit=fit)


def _mixture(own: CentresParams, x: jax.Array) -> jax.Array:
    """log p of vectors `[N, C]` in nats, all centres counting: `[N]`."""
    total = _over_blocks(own, x, lambda logits: jax.nn.logsumexp(logits, -1), jnp.logaddexp)
    return total + _constant(own, x.shape[-1])


def _nearest(own: CentresParams, x: jax.Array) -> jax.Array:
    """The same of the nearest centre alone."""
    return _over_blocks(own, x, _highest, _higher) + _constant(own, x.shape[-1])


# The gradient of `max` goes to equal values, and what is computed twice may be rounded otherwise each time.
def _highest(logits: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits, logits.argmax(-1, keepdims=True), -1)[:, 0]


def _higher(one: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.where(one > other, one, other)


def _constant(own: CentresParams, channels: int) -> jax.Array:
    return -0.5 * channels * (LOG_2PI + own.log_variance)


def _over_blocks(own: CentresParams, x: jax.Array, reduce: Callable, merge: Callable) -> jax.Array:
    """Reduces log w − d²/(2 variance) over all centres, block by block: memory does not grow with them."""
    number, channels = own.centres.shape
    blocks = math.ceil(number / _BLOCK)
    missing = blocks * _BLOCK - number
    middle = own.centres.mean(0)  # near the origin less is lost where large squares cancel
    moved = jnp.pad(own.centres - middle[None], ((0, missing), (0, 0)))
    weight = jax.nn.log_softmax(own.log_weight)
    weight = jnp.pad(weight, (0, missing), constant_values=NOTHING)
    x = x - middle[None]
    scale = jnp.exp(-own.log_variance)
    squares = 0.5 * jnp.sum(x**2, -1) * scale

    def merged(best, block):
        near, log_weight = block
        products = jnp.matmul(x * scale, near.T, precision=EXACT)
        offsets = log_weight - 0.5 * scale * jnp.sum(near**2, -1)
        return merge(best, reduce(products + jnp.broadcast_to(offsets, products.shape))), None

    each = moved.reshape(blocks, _BLOCK, channels), weight.reshape(blocks, _BLOCK)
    best = jax.lax.scan(merged, jnp.full(len(x), NOTHING), each)[0]
    return best - squares


def _of_class(
    key: jax.Array, sample: Sample, choose: Callable[..., jax.Array], log_kernels: Callable
) -> CentresParams:
    """The centres of one class, on the host."""
    count = len(sample.vectors)
    vectors = _filled(sample.vectors, -(-count // _ROUND) * _ROUND)
    chosen = choose(key, vectors, jnp.arange(len(vectors)) < count)
    number = min(len(chosen), count)  # of a small class all vectors are centres
    weight = np.where(np.arange(len(chosen)) < number, -math.log(number), NOTHING).astype(np.float32)
    own = CentresParams(vectors[chosen], jnp.asarray(weight), jnp.zeros(()))
    least = max(_LEAST_SHARE * float(sample.vectors.var(0).mean()), _LEAST_VARIANCE)
    apart = _filled(sample.apart, _LOOKED_AT)
    own = own._replace(log_variance=_log_variance(own, apart, len(sample.apart), least, log_kernels))
    return jax.device_get(own)


def _filled(vectors: np.ndarray, size: int) -> jax.Array:
    """With zeros up to a size, so that one program does for many classes."""
    return jnp.asarray(np.pad(vectors, ((0, size - len(vectors)), (0, 0))))


@functools.partial(jax.jit, static_argnames="log_kernels")
def _log_variance(
    own: CentresParams, apart: jax.Array, count: jax.Array, least: jax.Array, log_kernels: Callable
) -> jax.Array:
    """The variance under which vectors `[N, C]` that gave no centres are likeliest; the first `count` count.

    Expectation maximisation with the centres fixed: the mean of squared distances, each vector's averaged
    over centres by how far they explain it. That average is a derivative of the log-likelihood, whichever
    kernels it has.
    """
    valid = jnp.arange(len(apart)) < count

    def log_prob(precision):
        moved = own._replace(log_variance=-jnp.log(precision))
        return jnp.sum(jnp.where(valid, log_kernels(moved, apart) - _constant(moved, apart.shape[-1]), 0.0))

    def improve(_, variance):
        squares = -2 * jax.grad(log_prob)(1 / variance)
        return jnp.maximum(squares / (count * apart.shape[-1]), least)

    start = jnp.maximum(jnp.var(apart, 0, where=valid[:, None]).mean(), least)
    return jnp.log(jax.lax.fori_loop(0, _ROUNDS, improve, start))
