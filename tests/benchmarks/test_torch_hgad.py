"""The published recipe in PyTorch is what our preset `paper` is: losses, gradients, steps, saved states."""

import importlib
import io

import jax
import numpy as np
import pytest
from test_flow_benchmark import BENCHMARKS

from hgad_jax import detectors
from hgad_jax.config import get_config
from hgad_jax.runs.mesh import data_mesh
from hgad_jax.runs.model import Model
from hgad_jax.training.loop import make_schedule, make_step
from hgad_jax.training.step import init_state

SIZES = ((3, 4, 8), (2, 2, 7))
CLASSES, IMAGES = 3, 8
TERMS = ("likelihood", "mutual_information", "entropy", "intra", "log_sigmoid")


@pytest.fixture(scope="module")
def torch_hgad():
    pytest.importorskip("torch")
    pytest.importorskip("FrEIA", reason="needs the extra 'bench'")
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("torch_hgad")


def make_config(stage_two_epoch):
    config = get_config("hgad_folder", "paper")
    config.detector.update(num_blocks=2, condition_channels=8, num_centres=4)
    # Steps large beside float32's rounding; weight decay that shows beside them.
    config.train.update(learning_rate=0.02, weight_decay=0.1, stage_two_epoch=stage_two_epoch)
    return config


@pytest.fixture(params=[16.0, 0.0], ids=["stage one", "stage two"])
def problem(torch_hgad, request):
    """Config, schedule and a model of PyTorch's, a batch to train on."""
    config = make_config(request.param)
    schedule = make_schedule(config, detectors.create(config.detector, CLASSES), 5 * IMAGES)
    published = torch_hgad.PublishedHGAD(config, SIZES, CLASSES, schedule, seed=1)
    rng = np.random.default_rng(0)
    batch = tuple(rng.standard_normal((IMAGES, *size), np.float32) for size in SIZES)
    return config, schedule, published, batch, rng.integers(0, CLASSES, IMAGES).astype(np.int32)


