"""CFLOW-AD, U-FLOW, FastFlow and AltUB: against recordings of PyTorch + FrEIA, and published sizes."""

import jax
import jax.numpy as jnp
import normal_flow_reference as reference
import numpy as np
import pytest
from normal_flow_reference import DATA, FEATURES, LEVELS, SIZE

from hgad_jax.detectors import class_finder
from hgad_jax.distributions.normal import NormalParams
from hgad_jax.errors import UserError
from hgad_jax.flows.convolution import layer_norm

METHODS = {
    "cflow": (reference.cflow_detector, reference.cflow_flow, {"likelihood": 0.0, "log_sigmoid": 1.0}),
    "fastflow": (reference.fastflow_detector, reference.fastflow_flow, {"likelihood": 1.0}),
}
LABELS = jnp.zeros(3, jnp.int32)


def assert_close(actual, expected, tolerance):
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    make, of_level, weights = METHODS[request.param]
    return request.param, make(), reference.params(of_level), reference.constants(request.param), weights


def test_recorded_losses_and_gradients(method):
    name, detector, params, constants, weights = method
    inputs = detector.prepare(constants, FEATURES, LABELS)
    grad = jax.jit(jax.value_and_grad(lambda p: detector.loss(p, constants, inputs, LABELS, weights)[0]))
    loss, gradients = grad(params)
    expected = (
        sum(DATA[f"cflow/level{i}/loss"] for i in range(2)) if name == "cflow" else DATA["fastflow/loss"]
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    recorded = reference.params(METHODS[name][1], grad=True)
    assert jax.tree.structure(gradients) == jax.tree.structure(recorded)
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(recorded), strict=True):
        assert np.abs(theirs).max() > 0
        assert_close(ours, theirs, 5e-5)


def test_recorded_score_maps(method):
    name, detector, params, constants, _ = method
    evidence = jax.jit(detector.evidence)(params, constants, FEATURES, LABELS)
    levels = [np.asarray(m) for m in evidence.log_likelihood]
    ours = detector.published.maps(levels, [np.zeros_like(m) for m in levels], SIZE)
    assert_close(ours, DATA[f"{name}/map"], 2e-5)
    np.testing.assert_array_equal(detector.published.image(ours, np.zeros(3)), ours.max((1, 2)))


def test_evidence_is_the_recorded_likelihood():
    detector, params = reference.cflow_detector(), reference.params(reference.cflow_flow)
    evidence = jax.jit(detector.evidence)(params, reference.constants("cflow"), FEATURES, LABELS)
    for index, (_, _, channels) in enumerate(LEVELS):
        z, log_det = DATA[f"cflow/level{index}/latent"], DATA[f"cflow/level{index}/log_det"]
        log_prob = -0.5 * (z.astype(np.float64) ** 2).sum(-1) + log_det - 0.5 * channels * np.log(2 * np.pi)
        assert_close(evidence.log_likelihood[index], log_prob / channels, 2e-5)
        assert not evidence.negative_entropy[index].any()


@pytest.mark.parametrize("score_log_det", [False, True])
def test_a_position_has_its_share_of_the_log_det_if_asked(score_log_det):
    detector = reference.fastflow_detector(score_log_det=score_log_det)
    evidence = jax.jit(detector.evidence)(
        reference.params(reference.fastflow_flow), reference.constants("fastflow"), FEATURES, LABELS
    )
    for index, (_, _, channels) in enumerate(LEVELS):
        z, log_det = DATA[f"fastflow/level{index}/latent"], DATA[f"fastflow/level{index}/log_det"]
        total = -0.5 * (z.astype(np.float64) ** 2).sum((1, 2, 3)) + score_log_det * log_det
        assert_close(np.sum(evidence.log_likelihood[index] * channels, (1, 2)), total, 2e-5)


# AltUB


def with_base(params, rng):
    """A base distribution that is not the standard one."""

    def of_level(level, size):
        mean, log_scale = (0.3 * rng.normal(size=size).astype(np.float32) for _ in range(2))
        return level._replace(base=NormalParams(jnp.asarray(mean), jnp.asarray(log_scale)))

    return tuple(of_level(level, size) for level, size in zip(params, LEVELS, strict=True))


