"""One program on any number of devices: the same gradients, one exchange a step, the same scores."""

import functools
import itertools
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hgad_jax import detectors
from hgad_jax.config import get_config
from hgad_jax.runs.mesh import data_mesh, per_image, replicate, shard_batch, shard_rows
from hgad_jax.training import loop
from hgad_jax.training.step import init_state, make_train_step

pytestmark = pytest.mark.devices(8)

IMAGES, SIDE, CHANNELS, STEPS = 16, 4, 6, 20
EXCHANGES = r"\b(all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast)"
SMALL = {"detector.num_blocks": 2, "detector.regions": 2, "train.epochs": 10.0, "train.batch_size": 8}
FIBRE = 24  # of 128 and 32 vectors: five steps of the optimiser on the first level, one on the second
DETECTORS = {
    "hgad": (
        lambda: get_config("hgad_folder"),
        {"detector.condition_channels": 8, "detector.num_centres": 2, "train.stage_two_epoch": 5.0},
    ),
    "cflow": (
        lambda: get_config("cflow_folder"),
        {"detector.condition_channels": 8, "detector.fibre": FIBRE},
    ),
    "fastflow": (
        lambda: get_config("fastflow_folder", "altub"),
        {"altub.freeze_interval": 2},
    ),  # every other epoch
}
ALL = [pytest.param(name, marks=[] if name == "hgad" else pytest.mark.slow) for name in DETECTORS]


class Model(NamedTuple):
    """A detector of two levels, its parameters, and features to train on."""

    config: Any
    detector: detectors.Detector
    data: tuple  # features, labels
    params: Any
    constants: Any


