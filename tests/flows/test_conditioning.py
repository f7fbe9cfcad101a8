"""The first layer against NumPy and SciPy in float64."""

import jax
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from hgad_jax.flows.conditioning import (
    Affine,
    apply_affine,
    fit_affine,
    group_log_prob,
    identity_affine,
    invert_affine,
)

IMAGES, H, W, C, K = 60, 2, 3, 4, 3
SHRINKAGE = 0.05
PRIOR = 0.25 * C  # vectors, the weight of a group's covariance in that of a region
SETTINGS = [
    (kind, per_class, regions)
    for kind in ("standardize", "whiten")
    for per_class in (False, True)
    for regions in (0, 1, 3)
]
over_settings = pytest.mark.parametrize(("kind", "per_class", "regions"), SETTINGS)
apply, log_prob = jax.jit(apply_affine), jax.jit(group_log_prob)


@pytest.fixture(scope="module")
def data():
    """Correlated features, their mean and spread by class and position; unequal classes, in no order."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(K), [12, 18, 30]))
    means = 3 * rng.normal(size=(K, H, W, C))
    spread = rng.uniform(0.5, 2, size=(H, W, C))
    mixing = rng.normal(size=(K, C, C)) + 2 * np.eye(C)
    noise = spread * rng.normal(size=(IMAGES, H, W, C))
    features = means[labels] + np.einsum("bhwc,bcd->bhwd", noise, mixing[labels])
    return features.astype(np.float32), labels


def fit(data, kind="whiten", per_class=False, regions=0, *, shrinkage=SHRINKAGE, parts=None, **options):
    settings = {"kind": kind, "per_class": per_class, "regions": regions, "shrinkage": shrinkage}
    return fit_affine(lambda: iter(parts or [data]), K, **settings, **options)


def groups_of(labels, per_class):
    return labels if per_class else np.zeros_like(labels)


def draw_offsets(per_class):
    return np.random.default_rng(1).normal(size=(K if per_class else 1, C))


def exact(layer):
    return layer._replace(
        **{n: np.asarray(a, np.float64) for n, a in layer._asdict().items() if n != "regions"}
    )


def covariance_of(rows):
    return rows.T @ rows / len(rows)


def gaussian(features, kind, regions, assignment):
    """Mean [h, w, C] and covariances [h, w, C, C] that a group's layer stands for, computed another way."""
    x = features.astype(np.float64)
    mean = x.mean(0) if regions else np.broadcast_to(x.mean((0, 1, 2)), x.shape[1:])
    centred = x - mean
    pooled = covariance_of(centred.reshape(-1, C))
    covariances = np.empty((*x.shape[1:], C))
    for i, j in np.ndindex(x.shape[1:3]):
        rows = centred[:, assignment == assignment[i, j]].reshape(-1, C)
        covariance = (len(rows) * covariance_of(rows) + PRIOR * pooled) / (len(rows) + PRIOR)
        covariance += SHRINKAGE * np.trace(covariance) / C * np.eye(C)
        covariances[i, j] = np.diag(np.diag(covariance)) if kind == "standardize" else covariance
    return mean, covariances


@over_settings
def test_group_log_prob_is_that_of_a_gaussian(data, kind, per_class, regions):
    """Up to the constant left out. Offsets move z and must not count."""
    features, labels = data
    layer = fit(data, kind, per_class, regions, offsets=draw_offsets(per_class))
    actual = log_prob(layer, features)
    assert actual.shape == (IMAGES, K if per_class else 1)
    constant = 0.5 * H * W * C * np.log(2 * np.pi)
    for group in range(actual.shape[1]):
        members = features[groups_of(labels, per_class) == group]
        assignment = np.broadcast_to(layer.regions[group], (H, W))
        means, covariances = gaussian(members, kind, regions, assignment)
        expected = sum(
            multivariate_normal(means[at], covariances[at]).logpdf(features[:, *at])
            for at in np.ndindex(H, W)
        )
        np.testing.assert_allclose(actual[:, group], expected + constant, rtol=2e-5)


