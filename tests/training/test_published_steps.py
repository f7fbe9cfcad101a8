"""Optimiser steps as the released codes take them, against float64 NumPy: counts of Adam, gradients of zero.

The oracle keeps a gradient of None where PyTorch does: a parameter that no loss has depended on yet.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import test_fibre_step as fibres
import test_step as joint

from hgad_jax import detectors
from hgad_jax.detectors.compose import LevelParams
from hgad_jax.training.adam import adam
from hgad_jax.training.optimizers import alternating
from hgad_jax.training.step import data_mesh, init_state, make_train_step

RATE = optax.linear_schedule(1e-2, 2e-3, 6)


class PublishedAdam:
    """PyTorch's Adam over a list of arrays, float64; a gradient of None leaves its array alone."""

    def __init__(self, values, *, betas, decay):
        self.values = [np.asarray(v, np.float64) for v in values]
        self._betas, self._decay = betas, decay
        self._state = [(0, np.zeros_like(v), np.zeros_like(v)) for v in self.values]

    def step(self, rate, gradients):
        a, b = self._betas
        for i, gradient in enumerate(gradients):
            if gradient is None:
                continue
            count, mean, square = self._state[i]
            g = np.asarray(gradient, np.float64) + self._decay[i] * self.values[i]
            count, mean, square = count + 1, a * mean + (1 - a) * g, b * square + (1 - b) * g**2
            self._state[i] = count, mean, square
            scale = np.sqrt(square / (1 - b**count)) + 1e-8
            self.values[i] = self.values[i] - rate * mean / (1 - a**count) / scale