@functools.cache
def model(name):
    get_config, changes = DETECTORS[name]
    config = get_config()
    config.update_from_flattened_dict(SMALL | changes)
    detector = detectors.create(config.detector, 2)
    rng = np.random.default_rng(0)
    shapes = [(IMAGES, SIDE, SIDE, CHANNELS), (IMAGES, SIDE // 2, SIDE // 2, CHANNELS + 2)]
    features = tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)
    labels = np.arange(IMAGES, dtype=np.int32) % 2
    params, constants = detector.init(
        jax.random.key(0), [lambda level=level: [(level, labels)] for level in features]
    )
    return Model(config, detector, (features, labels), params, constants)


def build(name, devices):
    config, detector, _, params, constants = model(name)
    schedule = loop.make_schedule(config, detector, num_examples=IMAGES)
    mesh = data_mesh(jax.devices()[:devices])
    state = replicate(mesh, init_state(jax.tree.map(jnp.copy, params), schedule.optimizer))
    step = make_train_step(detector, schedule.optimizer, schedule.loss_weights, mesh)
    return mesh, step, state, replicate(mesh, constants)


def batch(name, mesh, number):
    features, labels = model(name).data
    rows = (np.arange(8) + 8 * number) % IMAGES
    return shard_batch(mesh, (tuple(level[rows] for level in features), labels[rows]))


def exchanges(name):
    """The lines of the compiled step by what they exchange: kind → how many numbers each line does."""
    mesh, step, state, constants = build(name, 8)
    program = step.lower(state, constants, *batch(name, mesh, 0)).compile().as_text()
    found = {}
    for line in program.splitlines():
        if match := re.search(EXCHANGES + r"(?:-start)?\(", line):
            shapes = re.findall(r"\b[fsu]\d+\[([\d,]*)\]", line[: match.start()])
            sizes = (int(np.prod([int(n) for n in shape.split(",") if n])) for shape in shapes)
            found.setdefault(match[1], []).append(sum(sizes))
    return found


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", [ALL[0], ALL[2]])
def test_a_step_exchanges_once_and_nothing_but_gradients_and_metrics(name):
    terms = {"hgad": 5, "fastflow": 1}[name]  # of the loss, for each level
    assert exchanges(name) == {"all-reduce": [count(model(name).params) + 1 + 2 * terms]}, "with the loss"


@pytest.mark.slow
def test_a_fibre_exchanges_once_and_a_batch_once_more():
    """Once in the program for each level, inside its loop: executed once for each step of the optimiser."""
    found = exchanges("cflow")
    gradients = [count(level) + 3 for level in model("cflow").params]  # and the loss with its two terms
    assert sorted(found.pop("all-reduce")) == sorted(gradients)
    positions = 8 * SIDE * SIDE * (1 + 1 / 4)
    vectors = 8 * (SIDE * SIDE * CHANNELS + (SIDE // 2) ** 2 * (CHANNELS + 2))
    assert sum(found.pop("all-gather")) == vectors + positions, "inputs and log-dets of the whole batch"
    assert not found


@pytest.mark.parametrize("devices", [(8,), pytest.param((2, 4), marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ALL)
def test_any_number_of_devices_gives_the_same_loss_curve(name, devices):
    curves, several = {}, devices
    for devices in (1, *several):
        mesh, step, state, constants = build(name, devices)
        pending, flows = [], [flow_of(state)]
        for number in range(STEPS):  # hgad: the second half in stage two
            state, metrics = step(state, constants, *batch(name, mesh, number))
            pending.append(metrics["loss"])
            flows.append(flow_of(state))
        curves[devices] = np.array(jax.device_get(pending))
        assert step._cache_size() == 1
        rested = [np.array_equal(before, after) for before, after in itertools.pairwise(flows)]
        expected = [name == "fastflow" and number // 2 % 2 == 0 for number in range(STEPS)]
        assert rested == expected, "both kinds of step of AltUB"
    assert np.ptp(curves[1][:10]) > 1e-3, "it learns, by far more than the tolerance"
    for devices in several:
        np.testing.assert_allclose(curves[devices], curves[1], rtol=1e-5)


def flow_of(state):
    """A weight of the flow that every ordinary step moves."""
    return np.asarray(jax.tree.leaves(state.params[0].flow)[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_any_number_of_devices_gives_the_same_scores_of_any_number_of_images(name):
    _, detector, (features, labels), params, constants = model(name)
    alone = {
        ids is None: jax.jit(detector.evidence)(params, constants, features, ids) for ids in (None, labels)
    }
    cases = [(1, 16, None), (2, 11, None), (4, 16, None), (8, 11, None), (8, 1, None), (8, 11, labels)]
    for devices, number, ids in cases:  # 11 and 1 are filled up
        evidence = per_image(detector.evidence, replicated=2, mesh=data_mesh(jax.devices()[:devices]))
        part = tuple(level[:number] for level in features)
        found = evidence(params, constants, part, None if ids is None else ids[:number])
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(alone[ids is None]), strict=True):
            assert a.shape == (number, *b.shape[1:])
            np.testing.assert_allclose(a, b[:number], rtol=1e-5, atol=1e-5)


def test_rows_that_belong_together_stay_on_one_device_and_arguments_are_placed_once():
    """As tiles of an image: here each row gets the sum of its pair."""

    def pair_sums(scale, x):
        return jnp.repeat(x.reshape(-1, 2).sum(1), 2) * jnp.broadcast_to(scale, x.shape)

    spread = per_image(pair_sums, replicated=1, together=2)
    x = np.arange(6.0, dtype=np.float32)
    for scale in (np.float32(2), np.float32(3)):  # another argument is another result
        np.testing.assert_array_equal(spread(scale, x), scale * np.array([1, 1, 5, 5, 9, 9]))


@pytest.mark.slow
def test_two_thousand_steps_need_no_more_memory_and_no_new_program():
    mesh, step, state, constants = build("hgad", 1)
    batches = [batch("hgad", mesh, number) for number in (0, 1)]
    alive = {}
    for number in range(2000):
        state, metrics = step(state, constants, *batches[number % 2])
        if number in (499, 1999):
            jax.device_get(metrics)
            alive[number] = len(jax.live_arrays()), resident()
    assert step._cache_size() == 1
    assert alive[1999][0] == alive[499][0], "arrays on devices"
    parameters = 4 * count(state)
    assert alive[1999][1] - alive[499][1] < 1500 * parameters / 4, "bytes of the process, of 1,500 states"


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_a_process_puts_its_slice_of_a_batch_on_its_devices():
    mesh = data_mesh(jax.devices()[::-1])
    assert list(mesh.devices) == jax.devices(), "processes and their devices in order"
    values = np.arange(32.0, dtype=np.float32).reshape(16, 2)
    (placed,) = shard_rows(mesh, (values,), 16)  # the only process
    np.testing.assert_array_equal(placed, values)
    for shard in placed.addressable_shards:
        np.testing.assert_array_equal(shard.data, values[2 * shard.device.id : 2 * shard.device.id + 2])
