"""A bank of centres beside a detector: both give evidence, and neither changes the other."""

import functools

import jax
import numpy as np
import pytest

from hgad_jax import detectors
from hgad_jax.config import get_config
from hgad_jax.detectors.beside import Pair
from hgad_jax.detectors.patchcore import patchcore
from hgad_jax.runs.mesh import data_mesh, per_image, replicate, shard_batch
from hgad_jax.training.loop import make_schedule
from hgad_jax.training.step import init_state, make_train_step

OWN, BANKS = (2, 3, 6), ((4, 6, 5), (2, 3, 7))
IMAGES, CLASSES = 8, 2
SMALL = {
    "detector.num_blocks": 1,
    "detector.condition_channels": 4,
    "detector.num_centres": 2,
    "detector.regions": 2,
    "detector.shrinkage": 0.1,
    "train.positions": 0,
    "train.batch_size": 8,
    "bank.size": 20,
    "bank.candidates": 50,
}
BANK = {"bank_size": 20, "bank_candidates": 50, "bank_projection": 64, "bank_kernel": "gaussian"}
LABELS = np.arange(IMAGES, dtype=np.int32) % CLASSES


def config(name="hgad", **changes):
    found = get_config(f"{name}_folder")
    known = {k: v for k, v in SMALL.items() if k.split(".")[1] in found[k.split(".")[0]]}
    found.update_from_flattened_dict(known | changes)
    return found


def features(sizes, seed):
    rng = np.random.default_rng(seed)
    return tuple(
        (rng.normal(size=(IMAGES, *size)) + 2 * LABELS[:, None, None, None]).astype(np.float32)
        for size in sizes
    )


@functools.cache
def made(name="hgad", **changes):
    """The detector alone and with a bank, with what each was fitted to."""
    settings = config(name, **changes)
    alone = detectors.create(settings.detector, CLASSES)
    both = detectors.with_bank(alone, settings.bank, CLASSES, len(BANKS))
    levels = features((OWN, *BANKS), 0)
    batches = [lambda level=level: [(level, LABELS)] for level in levels]
    return (
        settings,
        alone,
        both,
        *(d.init(jax.random.key(0), batches[:n]) for d, n in ((alone, 1), (both, 3))),
    )


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("name", ["hgad", "cflow", "padim"])
@pytest.mark.parametrize("class_ids", [None, LABELS])
def test_the_evidence_is_that_of_both(name, class_ids):
    _, alone, both, (params, constants), (params_too, pair) = made(name)
    assert_equal((params_too, pair.trained), (params, constants))
    levels = features((OWN, *BANKS), 1)
    found = jax.jit(both.evidence)(params_too, pair, levels, class_ids)
    own = jax.jit(alone.evidence)(params, constants, levels[:1], class_ids)
    assert_equal(found.class_log_prob, own.class_log_prob)
    assert_equal(found.log_likelihood[0], own.log_likelihood[0])
    assert [m.shape[1:] for m in found.log_likelihood] == [OWN[:2], *(size[:2] for size in BANKS)]
    np.testing.assert_array_equal(found.class_ids, LABELS)
    fitted_params, fitted_constants = pair.fitted
    alone = patchcore(num_classes=CLASSES, join=False, **BANK)
    for k in range(CLASSES):  # each image by the bank of its class
        own, rest = np.flatnonzero(k == LABELS), np.flatnonzero(k != LABELS)
        of_class = alone.evidence(fitted_params, fitted_constants, levels[1:], np.full(IMAGES, k, np.int32))
        for both_found, bank_found in zip(found.log_likelihood[1:], of_class.log_likelihood, strict=True):
            np.testing.assert_allclose(both_found[own], bank_found[own], rtol=1e-5, atol=1e-5)
            assert not np.any(both_found[rest] == bank_found[rest])
    for entropy in found.negative_entropy[1:]:
        assert not np.any(entropy)
    spread = per_image(both.evidence, replicated=2, mesh=data_mesh(jax.devices()[:2]))
    for a, b in zip(
        jax.tree.leaves(spread(params_too, pair, levels, None)), jax.tree.leaves(found), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_vector_of_training_is_likelier_than_one_that_is_far():
    *_, both, _, (params, pair) = made()
    levels = features((OWN, *BANKS), 0)
    moved = (levels[0], *(level + 3 for level in levels[1:]))
    near, far = (both.evidence(params, pair, x, LABELS).log_likelihood for x in (levels, moved))
    for a, b in zip(near[1:], far[1:], strict=True):
        assert np.all(np.mean(a, (1, 2)) > np.mean(b, (1, 2)))


def test_abstract_is_what_init_makes():
    *_, both, _, made_of = made()
    abstract = both.abstract((OWN, *BANKS))
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (made_of, abstract)]
    assert shapes[0] == shapes[1]
    assert isinstance(made_of[1], Pair)


@pytest.mark.parametrize(("name", "changes"), [("hgad", {}), ("cflow", {"detector.fibre": 8})])
def test_training_is_the_same_with_and_without_it(name, changes):
    """Steps are given the detector's own levels alone."""
    settings, alone, both, *fitted = made(name, **changes)
    mesh, levels = data_mesh(jax.devices()[:2]), features((OWN,), 2)
    states = []
    for detector, (params, constants) in zip((alone, both), fitted, strict=True):
        schedule = make_schedule(settings, detector, 64)
        step = make_train_step(
            detector, schedule.optimizer, schedule.loss_weights, mesh, micro_batches=1, seed=0
        )
        copies = jax.tree.map(np.array, params)  # a step takes them
        state = replicate(mesh, init_state(copies, schedule.optimizer))
        for _ in range(2):
            state, metrics = step(state, replicate(mesh, constants), *shard_batch(mesh, (levels, LABELS)))
        states.append((jax.device_get(state), jax.device_get(metrics)))
    assert_equal(states[0], states[1])


def test_held_out_likelihoods_are_of_the_trained_levels():
    _, alone, both, (params, constants), (params_too, pair) = made()
    levels = features((OWN,), 3)
    expected = alone.log_likelihood(params, constants, levels, LABELS)
    assert_equal(both.log_likelihood(params_too, pair, levels, LABELS), expected)
    assert len(expected) == 1