@over_settings
def test_shapes_and_log_det(data, kind, per_class, regions):
    layer = fit(data, kind, per_class, regions)
    groups, count = K if per_class else 1, max(regions, 1)
    h, w = (H, W) if regions else (1, 1)
    expected = {
        "mean": (groups, h, w, C),
        "matrix": (groups, count, C, C),
        "regions": (groups, h, w),
        "offset": (groups, C),
        "log_det": (groups, count),
    }
    assert {name: array.shape for name, array in layer._asdict().items()} == expected
    assert {str(array.dtype) for name, array in layer._asdict().items() if name != "regions"} == {"float32"}
    assert layer.regions.dtype == np.int32
    for assignment in np.asarray(layer.regions):
        np.testing.assert_array_equal(np.unique(assignment), np.arange(count))
    np.testing.assert_allclose(layer.log_det, np.linalg.slogdet(exact(layer).matrix)[1], atol=1e-5)
    assert not np.any(layer.offset)


@over_settings
def test_features_come_out_with_unit_covariance_around_the_offset(data, kind, per_class, regions):
    """Of every group; with regions, of each region, and around each position's own mean.

    The fit is to many copies of the images, which drown the prior of a region and change nothing else.
    """
    features, labels = data
    copies = 2000 if regions > 1 else 1
    offsets = draw_offsets(per_class)
    parts = [data] * copies
    layer = fit(data, kind, per_class, regions, shrinkage=0.0, offsets=offsets, parts=parts)
    groups = groups_of(labels, per_class)
    z = np.asarray(apply(layer, features, groups)[0], np.float64)
    for group, offset in enumerate(offsets):
        centred = z[groups == group] - offset
        np.testing.assert_allclose(centred.mean((0, 1, 2)), 0, atol=1e-5)
        if regions:
            np.testing.assert_allclose(centred.mean(0), 0, atol=1e-5)
        assignment = np.broadcast_to(layer.regions[group], (H, W))
        for region in range(max(regions, 1)):
            covariance = covariance_of(centred[:, assignment == region].reshape(-1, C))
            if kind == "standardize":
                covariance = np.diag(np.diag(covariance))
            np.testing.assert_allclose(covariance, np.eye(C), atol=2e-4 if regions > 1 else 1e-5)


# The two formulas of the product, and the inverse


def exact_apply(layer, x, groups):
    """In float64, vector by vector."""
    layer, shape = exact(layer), x.shape[1:3]
    mean = np.broadcast_to(layer.mean, (len(layer.mean), *shape, C))
    regions = np.broadcast_to(layer.regions, (len(layer.mean), *shape))
    z, log_det = np.empty(x.shape), np.empty(x.shape[:-1])
    for b, i, j in np.ndindex(log_det.shape):
        g, r = groups[b], regions[groups[b], i, j]
        z[b, i, j] = (x[b, i, j].astype(np.float64) - mean[g, i, j]) @ layer.matrix[g, r] + layer.offset[g]
        log_det[b, i, j] = layer.log_det[g, r]
    return z, log_det


