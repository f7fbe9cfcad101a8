"""CFLOW-AD's fibres: the scan is a plain loop of steps, on any number of devices; and AltUB's alternation."""

import functools
import itertools

import jax
import jax.numpy as jnp
import normal_flow_reference as reference
import numpy as np
import optax
import pytest

from hgad_jax.training.fibre_step import _shuffled
from hgad_jax.training.optimizers import adam, alternating, per_level
from hgad_jax.training.step import data_mesh, init_state, make_train_step, replicate, shard_batch

pytestmark = pytest.mark.devices(8)

SIZES, IMAGES, FIBRE, SEED = ((4, 4, 6), (2, 2, 8)), 8, 24, 3  # 128 vectors: 5 fibres, 8 dropped; 32: 1 fibre
WEIGHTS = {"likelihood": 1.0, "log_sigmoid": 0.5}
KEYS = {"num_blocks": 2, "condition_channels": 4, "fibre": FIBRE, "base": "trainable"}
LEARNING_RATE = optax.linear_schedule(1e-2, 1e-3, 4)


def detector(**changes):
    return reference.cflow_detector(**(KEYS | changes))


def make_adam():
    return adam(LEARNING_RATE, beta1=0.9, beta2=0.999, weight_decay=0.0, clip_norm=0.0)


@functools.cache
def setup():
    """Initial parameters, the same for every detector here, constants, features and labels."""
    model, rng = detector(), np.random.default_rng(0)
    labels = np.zeros(IMAGES, np.int32)
    features = tuple(rng.normal(size=(IMAGES, *size)).astype(np.float32) for size in SIZES)
    params, constants = model.init(jax.random.key(1), [lambda x=x: [(x, labels)] for x in features])
    return *jax.tree.map(np.asarray, (params, constants)), features, labels


@functools.cache
def trained(zero_grad="none", devices=1):
    """Two steps with Adam, compiled once for all tests that ask for them."""
    optimizer = per_level(make_adam()) if zero_grad == "none" else make_adam()
    return run(detector(zero_grad=zero_grad), optimizer, devices=devices)


def run(model, optimizer, steps=2, devices=1):
    params, constants, features, labels = setup()
    mesh = data_mesh(jax.devices()[:devices])
    step = make_train_step(model, optimizer, lambda step: WEIGHTS, mesh, seed=SEED)
    state = replicate(mesh, init_state(jax.tree.map(jnp.array, params), optimizer))
    constants, batch = replicate(mesh, constants), shard_batch(mesh, (features, labels))
    history = []
    for _ in range(steps):
        state, metrics = step(state, constants, *batch)
        history.append(jax.device_get((state.params, metrics)))
    assert int(state.step) == steps
    return history, step


