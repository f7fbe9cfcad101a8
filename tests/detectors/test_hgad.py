"""The detector against the published implementation, and the properties every detector has."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.special
from reference import assert_close_to_largest

from hgad_jax import detectors
from hgad_jax.distributions import mixture
from hgad_jax.flows import flow
from hgad_jax.flows.conditioning import apply_affine
from hgad_jax.flows.grid import Grid, take

SIZES = ((4, 4, 8), (2, 2, 8))  # h, w, C of each level
CLASSES = 3
CONDITIONING = {
    "none": {"conditioning": "none", "per_class": False, "regions": 0},
    "none_class": {"conditioning": "none", "per_class": True, "regions": 2},  # as if per_class were False
    "standardize": {"conditioning": "standardize", "per_class": False, "regions": 0},
    "whiten": {"conditioning": "whiten", "per_class": False, "regions": 0},
    "whiten_position": {"conditioning": "whiten", "per_class": False, "regions": 1},
    "whiten_class": {"conditioning": "whiten", "per_class": True, "regions": 0},
    "whiten_class_regions": {"conditioning": "whiten", "per_class": True, "regions": 3},
    "whiten_class_positions": {"conditioning": "whiten", "per_class": True, "regions": 5},  # capped at 2 × 2
}
WEIGHTS = {"likelihood": 1.0, "mutual_information": 2.0, "entropy": 3.0, "intra": 0.5, "log_sigmoid": 0.25}


forward = jax.jit(functools.partial(flow.forward, clamp=1.9))
apply = jax.jit(apply_affine)


def tiny(num_classes=CLASSES, **options):
    defaults = {
        "name": "hgad",
        "num_blocks": 2,
        "condition_channels": 4,
        "hidden_ratio": 1.0,
        "clamp": 1.9,
        "identity_init": True,
        "shrinkage": 0.01,
        "num_centres": 3,
        "centre_distance": 5.0,
        "delta_scale": 0.3,
        "label_smoothing": 0.02,
    }
    return detectors.create(defaults | CONDITIONING["whiten"] | options, num_classes)


@functools.cache
def images(num_classes=CLASSES, per_class=8, seed=0):
    """Features per level and labels; every class has a mean of its own."""
    rng = np.random.default_rng(7)
    means = [2 * rng.normal(size=(num_classes, 1, 1, c)) for _, _, c in SIZES]
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(num_classes, dtype=np.int32), per_class)
    features = tuple(
        (m[labels] + rng.normal(size=(len(labels), *size))).astype(np.float32)
        for m, size in zip(means, SIZES, strict=True)
    )
    return features, labels


def batches(features, labels):
    return [lambda x=x: [(x[:5], labels[:5]), (x[5:], labels[5:])] for x in features]


def latents(detector, params, constants, features, labels):
    """Of every level; log-dets left out."""
    inputs = detector.prepare(constants, features, labels)
    return [
        np.asarray(forward(p.flow, c.mixing, x)[0])
        for p, c, (x, _) in zip(params, constants, inputs, strict=True)
    ]


@functools.cache
def fitted(setting, num_classes=CLASSES, **options):
    detector = tiny(num_classes, **(CONDITIONING[setting] | options))
    with jax.disable_jit():  # compiling the drawing of the rotations for every setting would take a minute
        return detector, *detector.init(jax.random.key(0), batches(*images(num_classes)))


@functools.cache
def evidence_of(setting):
    """Compiled once for all tests."""
    return jax.jit(fitted(setting)[0].evidence)


# The published implementation


@pytest.fixture(scope="module")
def published():
    return reference.detector(), reference.params(), reference.constants()


@pytest.fixture(scope="module")
def published_gradients(published):
    detector, params, constants = published

    inputs = detector.prepare(constants, reference.per_level("features"), reference.LABELS)

    def loss(params, weights):
        return detector.loss(params, constants, inputs, reference.LABELS, weights)

    function = jax.jit(jax.value_and_grad(loss, has_aux=True))
    return lambda stage: function(params, reference.STAGES[stage])


@pytest.mark.parametrize("stage", reference.STAGES)
def test_total_loss_and_its_gradients_equal_the_published(published_gradients, stage):
    """Through the whole flow: of the first block's last layer and scale, and of the mixture."""
    (total, metrics), gradients = published_gradients(stage)
    expected = sum(reference.level(i, f"stage{stage}/total") for i in range(reference.LEVELS))
    np.testing.assert_allclose(total, expected, rtol=5e-6)
    for i, level in enumerate(gradients):
        published_mi = reference.level(i, f"stage{stage}/L_mi")
        np.testing.assert_allclose(metrics[f"level{i}/mutual_information"], published_mi, rtol=5e-6)
        for name, actual in {
            "block0_dense2_kernel": level.flow.out_kernel[0],
            "block0_gamma": level.flow.gamma[0],
        }.items():
            assert_close_to_largest(actual, reference.flow_gradient(i, stage, name), 2e-5)
        for name, actual in {
            "mu": level.base.centres,
            "delta": level.base.deltas,
            "phi_inter": level.base.class_logits,
            "phi_intra": level.base.centre_logits,
        }.items():
            assert_close_to_largest(actual, reference.level(i, f"stage{stage}/grad_{name}"), 2e-5)