def test_each_array_counts_from_its_first_gradient_on():
    """Of four steps the base gets a gradient in the last two only; the penalty is of the flow alone."""
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(3, 4)).astype(np.float32) for _ in range(2)]
    oracle = PublishedAdam(start, betas=(0.95, 0.99), decay=(0.1, 0.0))
    ours = adam(RATE, beta1=0.95, beta2=0.99, weight_decay=0.1, clip_norm=0.0, count="gradients")
    steps = adam(RATE, beta1=0.95, beta2=0.99, weight_decay=0.1, clip_norm=0.0, count="steps")

    def levels(flow, base):
        return (LevelParams({"x": jnp.asarray(flow)}, {"x": jnp.asarray(base)}),)

    trained = {}
    gradients = [rng.normal(size=(2, 3, 4)).astype(np.float32) for _ in range(4)]
    for name, optimizer in (("gradients", ours), ("steps", steps)):
        params = levels(*start)
        state, update = optimizer.init(params), jax.jit(optimizer.update)
        for number, (flow, base) in enumerate(gradients):
            found = levels(flow, base if number >= 2 else np.zeros_like(base))
            updates, state = update(found, state, params, step=number)
            params = optax.apply_updates(params, updates)
        trained[name] = [params[0].flow["x"], params[0].base["x"]]
    for number, (flow, base) in enumerate(gradients):
        oracle.step(float(RATE(number)), [flow, base if number >= 2 else None])
    for found, expected in zip(trained["gradients"], oracle.values, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(trained["steps"][0], oracle.values[0], atol=2e-6)
    assert np.abs(trained["steps"][1] - oracle.values[1]).max() > 1e-3, "which is what was wrong"


SIZES, IMAGES, CLASSES, SWITCH = ((4, 4, 8), (2, 2, 8)), 8, 2, 2


@functools.cache
def problem():
    """HGAD of two levels, at its start; a batch."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, CLASSES, IMAGES).astype(np.int32)
    features = tuple(rng.normal(size=(IMAGES, *size)).astype(np.float32) for size in SIZES)
    initial = hgad("none").init(jax.random.key(0), [lambda x=x: [(x, labels)] for x in features])
    return *jax.tree.map(np.asarray, initial), features, labels


def hgad(zero_grad):
    keys = joint.KEYS | {"conditioning": "none", "per_class": False, "regions": 0, "zero_grad": zero_grad}
    keys |= {"num_blocks": 1}
    return detectors.create(keys, CLASSES)


def weights(step):
    second = jnp.where(step >= SWITCH, 1.0, 0.0)
    return joint.WEIGHTS | {"intra": second, "log_sigmoid": second}


def official(zero_grad, steps):
    """A loop over levels with one Adam for all parameters, as the released code of HGAD has it."""
    params, constants, features, labels = problem()
    detector = hgad("none")
    inputs = detector.prepare(constants, features, labels)
    leaves, structure = jax.tree.flatten(params)
    places = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    decay = [0.01 if ".flow" in place else 0.0 for place in places]
    optimizer = PublishedAdam(leaves, betas=(0.95, 0.99), decay=decay)

    @functools.partial(jax.jit, static_argnums=1)
    def gradient(values, index, step):
        def loss(params):
            return detector.level_loss(params, constants, inputs, labels, weights(step), index)[0]

        return jax.tree.leaves(jax.grad(loss)(structure.unflatten(values)))

    known = [False] * len(leaves)
    for step in range(steps):
        for index in range(len(SIZES)):
            found = gradient([v.astype(np.float32) for v in optimizer.values], index, step)
            own = [
                place.startswith(f"[{index}]")
                and (step >= SWITCH or not place.endswith((".deltas", ".centre_logits")))
                for place in places
            ]
            before = known if zero_grad == "zeros" else [False] * len(own)
            known = [k or o for k, o in zip(before, own, strict=True)]
            optimizer.step(float(RATE(step)), [g if k else None for g, k in zip(found, known, strict=True)])
    return structure.unflatten(optimizer.values)


def ours(zero_grad, steps, *, micro_batches=1, devices=1):
    params, constants, features, labels = problem()
    optimizer = adam(RATE, beta1=0.95, beta2=0.99, weight_decay=0.01, clip_norm=0.0, count="gradients")
    mesh = data_mesh(jax.devices()[:devices])
    step = make_train_step(hgad(zero_grad), optimizer, weights, mesh, micro_batches=micro_batches)
    state = fibres.replicate(mesh, init_state(jax.tree.map(jnp.array, params), optimizer))
    batch = fibres.shard_batch(mesh, (features, labels))
    constants, metrics = fibres.replicate(mesh, constants), {}
    for _ in range(steps):
        state, metrics = step(state, constants, *batch)
    return jax.device_get(state.params), jax.device_get(metrics)


@pytest.mark.parametrize("zero_grad", [pytest.param("none", marks=pytest.mark.slow), "zeros"])
def test_steps_of_hgad_are_the_released_ones_through_both_stages(zero_grad):
    params, metrics = ours(zero_grad, 5)
    expected = official(zero_grad, 5)
    start = problem()[0]
    for (path, a), b, before in zip(
        jax.tree_util.tree_leaves_with_path(params), *map(jax.tree.leaves, (expected, start)), strict=True
    ):
        name = jax.tree_util.keystr(path)
        assert np.abs(b - before).max() > 1e-3, name
        # Where a gradient is zero but for rounding, Adam's first steps follow its sign: the mean tells more.
        assert np.abs(a - b).mean() < 2e-3 * np.abs(b - before).max(), name
    assert set(metrics) > {"level0/likelihood", "level1/intra", "loss", "gradient_norm"}


@pytest.mark.slow
def test_the_two_ways_of_pytorch_differ_by_the_momentum_of_other_levels():
    """As before PyTorch 2: parameters move some √2 times as far with two levels, once momentum is there."""
    none, zeros = (ours(mode, 5)[0] for mode in ("none", "zeros"))
    assert np.abs(none[0].flow.passive_kernel - zeros[0].flow.passive_kernel).max() > 3e-3


@pytest.mark.slow
@pytest.mark.devices(8)
def test_a_split_batch_takes_the_same_steps():
    whole, metrics = ours("zeros", 2)
    for settings in ({"micro_batches": 4}, {"devices": 2, "micro_batches": 2}):
        parts, also = ours("zeros", 2, **settings)
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
            assert np.abs(a - b).mean() < 1e-4
        assert also["loss"] == pytest.approx(metrics["loss"], rel=1e-4)


@functools.cache
def gradient_of_fibres():
    """(values of all parameters, level, rows of a fibre) → its gradient; compiled once."""
    model = fibres.detector(zero_grad="zeros")
    params, constants, *_ = fibres.setup()
    structure = jax.tree.structure(params)

    @functools.partial(jax.jit, static_argnums=1)
    def gradient(values, index, rows):
        def loss(params):
            level = params[index], constants[index]
            return model.fibres.loss(*level, *rows, fibres.SIZES[index][:2], fibres.WEIGHTS)[0]

        return jax.tree.leaves(jax.grad(loss)(structure.unflatten(values)))

    return gradient


def cflow_batches(*, skipped, batches=2):
    """One Adam for two levels, fibre after fibre; whether what has no gradient yet is left alone."""
    model, gradient = fibres.detector(zero_grad="zeros"), gradient_of_fibres()
    params, constants, features, labels = fibres.setup()
    inputs = model.prepare(constants, features, labels)
    leaves, structure = jax.tree.flatten(params)
    places = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    optimizer = PublishedAdam(leaves, betas=(0.9, 0.999), decay=[0.0] * len(leaves))

    known = [not skipped] * len(leaves)
    for step in range(batches):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(fibres.SEED), step), 2)
        for index, (h, w, _) in enumerate(fibres.SIZES):
            order = np.asarray(jax.random.permutation(keys[index], fibres.IMAGES * h * w))
            known = [k or p.startswith(f"[{index}]") for k, p in zip(known, places, strict=True)]
            for chosen in order[: len(order) // fibres.FIBRE * fibres.FIBRE].reshape(-1, fibres.FIBRE):
                rows = tuple(np.asarray(x).reshape(-1, *x.shape[3:])[chosen] for x in inputs[index])
                of_fibre = (rows, chosen % (h * w), labels[chosen // (h * w)])
                values = [v.astype(np.float32) for v in optimizer.values]
                gradients = gradient(values, index, of_fibre)
                rate = float(fibres.LEARNING_RATE(step))
                optimizer.step(rate, [g if k else None for g, k in zip(gradients, known, strict=True)])
    return structure.unflatten(optimizer.values)


def test_cflow_skips_levels_that_have_no_gradient_yet_in_the_very_first_batch():
    model = fibres.detector(zero_grad="zeros")
    settings = {"beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "clip_norm": 0.0}
    optimizer = adam(fibres.LEARNING_RATE, **settings, count="gradients")
    found = fibres.run(model, optimizer)[0][-1][0]
    expected, fed = (cflow_batches(skipped=skipped) for skipped in (True, False))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-5)
    wrong = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (fed[1], expected[1])), strict=True)]
    assert max(wrong) > 1e-3, "gradients of zero from the start are not the same"


def test_the_base_of_altub_begins_with_its_own_first_gradient():
    """Off in the warm-up: its first step is as long as a first step of Adam is, whatever came before."""
    start = (LevelParams({"x": jnp.ones(3)}, {"x": jnp.zeros(3)}),)
    inner = adam(
        lambda step: 0.01, beta1=0.9, beta2=0.999, weight_decay=0.0, clip_norm=0.0, count="gradients"
    )
    optimizer = alternating(
        inner,
        "base",
        frozen=lambda step: step < 0,
        started=lambda step: step >= 3,
        rate=lambda step: 0.0,
        clip=0.0,
        clip_by="norm",
    )
    state, update, params = optimizer.init(start), jax.jit(optimizer.update), start
    moved = []
    for step in range(4):
        gradients = (LevelParams({"x": jnp.ones(3)}, {"x": jnp.full(3, 5.0 if step < 3 else -1.0)}),)
        updates, state = update(gradients, state, params, step=jnp.asarray(step))
        moved.append(float(updates[0].base["x"][0]))
    assert moved[:3] == [0.0, 0.0, 0.0]
    assert moved[3] == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize(("decayed", "moves"), [(("flow",), False), (("flow", "base"), True)])
def test_the_penalty_of_altub_is_of_mean_and_log_scale_if_asked_for(decayed, moves):
    optimizer = adam(
        lambda step: 0.01, beta1=0.9, beta2=0.999, weight_decay=0.5, clip_norm=0.0, decayed=decayed
    )
    params = (LevelParams({"x": jnp.ones(3)}, {"x": jnp.ones(3)}),)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params, step=0)
    np.testing.assert_allclose(updates[0].flow["x"], -0.01, rtol=1e-4)
    np.testing.assert_allclose(updates[0].base["x"], -0.01 if moves else 0.0, rtol=1e-4)