def test_gradients_of_the_base_are_the_closed_forms():
    """AltUB, equation 7: (μ − z)/σ² for μ and 1 − ((z − μ)/σ)² for ln σ, summed; here a mean over images."""
    detector = reference.fastflow_detector(base="trainable")
    params = with_base(reference.params(reference.fastflow_flow), np.random.default_rng(0))
    constants = reference.constants("fastflow")
    inputs = detector.prepare(constants, FEATURES, LABELS)
    loss = jax.jit(jax.grad(lambda p: detector.loss(p, constants, inputs, LABELS, {"likelihood": 1.0})[0]))
    for index, gradient in enumerate(loss(params)):
        z = DATA[f"fastflow/level{index}/latent"].astype(np.float64)
        mean, log_scale = (np.asarray(p, np.float64) for p in params[index].base)
        assert_close(gradient.base.mean, np.mean((mean - z) * np.exp(-2 * log_scale), 0), 2e-5)
        assert_close(gradient.base.log_scale, np.mean(1 - ((z - mean) * np.exp(-log_scale)) ** 2, 0), 2e-5)


def test_altubs_score_is_the_papers():
    """exp(−Σ_c [((z − μ)/σ)² + 2 ln σ] / 2C) per pixel and level, then as FastFlow's."""
    detector = reference.fastflow_detector(base="trainable")
    params = with_base(reference.params(reference.fastflow_flow), np.random.default_rng(1))
    evidence = jax.jit(detector.evidence)(params, reference.constants("fastflow"), FEATURES, LABELS)
    for index, (_, _, channels) in enumerate(LEVELS):
        z = DATA[f"fastflow/level{index}/latent"].astype(np.float64)
        mean, log_scale = (np.asarray(p, np.float64) for p in params[index].base)
        terms = ((z - mean) / np.exp(log_scale)) ** 2 + 2 * log_scale
        assert_close(np.exp(evidence.log_likelihood[index]), np.exp(-terms.sum(-1) / (2 * channels)), 2e-5)


def test_a_standard_base_is_the_standard_normal():
    """μ = 0 and ln σ = 0, as it starts, change nothing, in whole maps and in fibres."""
    plain, based = (reference.cflow_detector(base=b, fibre=8) for b in ("standard", "trainable"))
    constants, weights = reference.constants("cflow"), {"likelihood": 1.0, "log_sigmoid": 1.0}
    params = reference.params(reference.cflow_flow)
    zeros = tuple(
        level._replace(base=NormalParams(jnp.zeros(size), jnp.zeros(size)))
        for level, size in zip(params, LEVELS, strict=True)
    )
    inputs = plain.prepare(constants, FEATURES, LABELS)
    a = plain.loss(params, constants, inputs, LABELS, weights)[0]
    np.testing.assert_allclose(based.loss(zeros, constants, inputs, LABELS, weights)[0], a, rtol=1e-6)
    positions, class_ids = jnp.array([3, 0, 7, 7]), jnp.zeros(4, jnp.int32)
    fibre = tuple(x.reshape(-1, *x.shape[3:])[positions] for x in inputs[0])
    a, b = (
        d.fibres.loss(p[0], constants[0], fibre, positions, class_ids, LEVELS[0][:2], weights)[0]
        for d, p in ((plain, params), (based, zeros))
    )
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_base_of_a_vector_is_that_of_its_position():
    """A fibre of all vectors of the batch has the loss of whole maps, condition and base included."""
    detector = reference.cflow_detector(base="trainable", fibre=8)
    params = with_base(reference.params(reference.cflow_flow), np.random.default_rng(2))
    constants, weights = reference.constants("cflow"), {"likelihood": 1.0, "log_sigmoid": 0.5}
    inputs = detector.prepare(constants, FEATURES, LABELS)
    whole, metrics = detector.loss(params, constants, inputs, LABELS, weights)
    total = 0.0
    for index, (h, w, _) in enumerate(LEVELS):
        order = np.random.default_rng(index).permutation(len(LABELS) * h * w)
        fibre = tuple(x.reshape(-1, *x.shape[3:])[order] for x in inputs[index])
        value, terms = detector.fibres.loss(
            params[index], constants[index], fibre, order % (h * w), 0 * order, (h, w), weights
        )
        total += value
        np.testing.assert_allclose(terms["likelihood"], metrics[f"level{index}/likelihood"], rtol=1e-5)
    np.testing.assert_allclose(total, whole, rtol=1e-5)


# Sizes, and what is around the flows