@pytest.mark.parametrize("level", range(reference.LEVELS))
def test_latents_equal_the_published(published, level):
    _, params, constants = published
    z, log_det = jax.jit(functools.partial(flow.forward, clamp=reference.CLAMP))(
        params[level].flow, constants[level].mixing, reference.level(level, "features")
    )
    np.testing.assert_allclose(z, reference.level(level, "latent"), atol=5e-5)
    np.testing.assert_allclose(log_det, reference.level(level, "log_det"), atol=5e-5)


def test_evidence_equals_the_published(published):
    detector, params, constants = published
    class_ids = jnp.full(6, int(reference.DATA["test_class"]))
    features = reference.per_level("test_features")
    evidence = jax.jit(detector.evidence)(params, constants, features, class_ids)
    for i in range(reference.LEVELS):
        expected = reference.level(i, "test_log_likelihood")
        np.testing.assert_allclose(evidence.log_likelihood[i], expected, rtol=5e-6, atol=2e-5)
        expected = reference.level(i, "test_negative_entropy")
        np.testing.assert_allclose(evidence.negative_entropy[i], expected, atol=2e-5)


# Initial values


@pytest.mark.parametrize("setting", CONDITIONING)
def test_abstract_is_what_init_makes(setting):
    detector, params, constants = fitted(setting)
    abstract = detector.abstract(SIZES)
    assert jax.tree.structure(abstract) == jax.tree.structure((params, constants))
    for shape, array in zip(jax.tree.leaves(abstract), jax.tree.leaves((params, constants)), strict=True):
        assert (shape.shape, shape.dtype) == (array.shape, array.dtype)
    for level in constants:
        assert level.first.regions.dtype == jnp.int32
    floats = (params, [(c.mixing, c.first._replace(regions=None)) for c in constants])
    assert all(array.dtype == jnp.float32 for array in jax.tree.leaves(floats))


def test_levels_start_with_different_couplings_and_rotations():
    _, params, constants = fitted("whiten", identity_init=False)
    assert not np.array_equal(params[0].flow.out_kernel, params[1].flow.out_kernel)
    assert not np.array_equal(params[0].base.deltas, params[1].base.deltas)
    assert not np.array_equal(constants[0].mixing, constants[1].mixing)


def test_init_is_reproducible_and_depends_on_the_key():
    detector, *uncompiled = fitted("whiten")
    init = functools.partial(detector.init, batches=batches(*images()))
    first, again, other = (init(jax.random.key(seed)) for seed in (0, 0, 1))
    for a, b, c in zip(*map(jax.tree.leaves, (first, again, tuple(uncompiled))), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, atol=1e-5)
    assert not np.array_equal(first[1][0].mixing, other[1][0].mixing)


def test_statistics_per_class_and_identity_couplings_put_each_class_on_its_centre():
    detector, params, constants = fitted("whiten_class")
    features, labels = images()
    z_of_levels = latents(detector, params, constants, features, labels)
    for level, z in zip(params, z_of_levels, strict=True):
        means = np.stack([z[labels == k].mean((0, 1, 2)) for k in range(CLASSES)])
        np.testing.assert_allclose(means, level.base.centres, atol=1e-5)
        distances = np.linalg.norm(level.base.centres - np.roll(level.base.centres, 1, axis=0), axis=-1)
        np.testing.assert_allclose(distances, 5 * np.sqrt(4 / 5), rtol=1e-5)  # ⌊8/3⌋ = 2 columns, ⌊16/3⌋ = 5


def test_random_couplings_start_with_the_published_centres():
    _, params, _ = fitted("whiten", identity_init=False)
    np.testing.assert_array_equal(params[0].base.centres, mixture.block_identity_centres(CLASSES, 8))


# Evidence


def knowing(setting):
    """Parameters and constants, the main centres moved to where the classes' latents are, as by training."""
    detector, params, constants = fitted(setting)
    features, labels = images()
    if setting.startswith("whiten_class"):
        return params, constants
    moved = []
    for level, z in zip(params, latents(detector, params, constants, features, labels), strict=True):
        centres = jnp.stack([z[labels == k].mean((0, 1, 2)) for k in range(CLASSES)])
        moved.append(level._replace(base=level.base._replace(centres=centres)))
    return tuple(moved), constants