def plain_loop(model, zero_grad, steps=2):
    """A Python loop of optax Adam steps over the same fibres, level after level; float32."""
    params, constants, features, labels = setup()
    inputs = model.prepare(constants, features, labels)

    @jax.jit
    def gradients(params, index_rows):
        def loss(p, index):
            return model.fibres.loss(p, constants[index], *index_rows, SIZES[index][:2], WEIGHTS)[0]

        index = 0 if index_rows[0][0].shape[-1] == SIZES[0][2] else 1
        return jax.value_and_grad(lambda p: loss(p, index))(params)

    rates = [float(LEARNING_RATE(i)) for i in range(steps)]
    optimizer = optax.scale_by_adam(b1=0.9, b2=0.999)
    states, update = [optimizer.init(level) for level in params], jax.jit(optimizer.update)
    params, losses = list(params), []
    for step in range(steps):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(SEED), step), 2)
        losses.append(0.0)
        for index, (h, w, _) in enumerate(SIZES):
            order = np.asarray(jax.random.permutation(keys[index], IMAGES * h * w))
            count = len(order) // FIBRE
            for fibre in order[: count * FIBRE].reshape(count, FIBRE):
                rows = tuple(np.asarray(x).reshape(-1, *x.shape[3:])[fibre] for x in inputs[index])
                loss, own = gradients(params[index], (rows, fibre % (h * w), labels[fibre // (h * w)]))
                losses[-1] += float(loss) / count
                for other in range(2):
                    if other != index and zero_grad == "none":
                        continue
                    g = own if other == index else jax.tree.map(np.zeros_like, params[other])
                    updates, states[other] = update(g, states[other])
                    updates = jax.tree.map(lambda u, rate=rates[step]: -rate * u, updates)
                    params[other] = optax.apply_updates(params[other], updates)
    return params, losses


@pytest.mark.parametrize("zero_grad", ["none", "zeros"])
def test_the_scan_is_a_plain_loop_of_steps_over_the_same_fibres(zero_grad):
    model = detector(zero_grad=zero_grad)
    history, step = trained(zero_grad)
    expected, losses = plain_loop(model, zero_grad)
    start = setup()[0]
    for ours, theirs, before in zip(*map(jax.tree.leaves, (history[-1][0], expected, start)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
        assert np.abs(theirs - before).max() > 1e-4
    np.testing.assert_allclose([m["loss"] for _, m in history], losses, rtol=1e-4)
    assert step._cache_size() == 1


def test_zeros_move_the_other_levels_and_none_leaves_them():
    """The modes differ: in the second batch, level 1 moves by its momentum while level 0 is trained."""
    a, b = (trained(zero_grad)[0][-1][0] for zero_grad in ("none", "zeros"))
    assert np.abs(a[1].flow.passive_kernel - b[1].flow.passive_kernel).max() > 1e-4


def test_the_result_does_not_depend_on_the_number_of_devices():
    one, eight = (trained(devices=n)[0] for n in (1, 8))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4)


def test_shuffled_rows_are_distinct_and_shared_out():
    order = np.asarray(_shuffled(jax.random.key(0), 50, 12, 4))
    assert order.shape == (4, 4, 3)
    assert len(np.unique(order)) == 48
    assert order.max() < 50
    assert not np.array_equal(order.ravel(), np.sort(order.ravel()))
    assert _shuffled(jax.random.key(0), 8, 12, 4).shape == (1, 4, 2), "fewer vectors than a fibre: all"


# AltUB's alternation, with and without fibres


def altub(interval=2, started=0, clip=0.0, clip_by="norm", rate=0.5):
    return alternating(
        make_adam(),
        "base",
        frozen=lambda step: step % interval == 0,
        started=lambda step: step >= started,
        rate=lambda step: rate * LEARNING_RATE(step),
        clip=clip,
        clip_by=clip_by,
    )


@pytest.mark.parametrize("fibre", [0, FIBRE])
def test_the_flow_rests_in_frozen_epochs_and_the_base_takes_sgd(fibre):
    model = detector(fibre=fibre, zero_grad="none")
    optimizer = per_level(altub()) if fibre else altub()
    history, step = run(model, optimizer, steps=3)
    assert step._cache_size() == 1, "both kinds of epoch are one program"
    frames = [setup()[0], *(params for params, _ in history)]
    for index in range(2):
        flows = [jax.tree.leaves(frame[index].flow) for frame in frames]
        same = [
            all(np.array_equal(a, b) for a, b in zip(*pair, strict=True))
            for pair in ((flows[0], flows[1]), (flows[1], flows[2]), (flows[2], flows[3]))
        ]
        assert same == [True, False, True]
        bases = [frame[index].base.mean for frame in frames]
        assert all(np.abs(a - b).max() > 0 for a, b in itertools.pairwise(bases))
    if not fibre:  # the first step is frozen: plain SGD on the closed-form gradient
        params, constants, features, labels = setup()
        inputs = model.prepare(constants, features, labels)
        gradient = jax.jit(jax.grad(lambda p: model.loss(p, constants, inputs, labels, WEIGHTS)[0]))(params)
        expected = -0.5 * LEARNING_RATE(0) * np.asarray(gradient[0].base.mean)
        np.testing.assert_allclose(history[0][0][0].base.mean, expected, atol=1e-7)


def test_before_its_start_the_base_stays_and_nothing_is_frozen():
    model = detector(fibre=0)
    history, _ = run(model, altub(started=2), steps=3)
    frames = [setup()[0], *(params for params, _ in history)]
    moved = [np.abs(a[0].base.mean - b[0].base.mean).max() > 0 for a, b in itertools.pairwise(frames)]
    assert moved == [False, False, True]
    flow = [np.abs(a[0].flow.gamma - b[0].flow.gamma).max() > 0 for a, b in itertools.pairwise(frames)]
    assert flow == [True, True, False]


@pytest.mark.parametrize(("clip_by", "expected"), [("norm", [3.0, 4.0]), ("value", [5.0, 5.0])])
def test_clipping_is_of_the_base_alone(clip_by, expected):
    """Gradients 6 and 8 have a norm of 10; bounded by 5 they are 3 and 4, or 5 and 5."""
    _, level = setup()[0]
    zeros = jax.tree.map(np.zeros_like, level)
    mean = zeros.base.mean.copy()
    mean.flat[:2] = [6.0, 8.0]
    gradients = zeros._replace(
        base=zeros.base._replace(mean=mean), flow=jax.tree.map(lambda x: x + 100.0, zeros.flow)
    )
    optimizer = altub(clip=5.0, clip_by=clip_by, rate=1.0)
    updates, _ = optimizer.update(gradients, optimizer.init(level), level, step=jnp.asarray(0))
    np.testing.assert_allclose(-updates.base.mean.ravel()[:2] / LEARNING_RATE(0), expected, rtol=1e-5)
    updates, _ = optimizer.update(gradients, optimizer.init(level), level, step=jnp.asarray(1))
    np.testing.assert_allclose(updates.flow.gamma, -LEARNING_RATE(1), rtol=1e-4)  # Adam, unclipped