CFLOW = {"num_blocks": 8, "condition_channels": 128, "hidden_ratio": 2.0, "fibre": 256}
WRN, R18 = ((64, 64, 256), (32, 32, 512), (16, 16, 1024)), ((64, 64, 64), (32, 32, 128), (16, 16, 256))
PUBLISHED = {
    "cflow wide_resnet50_2": ("cflow", CFLOW, [(32, 32, 512), (16, 16, 1024), (8, 8, 2048)], 81_647_616),
    "cflow resnet18": ("cflow", CFLOW, [(32, 32, 128), (16, 16, 256), (8, 8, 512)], 8_620_032),
    "cflow mobilenetv3": ("cflow", CFLOW, [(32, 32, 40), (16, 16, 112), (8, 8, 160)], 2_557_440),
    "fastflow resnet18": (
        "fastflow",
        {"num_blocks": 8, "kernel_sizes": (3,), "hidden_ratio": 1.0, "norm": "none"},
        R18,
        4_657_408,
    ),
    "fastflow resnet18, norm": (
        "fastflow",
        {"num_blocks": 8, "kernel_sizes": (3,), "hidden_ratio": 1.0},
        R18,
        4_657_408 + 917_504,
    ),
    "fastflow wide_resnet50_2": (
        "fastflow",
        {"num_blocks": 8, "kernel_sizes": (3, 1), "hidden_ratio": 1.0},
        WRN,
        41_337_856 + 3_670_016,
    ),
    "fastflow deit": (
        "fastflow",
        {"num_blocks": 20, "kernel_sizes": (3, 1), "hidden_ratio": 0.16, "norm": "none"},
        [(24, 24, 768)],
        7_074_500,
    ),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_numbers_of_parameters(case):
    method, keys, sizes, expected = PUBLISHED[case]
    params, constants = METHODS[method][0](**keys).abstract(tuple(sizes))
    assert reference.count_parameters(params) == expected
    if method == "cflow":
        assert sum(c.mixing.size for c in constants) == sum(8 * size[-1] ** 2 for size in sizes)


def test_layer_norm_is_pytorchs():
    x = np.random.default_rng(0).normal(2.0, 3.0, (2, 3, 4, 5)).astype(np.float32)
    flat = x.reshape(2, -1).astype(np.float64)
    expected = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer_norm(jnp.asarray(x)).reshape(2, -1), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["cflow", "fastflow"])
def test_several_classes_are_told_apart_and_have_their_own_first_layer(name):
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 3
    sizes = ((4, 4, 6), (2, 2, 8))
    features = [
        (rng.normal(size=(12, *s)) + 5 * labels[:, None, None, None]).astype(np.float32) for s in sizes
    ]
    keys = {"num_classes": 3, "conditioning": "whiten", "per_class": True, "regions": 2, "shrinkage": 0.1}
    keys |= {"norm": "none"} if name == "fastflow" else {}  # which would take the difference away
    detector = METHODS[name][0](**keys)
    params, constants = detector.init(jax.random.key(0), [lambda x=x: [(x, labels)] for x in features])
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), detector.abstract(sizes))
    assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), (params, constants))
    evidence = jax.jit(detector.evidence)(params, constants, tuple(features))
    np.testing.assert_array_equal(evidence.class_ids, labels)
    assert evidence.class_log_prob.shape == (12, 3)
    given = jax.jit(detector.evidence)
    told = given(params, constants, tuple(features), jnp.asarray(labels))
    for a, b in zip(evidence.log_likelihood, told.log_likelihood, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    wrong = given(params, constants, tuple(features), jnp.asarray((labels + 1) % 3))
    for a, b in zip(evidence.log_likelihood, wrong.log_likelihood, strict=True):
        assert b.mean() < a.mean() - 1
    with pytest.raises(UserError, match="'mixture', which needs a model of the mixture"):
        detector.evidence(params, constants, tuple(features), mix_classes=True)


def test_class_statistics_are_those_of_the_pooled_features():
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 1, 0, 1, 0, 0])
    x = (rng.normal(size=(7, 3, 2, 4)) * [1, 2, 3, 4] + labels[:, None, None, None]).astype(np.float32)
    statistics = class_finder.fit(lambda: [(x[:3], labels[:3]), (x[3:], labels[3:])], 2)
    pooled = x.astype(np.float64).mean((1, 2))
    means = np.stack([pooled[labels == k].mean(0) for k in range(2)])
    variance = ((pooled - means[labels]) ** 2).mean(0)
    np.testing.assert_allclose(statistics.mean, means, rtol=1e-5)
    np.testing.assert_allclose(statistics.deviation, np.sqrt(variance + 1e-3 * variance.mean()), rtol=1e-5)
    expected = -0.5 * (((pooled[:, None] - means) / np.asarray(statistics.deviation)) ** 2).sum(-1)
    np.testing.assert_allclose(class_finder.log_prob((statistics,), (x,)), expected, rtol=1e-4)