@pytest.mark.parametrize("setting", ["whiten", "whiten_class", "whiten_class_regions"])
def test_evidence_finds_the_class(setting):
    params, constants = knowing(setting)
    features, labels = images(seed=1)
    run = evidence_of(setting)
    found = run(params, constants, features)
    np.testing.assert_array_equal(found.class_ids, labels)
    assert found.class_ids.dtype == jnp.int32
    assert found.class_log_prob.shape == (len(labels), CLASSES)
    given = run(params, constants, features, labels)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(given), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    wrong = run(params, constants, features, (labels + 1) % CLASSES)
    np.testing.assert_array_equal(wrong.class_ids, (labels + 1) % CLASSES)
    for right_map, wrong_map in zip(given.log_likelihood, wrong.log_likelihood, strict=True):
        assert np.all(np.mean(right_map, (1, 2)) > np.mean(wrong_map, (1, 2)))


@pytest.mark.parametrize("setting", ["whiten", "whiten_class_regions"])
def test_what_is_not_a_number_stays_so_in_its_image_alone(setting):
    """Else the search for the class would make a score of it."""
    params, constants = knowing(setting)
    features, _ = images(seed=1)
    broken = tuple(x.copy() for x in features)
    broken[1][3, 1, 0, 2] = np.nan
    found = evidence_of(setting)(params, constants, broken)
    finite = np.isfinite(found.log_likelihood[1]).all((1, 2))
    assert list(np.flatnonzero(~finite)) == [3]
    assert np.isnan(found.class_log_prob[3]).all()


def test_class_log_prob_is_summed_over_positions_and_levels():
    """With pooled statistics, the likelihood of each class is that of the maps with that class given."""
    _, *model = fitted("whiten")
    features, labels = images()
    expected = evidence_of("whiten")(*model, features).class_log_prob
    for k in range(CLASSES):
        maps = evidence_of("whiten")(*model, features, np.full_like(labels, k)).log_likelihood
        total = sum(
            np.asarray(m, np.float64).sum((1, 2)) * x.shape[-1] for m, x in zip(maps, features, strict=True)
        )
        np.testing.assert_allclose(expected[:, k], total, rtol=1e-5)


