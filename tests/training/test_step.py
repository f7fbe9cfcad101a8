"""A training step is the same on one device and on eight, in one part and in four."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hgad_jax import detectors
from hgad_jax.detectors.compose import LevelParams
from hgad_jax.training.optimizers import adam
from hgad_jax.training.schedules import loss_weights
from hgad_jax.training.step import data_mesh, init_state, make_train_step, replicate, shard_batch

pytestmark = pytest.mark.devices(8)

IMAGES, CLASSES, SIZES = 32, 2, ((3, 3, 8),)
WEIGHTS = {"likelihood": 1.0, "mutual_information": 1.0, "entropy": 1.0, "intra": 1.0, "log_sigmoid": 1.0}
STAGE_TWO = ("intra", "log_sigmoid")
SWITCH = 2  # first step of stage two
SGD = optax.sgd(0.05)
ADAM = adam(optax.constant_schedule(1e-3), beta1=0.95, beta2=0.99, weight_decay=1e-2, clip_norm=1.0)

KEYS = {
    "name": "hgad",
    "num_blocks": 2,
    "condition_channels": 4,
    "hidden_ratio": 1.0,
    "clamp": 1.9,
    "identity_init": False,
    "conditioning": "whiten",
    "per_class": True,
    "regions": 2,
    "shrinkage": 0.01,
    "num_centres": 3,
    "centre_distance": 5.0,
    "delta_scale": 0.3,
    "label_smoothing": 0.02,
}
DETECTOR = detectors.create(KEYS, CLASSES)


@functools.cache
def setup():
    """Initial parameters and constants, as NumPy: a step deletes the arrays it is given; and a batch."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, IMAGES).astype(np.int32)
    # Every image differs in scale, so that parts of the batch have different gradients.
    scale = rng.uniform(0.5, 2, (IMAGES, 1, 1, 1))
    features = tuple((scale * rng.normal(size=(IMAGES, *s))).astype(np.float32) for s in SIZES)
    batches = [lambda x=x: [(x, labels)] for x in features]
    initial = DETECTOR.init(jax.random.key(0), batches)
    return *jax.tree.map(np.asarray, initial), features, labels


@functools.cache
def compiled(devices, micro_batches, optimizer):
    mesh = data_mesh(jax.devices()[:devices])
    weights = loss_weights(WEIGHTS, stage_two_step=SWITCH, stage_two_only=STAGE_TWO)
    return mesh, make_train_step(DETECTOR, optimizer, weights, mesh, micro_batches=micro_batches)


def train(devices=1, micro_batches=1, *, start=SWITCH, steps=3, optimizer=SGD):
    """Parameters and metrics of every step, from step `start` on: by default of stage two alone."""
    params, constants, features, labels = setup()
    mesh, step = compiled(devices, micro_batches, optimizer)
    state = init_state(jax.tree.map(jnp.array, params), optimizer)
    state = replicate(mesh, state._replace(step=state.step + start))
    constants = replicate(mesh, constants)
    features, labels = shard_batch(mesh, (features, labels))
    history = []
    for _ in range(steps):
        state, metrics = step(state, constants, features, labels)
        history.append(jax.device_get(metrics))
    assert int(state.step) == start + steps
    return jax.device_get(state.params), history


@functools.cache
def one_device():
    return train()