@pytest.fixture(params=["cpu", "default"])
def formula(request, monkeypatch):
    """The product as one platform computes it."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, **rules: rules[request.param](*args))


@pytest.mark.usefixtures("formula")
@pytest.mark.parametrize(("per_class", "regions"), [(False, 0), (True, 1), (False, 3), (True, 3)])
def test_both_formulas_equal_float64(data, per_class, regions):
    features, labels = data
    layer = fit(data, "whiten", per_class, regions, offsets=draw_offsets(per_class))
    groups = groups_of(labels, per_class)
    z, log_det = apply_affine(layer, features, groups)  # not jitted, which would keep the first formula
    expected_z, expected_log_det = exact_apply(layer, features, groups)
    np.testing.assert_allclose(z, expected_z, atol=2e-5)
    np.testing.assert_allclose(log_det, expected_log_det, atol=1e-6)
    expected = []
    for group in range(len(layer.mean)):
        z, log_det = exact_apply(layer, features, np.full(IMAGES, group))
        squares = ((z - exact(layer).offset[group]) ** 2).sum((1, 2, 3))
        expected.append(log_det.sum((1, 2)) - 0.5 * squares)
    np.testing.assert_allclose(group_log_prob(layer, features), np.stack(expected, -1), rtol=2e-5)


@pytest.mark.usefixtures("formula")
@pytest.mark.parametrize("images", [1, 3, 40])
def test_many_groups_few_of_them_there_equal_float64(images):
    """With layers of any numbers, so that none stands in for another."""
    rng, num_groups, regions = np.random.default_rng(images), 17, 5
    layer = Affine(
        mean=rng.normal(size=(num_groups, H, W, C)).astype(np.float32),
        matrix=rng.normal(size=(num_groups, regions, C, C)).astype(np.float32),
        regions=rng.integers(regions, size=(num_groups, H, W), dtype=np.int32),
        offset=rng.normal(size=(num_groups, C)).astype(np.float32),
        log_det=rng.normal(size=(num_groups, regions)).astype(np.float32),
    )
    features = rng.normal(size=(images, H, W, C)).astype(np.float32)
    groups = rng.choice([0, 3, 4, 16], images)
    expected = exact_apply(layer, features, groups)
    for actual, exact_one in zip(apply_affine(layer, features, groups), expected, strict=True):
        np.testing.assert_allclose(actual, exact_one, atol=1e-5)


@pytest.mark.parametrize(("platform", "batched"), [("cpu", False), ("cuda", True)])
def test_every_platform_has_its_formula(data, platform, batched):
    """Of its program, before compilation: a copy of the matrix for every position, or none."""
    layer = fit(data, "whiten", False, 3)
    program = apply.trace(layer, data[0], data[1]).lower(lowering_platforms=(platform,)).as_text()
    assert (f"tensor<{H}x{W}x{C}x{C}xf32>" in program) == batched


def test_jit_equals_eager(data):
    features, _ = data
    layer = fit(data, "whiten", True, 3, offsets=draw_offsets(True))
    for jitted, eager in zip(apply(layer, *data), apply_affine(layer, *data), strict=True):
        np.testing.assert_allclose(jitted, eager, atol=1e-5)
    np.testing.assert_allclose(log_prob(layer, features), group_log_prob(layer, features), rtol=1e-5)


def test_inverse(data):
    features, labels = data
    layer = fit(data, "whiten", True, 3, offsets=draw_offsets(True))
    z, log_det = apply(layer, features, labels)
    x, inverse_log_det = jax.jit(invert_affine)(layer, z, labels)
    np.testing.assert_allclose(x, features, atol=1e-4)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-6)


def test_batch_of_one_equals_the_whole_batch(data):
    features, labels = data
    layer = fit(data, "whiten", True, 3, offsets=draw_offsets(True))
    together = (*apply(layer, features, labels), log_prob(layer, features))
    for i in range(4):
        part = slice(i, i + 1)
        alone = (*apply(layer, features[part], labels[part]), log_prob(layer, features[part]))
        for one, all_images in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], all_images[i], rtol=1e-5, atol=1e-5)


def test_identity_changes_nothing(data):
    features, labels = data
    z, log_det = apply(identity_affine(C), features, np.zeros_like(labels))
    np.testing.assert_array_equal(z, features)
    np.testing.assert_array_equal(log_det, np.zeros((IMAGES, H, W)))


# Streaming


def assert_layers_equal(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@over_settings
def test_streaming_equals_one_batch(data, kind, per_class, regions):
    features, labels = data
    parts = [(features[i : i + 7], labels[i : i + 7]) for i in range(0, IMAGES, 7)]
    streamed = fit(data, kind, per_class, regions, parts=parts)
    assert_layers_equal(streamed, fit(data, kind, per_class, regions))


def test_class_unseen_in_a_batch_is_no_problem(data):
    features, labels = data
    order = np.argsort(labels)
    parts = [(features[order][i : i + 6], labels[order][i : i + 6]) for i in range(0, IMAGES, 6)]
    assert_layers_equal(fit(data, "whiten", True, 3, parts=parts), fit(data, "whiten", True, 3))


@pytest.mark.parametrize("regions", [0, 3])
def test_pooled_layer_ignores_the_labels(data, regions):
    other = fit((data[0], np.arange(IMAGES) % K), regions=regions)
    assert_layers_equal(fit(data, regions=regions), other)


# Regions


def test_positions_of_similar_mean_make_a_region():
    """Of each class its own, wherever they lie on the map."""
    rng = np.random.default_rng(4)
    planted = rng.permuted(np.tile(np.arange(H * W) % 3, (K, 1)), axis=1).reshape(K, H, W)
    labels = np.arange(IMAGES) % K
    means = 20 * rng.normal(size=(K, 3, C))[np.arange(K)[:, None, None], planted]
    features = (means[labels] + rng.normal(size=(IMAGES, H, W, C))).astype(np.float32)
    found = np.asarray(fit((features, labels), "whiten", True, 3).regions)
    for k in range(K):
        same = found[k].reshape(-1, 1) == found[k].reshape(1, -1)
        np.testing.assert_array_equal(same, planted[k].reshape(-1, 1) == planted[k].reshape(1, -1))


def test_regions_are_compared_in_units_of_the_covariance():
    """Means that differ a lot for a quiet channel weigh more than as much difference of a loud one."""
    rng = np.random.default_rng(5)
    means = np.zeros((H, W, C))
    means[0, :, 0] = 10.0  # rows differ in the quiet channel, columns in the loud one
    means[:, 0, 1] = 30.0
    features = means + rng.normal(size=(IMAGES, H, W, C)) * np.array([0.1, 100.0, 1.0, 1.0])
    found = np.asarray(fit((features.astype(np.float32), np.zeros(IMAGES, int)), regions=2).regions[0])
    np.testing.assert_array_equal(found == found[0, 0], [[True] * W, [False] * W])


@pytest.mark.parametrize("per_class", [False, True])
def test_there_are_no_more_regions_than_positions(data, per_class):
    layer = fit(data, "whiten", per_class, H * W + 5)
    assert layer.matrix.shape[1] == H * W
    for assignment in np.asarray(layer.regions):
        np.testing.assert_array_equal(np.sort(assignment.ravel()), np.arange(H * W))
    assert_layers_equal(layer, fit(data, "whiten", per_class, H * W))


@pytest.mark.parametrize("distinct", [1, 2])
def test_fewer_distinct_positions_than_regions(data, distinct):
    """Equal positions share a region and nothing warns."""
    features, labels = data
    kinds = np.arange(H * W).reshape(H, W) % distinct
    features = features.reshape(IMAGES, H * W, C)[:, kinds]
    layer = fit((features, labels), "whiten", True, 4)
    assert all(np.all(np.isfinite(a)) for a in layer)
    for assignment in np.asarray(layer.regions):
        same = assignment.reshape(-1, 1) == assignment.reshape(1, -1)
        np.testing.assert_array_equal(same, kinds.reshape(-1, 1) == kinds.reshape(1, -1))
    assert np.all(np.isfinite(log_prob(layer, features)))


# Degenerate features


def test_shrinkage_bounds_the_gain_of_a_direction(data):
    """A direction that never varies in training is scaled by 1 / sqrt(shrinkage · mean variance)."""
    features, labels = data
    flat = features.copy()
    flat[..., -1] = flat[..., 0] + flat[..., 1]  # C − 1 directions are left
    gains = []
    for shrinkage in (1e-2, 1e-4):
        layer = fit((flat, labels), shrinkage=shrinkage)
        gains.append(np.linalg.norm(exact(layer).matrix[0, 0], 2))
    mean_variance = flat.reshape(-1, C).astype(np.float64).var(0).mean()
    expected = 1 / np.sqrt(np.array([1e-2, 1e-4]) * mean_variance)
    np.testing.assert_allclose(gains, expected, rtol=1e-3)


@over_settings
def test_constant_channel_stays_finite(data, kind, per_class, regions):
    features, labels = data
    constant = features.copy()
    constant[..., 2] = 7.0
    layer = fit((constant, labels), kind, per_class, regions)
    assert all(np.all(np.isfinite(a)) for a in layer)
    z, log_det = apply(layer, constant, groups_of(labels, per_class))
    assert np.all(np.isfinite(z))
    assert np.all(np.isfinite(log_det))
    assert np.abs(z).max() < 20


@over_settings
def test_features_that_never_vary_stay_finite(kind, per_class, regions):
    labels = np.arange(IMAGES) % K
    features = np.full((IMAGES, H, W, C), 7, np.float32)
    layer = fit((features, labels), kind, per_class, regions)
    z, log_det = apply(layer, features, groups_of(labels, per_class))
    for array in (*layer, z, log_det, log_prob(layer, features)):
        assert np.all(np.isfinite(array))


# One image of a class is its own mean at every position, so that those need more.
@pytest.mark.parametrize(("kind", "per_class", "regions"), [s for s in SETTINGS if not (s[1] and s[2])])
def test_one_image_a_class(kind, per_class, regions):
    """A handful of images must not make a region so tight that a new image's latents explode."""
    rng = np.random.default_rng(2)
    features, labels = rng.normal(size=(K, H, W, C)).astype(np.float32), np.arange(K)
    layer = fit((features, labels), kind, per_class, regions)
    defect = features + rng.normal(size=features.shape).astype(np.float32)
    z, log_det = apply(layer, defect, groups_of(labels, per_class))
    assert np.all(np.isfinite(log_det))
    assert np.abs(z).max() < 20


# Classes


@pytest.mark.parametrize("regions", [1, 3])
def test_class_is_found_by_the_layer_alone(data, regions):
    features, labels = data
    found = np.argmax(log_prob(fit(data, per_class=True, regions=regions), features), -1)
    np.testing.assert_array_equal(found, labels)