@pytest.mark.parametrize("setting", ["whiten", "whiten_class_regions"])
def test_the_mixture_is_the_sum_over_classes_weighted_as_learned(setting):
    """Against the likelihoods with each class given, one after the other."""
    detector, params, constants = fitted(setting)
    logits = jnp.array([0.5, -1.0, 0.2])
    params = tuple(p._replace(base=p.base._replace(class_logits=logits)) for p in params)
    features, labels = images()
    mixed = jax.jit(functools.partial(detector.evidence, mix_classes=True))(params, constants, features)
    run = evidence_of(setting)
    given = [run(params, constants, features, np.full_like(labels, k)) for k in range(CLASSES)]
    weights = scipy.special.log_softmax(np.float64(logits))
    for level, x in enumerate(features):
        joint = [
            np.float64(e.log_likelihood[level]) * x.shape[-1] + w for e, w in zip(given, weights, strict=True)
        ]
        expected = scipy.special.logsumexp(joint, axis=0) / x.shape[-1]
        np.testing.assert_allclose(mixed.log_likelihood[level], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(mixed.class_ids, run(params, constants, features).class_ids)


@pytest.mark.parametrize("setting", ["whiten", "whiten_class_regions"])
def test_evidence_of_one_image_equals_that_of_all(setting):
    _, *model = fitted(setting)
    features, _ = images()
    together = evidence_of(setting)(*model, features)
    for i in range(4):
        alone = evidence_of(setting)(*model, tuple(x[i : i + 1] for x in features))
        for one, all_images in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(one[0], all_images[i], rtol=1e-5, atol=1e-5)


def one_level(trees):
    """Of parameters, constants or features: the last level, whose maps are the smallest."""
    return tuple(tree[-1:] for tree in trees)


def test_jit_equals_eager():
    detector, *model = fitted("whiten_class", identity_init=False)
    arguments = one_level((*model, images()[0]))
    eager, jitted = detector.evidence(*arguments), jax.jit(detector.evidence)(*arguments)
    for a, b in zip(jax.tree.leaves(jitted), jax.tree.leaves(eager), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_without_conditioning_per_class_makes_no_difference():
    """The identity says nothing of the class: the mixture finds it, among centres like any other's."""
    (_, *expected), (_, *actual) = fitted("none"), fitted("none_class")
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    features, labels = images(seed=1)
    found = evidence_of("none_class")(*knowing("none"), features)
    np.testing.assert_array_equal(found.class_ids, labels)
    assert np.ptp(found.class_log_prob, axis=-1).min() > 1


# The first layer


@pytest.mark.parametrize("setting", ["none_class", "whiten_position", "whiten_class_regions"])
def test_prepare_applies_the_first_layers_with_the_images_class(setting):
    detector, _, constants = fitted(setting)
    features, labels = images()
    groups = labels if setting.startswith("whiten_class") else np.zeros_like(labels)
    prepared = jax.jit(detector.prepare)(constants, features, labels)
    for level, x, (z, log_det) in zip(constants, features, prepared, strict=True):
        expected, expected_log_det = apply(level.first, x, groups)
        np.testing.assert_allclose(z, expected, atol=1e-5)
        np.testing.assert_allclose(log_det, expected_log_det, atol=1e-6)


# Loss


@functools.cache
def compiled_loss():
    """Loss and metrics of features and labels, and the detector they are of."""
    detector, params, constants = fitted("whiten_class", identity_init=False)

    @jax.jit
    def loss(features, labels):
        inputs = detector.prepare(constants, features, labels)
        return detector.loss(params, constants, inputs, labels, WEIGHTS)

    return loss, params, constants


def test_loss_is_the_weighted_sum_of_its_terms_with_mutual_information_maximised():
    total, metrics = compiled_loss()[0](*images())
    signs = {"mutual_information": -1}
    expected = sum(
        signs.get(name, 1) * weight * metrics[f"level{level}/{name}"]
        for name, weight in WEIGHTS.items()
        for level in range(2)
    )
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert len(metrics) == 10


def test_likelihood_counts_the_volume_change_of_the_first_layer_and_the_flow():
    loss, params, constants = compiled_loss()
    features, labels = images()
    _, metrics = loss(features, labels)
    for i, (level, fixed, x) in enumerate(zip(params, constants, features, strict=True)):
        x, first_log_det = apply(fixed.first, x, labels)
        z, log_det = forward(level.flow, fixed.mixing, x)
        expected = mixture.likelihood_loss(level.base, z, first_log_det + log_det)
        np.testing.assert_allclose(metrics[f"level{i}/likelihood"], expected, rtol=1e-5)
        assert np.abs(first_log_det).min() > 0.01


def test_loss_is_a_mean_over_images():
    loss = compiled_loss()[0]
    features, labels = images()
    halves = [
        loss(tuple(x[part] for x in features), labels[part])[0] for part in (slice(12), slice(12, None))
    ]
    assert abs(halves[0] - halves[1]) > 1e-3
    np.testing.assert_allclose(loss(features, labels)[0], np.mean(halves), rtol=1e-5)


# A single class


def test_single_class():
    detector, *model = fitted("whiten_class_regions", num_classes=1)
    features, labels = images(num_classes=1)
    params, constants, features = one_level((*model, features))
    evidence = jax.jit(detector.evidence)(params, constants, features)
    np.testing.assert_array_equal(evidence.class_ids, labels)
    for likelihood, negative_entropy in zip(evidence.log_likelihood, evidence.negative_entropy, strict=True):
        assert np.all(np.isfinite(likelihood))
        assert np.all(np.std(likelihood, axis=(1, 2)) > 1e-2)
        assert not np.any(negative_entropy)

    inputs = detector.prepare(constants, features, labels)

    def loss(params):
        return detector.loss(params, constants, inputs, labels, WEIGHTS)[0]

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
    assert np.any(gradient[0].flow.out_kernel)


@pytest.mark.parametrize("conditioning", ["none", "whiten_class_regions"])
def test_grids_that_cover_the_maps_give_the_loss_and_gradient_of_the_whole(conditioning):
    """Every second row and column, from either start: the mean over the four is that over all positions."""
    detector, params, constants = fitted(conditioning, identity_init=False)
    features, labels = images()

    @jax.jit
    @jax.value_and_grad
    def loss(params, features, grids):
        inputs = detector.prepare(constants, features, labels, grids)
        return detector.loss(detector.ready(params, inputs, grids), constants, inputs, labels, WEIGHTS)[0]

    parts = []
    for y, x in itertools.product(range(2), repeat=2):
        grids = tuple(Grid(np.arange(y, h, 2), np.arange(x, w, 2)) for h, w, _ in SIZES)
        parts.append(loss(params, tuple(map(functools.partial(take, axis=1), features, grids)), grids))
    whole = loss(params, features, None)
    assert np.std([value for value, _ in parts]) > 1e-3
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *parts)
    for a, b in zip(jax.tree.leaves(mean), jax.tree.leaves(whole), strict=True):
        assert_close_to_largest(a, b, 1e-5)