def test_initial_values_are_the_published_ones(problem):
    _, _, published, *_ = problem
    params, constants = jax.device_get(published.model())
    for level, fixed, (*_, channels) in zip(params, constants, SIZES, strict=True):
        np.testing.assert_allclose(0.2 * np.log1p(np.exp(level.flow.gamma / 2)), 1.0, rtol=1e-6)
        assert not level.flow.offset.any()
        fan_in = channels - channels // 2 + 8
        assert 0.95 < np.sqrt(fan_in) * abs(level.flow.passive_kernel).max() <= 1.0
        distance = np.linalg.norm(level.base.centres[0] - level.base.centres[1])
        copies = channels // CLASSES
        np.testing.assert_allclose(distance, 5 * np.sqrt(2 * copies / (2 * channels // CLASSES)), rtol=1e-5)
        assert 0.6 < level.base.deltas.std() < 1.4
        assert not level.base.class_logits.any()
        assert not level.base.centre_logits.any()
        for rotation in fixed.mixing:
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(channels), atol=1e-5)


def test_losses_and_gradients_are_ours(problem, torch_hgad):
    import torch

    config, schedule, published, batch, labels = problem
    detector = detectors.create(config.detector, CLASSES)
    params, constants = published.model()
    weights = jax.device_get(schedule.loss_weights(0))
    stage_two = bool(weights["intra"])
    found = published.step(0, batch, labels)  # of the values before it

    def total(params):
        return detector.loss(params, constants, detector.prepare(constants, batch, labels), labels, weights)

    gradients, metrics = jax.grad(total, has_aux=True)(params)
    for index, terms in enumerate(found):
        assert set(terms) == set(TERMS if stage_two else TERMS[:3])
        for name, value in terms.items():
            np.testing.assert_allclose(metrics[f"level{index}/{name}"], value, rtol=2e-5, atol=1e-6)

    fresh = torch_hgad.PublishedHGAD(config, SIZES, CLASSES, schedule, seed=1)
    ids = torch.from_numpy(labels.astype(np.int64))
    for level, maps, ours in zip(fresh.levels, batch, gradients, strict=True):
        terms = level.losses(torch.from_numpy(maps), ids, stage_two=stage_two)
        sign = {"mutual_information": -1.0}
        sum(sign.get(n, 1.0) * float(weights[n]) * value for n, value in terms.items()).backward()
        theirs = torch_hgad.freia_flow.to_params(level.flow, torch_hgad.freia_flow.gradients)
        for name, a, b in zip(theirs._fields, ours.flow, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5 * abs(b).max(), err_msg=name)
        for name, a in ours.base._asdict().items():
            b = getattr(level, name).grad
            if name in ("deltas", "centre_logits") and not stage_two:
                assert b is None, "no gradient, so that Adam leaves them alone"
                assert not a.any()
            else:
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5 * float(abs(b).max()), err_msg=name)


def test_steps_are_ours(problem):
    """Three batches of a step per level are three joint steps of the preset."""
    config, schedule, published, batch, labels = problem
    params, constants = jax.tree.map(np.array, published.model())
    mesh = data_mesh(jax.devices()[:1])
    detector = detectors.create(config.detector, CLASSES)
    step = make_step(config, Model(None, detector, CLASSES), schedule, mesh)
    state = init_state(jax.tree.map(jax.numpy.asarray, params), schedule.optimizer)
    for number in range(3):
        state, _ = step(state, constants, batch, labels)
        published.step(number, batch, labels)
    theirs, _ = published.model()
    for ours, expected, before in zip(
        *(jax.tree.leaves_with_path(t) for t in (state.params, theirs, params)), strict=True
    ):
        moved, wanted = np.asarray(ours[1] - before[1]), np.asarray(expected[1] - before[1])
        largest = abs(wanted).max()
        name = jax.tree_util.keystr(ours[0])
        if name.endswith(("deltas", "centre_logits")) and not schedule.loss_weights(0)["intra"]:
            assert not largest, name
        else:
            assert largest > 1e-3, name
        # Where a gradient is zero but for rounding, Adam's first steps follow its sign: the mean tells more.
        assert abs(moved - wanted).mean() <= 2e-3 * largest, name


@pytest.mark.parametrize("zero_grad", ["none", "zeros"])
def test_steps_into_stage_two_are_ours(torch_hgad, zero_grad):
    """Adam counts a class's further centres and weights from their first gradient on."""
    config = make_config(2 / 5)  # two batches of five an epoch
    config.detector.zero_grad = zero_grad
    detector = detectors.create(config.detector, CLASSES)
    schedule = make_schedule(config, detector, 5 * IMAGES)
    assert [bool(schedule.loss_weights(step)["intra"]) for step in range(4)] == [False, False, True, True]
    published = torch_hgad.PublishedHGAD(config, SIZES, CLASSES, schedule, seed=1)
    rng = np.random.default_rng(0)
    batch = tuple(rng.standard_normal((IMAGES, *size), np.float32) for size in SIZES)
    labels = rng.integers(0, CLASSES, IMAGES).astype(np.int32)
    params, constants = jax.tree.map(np.array, published.model())
    step = make_step(config, Model(None, detector, CLASSES), schedule, data_mesh(jax.devices()[:1]))
    state = init_state(jax.tree.map(jax.numpy.asarray, params), schedule.optimizer)
    for number in range(4):
        state, _ = step(state, constants, batch, labels)
        published.step(number, batch, labels)
    theirs, _ = published.model()
    for ours, expected, before in zip(
        *(jax.tree.leaves_with_path(t) for t in (state.params, theirs, params)), strict=True
    ):
        moved, wanted = np.asarray(ours[1] - before[1]), np.asarray(expected[1] - before[1])
        assert abs(moved - wanted).mean() <= 2e-3 * abs(wanted).max(), jax.tree_util.keystr(ours[0])


def test_learning_rate_is_the_published_schedule(problem, torch_hgad):
    """By the formulas of the released code: I batches a pass, meta-epochs of eight passes."""
    _, schedule, published, batch, labels = problem
    base, each = 0.02, 5

    def cosine(meta):
        low = base * 0.1**3
        return low + (base - low) * (1 + np.cos(np.pi * meta / 25)) / 2

    for done in (0, 1, 79, 80, 119, 120, 200, 999):
        meta, in_meta = divmod(done, 8 * each)
        expected = cosine(meta)
        if meta < 2:
            expected = 0.1 * base + (in_meta + meta * 8 * each) / (16 * each) * (cosine(2) - 0.1 * base)
        published.step(done, batch, labels)
        rates = [group["lr"] for group in published.optimizer.param_groups]
        np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert schedule.steps == 200 * each


def test_a_restored_model_goes_on_as_it_would_have(problem, torch_hgad):
    import torch

    config, schedule, published, batch, labels = problem
    published.step(0, batch, labels)
    file = io.BytesIO()
    torch.save(published.state(), file)
    file.seek(0)
    other = torch_hgad.PublishedHGAD(config, SIZES, CLASSES, schedule, seed=2)
    other.restore(torch.load(file, weights_only=True))
    for model in (published, other):
        model.step(1, batch, labels)
    jax.tree.map(np.testing.assert_array_equal, published.model(), other.model())