def leaves(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


@pytest.mark.parametrize(("devices", "micro_batches"), [(8, 1), (1, 4), (2, 4)])
def test_split_batch_trains_the_same(devices, micro_batches):
    """With SGD, whose updates are as large as the gradients: Adam would hide a wrong average."""
    params, history = train(devices, micro_batches)
    expected_params, expected_history = one_device()
    for a, b in zip(leaves(history), leaves(expected_history), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    for a, b in zip(leaves(params), leaves(expected_params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert max(np.abs(a - b).max() for a, b in zip(leaves(params), leaves(setup()[0]), strict=True)) > 1e-2


def test_step_follows_the_gradient_of_the_loss():
    """One SGD step against the gradient of the detector's loss, taken directly."""
    params, constants, features, labels = setup()
    inputs = DETECTOR.prepare(constants, features, labels)
    gradient = jax.jit(jax.grad(lambda p: DETECTOR.loss(p, constants, inputs, labels, WEIGHTS)[0]))(params)
    stepped, history = train(steps=1)
    for new, old, g in zip(leaves(stepped), leaves(params), leaves(gradient), strict=True):
        np.testing.assert_allclose(new, old - 0.05 * g, atol=1e-6)
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in leaves(gradient)))
    np.testing.assert_allclose(history[0]["gradient_norm"], norm, rtol=1e-5)


def test_loss_falls():
    _, history = one_device()
    losses = [h["loss"] for h in history]
    assert losses[0] > losses[1] > losses[2]


def test_two_runs_are_equal_to_the_bit():
    runs = [train(8, 2, optimizer=ADAM) for _ in range(2)]
    for a, b in zip(leaves(runs[0]), leaves(runs[1]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_compilation_serves_both_stages():
    params, history = train(start=0, steps=SWITCH + 2)
    assert compiled(1, 1, SGD)[1]._cache_size() == 1
    signs = {"mutual_information": -1}
    for i, metrics in enumerate(history):
        active = [n for n in WEIGHTS if i >= SWITCH or n not in STAGE_TWO]
        expected = sum(signs.get(n, 1) * metrics[f"level0/{n}"] for n in active)
        np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
    start = setup()[0]
    assert not np.array_equal(params[0].base.deltas, start[0].base.deltas)
    first_stage, _ = train(start=0, steps=SWITCH)
    np.testing.assert_array_equal(first_stage[0].base.deltas, start[0].base.deltas)


# The optimiser


def published_adam(params, gradients, *, lr, decay, clip):
    """Adam with the penalty added to the gradient, in float64; dicts of arrays, decay per name."""
    params = {k: v.astype(np.float64) for k, v in params.items()}
    mean = {k: np.zeros_like(v) for k, v in params.items()}
    square = {k: np.zeros_like(v) for k, v in params.items()}
    for t, step in enumerate(gradients, 1):
        norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in step.values()))
        factor = min(1.0, clip / norm) if clip else 1.0
        for k, g in step.items():
            g = factor * g + decay[k] * params[k]
            mean[k] = 0.95 * mean[k] + 0.05 * g
            square[k] = 0.99 * square[k] + 0.01 * g**2
            params[k] -= lr * (mean[k] / (1 - 0.95**t)) / (np.sqrt(square[k] / (1 - 0.99**t)) + 1e-8)
    return params


def as_levels(values):
    return (LevelParams(*({"x": jnp.asarray(values[part])} for part in ("flow", "base"))),)


@pytest.mark.parametrize("clip_norm", [0.0, 1.5])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_adam_is_the_published_one(weight_decay, clip_norm):
    """Gradients of very different norms, so that clipping shows through Adam's own scaling."""
    rng = np.random.default_rng(0)

    def draw(scale):
        return {k: (scale * rng.normal(size=(3, 4))).astype(np.float32) for k in ("flow", "base")}

    start, gradients = draw(1.0), [draw(s) for s in (0.1, 10.0, 1.0)]
    optimizer = adam(
        optax.constant_schedule(0.01), beta1=0.95, beta2=0.99, weight_decay=weight_decay, clip_norm=clip_norm
    )
    params = as_levels(start)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update(as_levels(gradient), state, params, step=0)
        params = optax.apply_updates(params, updates)
    decay = {"flow": weight_decay, "base": 0.0}
    expected = published_adam(start, gradients, lr=0.01, decay=decay, clip=clip_norm)
    np.testing.assert_allclose(params[0].flow["x"], expected["flow"], atol=1e-6)
    np.testing.assert_allclose(params[0].base["x"], expected["base"], atol=1e-6)


def test_weight_decay_reaches_every_parameter_of_the_flow_and_none_of_the_mixture():
    """With gradients of zero the penalty alone moves parameters, each by the learning rate (not AdamW)."""
    params, *_ = setup()
    optimizer = adam(optax.constant_schedule(0.1), beta1=0.95, beta2=0.99, weight_decay=0.5, clip_norm=1.0)
    zeros = jax.tree.map(np.zeros_like, params)
    updates, _ = jax.jit(optimizer.update)(zeros, optimizer.init(params), params, step=0)
    for level, update in zip(params, updates, strict=True):
        for value, change in zip(level.flow, update.flow, strict=True):
            np.testing.assert_allclose(change, -0.1 * np.sign(value), atol=1e-4)
        assert all(not np.any(change) for change in update.base)
