"""The mixture against the published implementation, and against SciPy in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from reference import assert_close_to_largest
from scipy.special import logsumexp
from scipy.stats import entropy, multivariate_normal

from hgad_jax.distributions import mixture
from hgad_jax.distributions.mixture import MixtureParams

over_levels = pytest.mark.parametrize("level", range(reference.LEVELS))
over_stages = pytest.mark.parametrize("stage", reference.STAGES)
class_log_prob, negative_entropy = jax.jit(mixture.class_log_prob), jax.jit(mixture.negative_entropy)
K, M, C = 3, 4, 5


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    shapes = ((K, C), (K, M - 1, C), (K,), (K, M))
    return MixtureParams(*(jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes))


@pytest.fixture(scope="module")
def batch():
    """Latents [B, h, w, C], log-dets [B, h, w], labels [B]."""
    rng = np.random.default_rng(1)
    z, log_det = rng.normal(size=(4, 2, 3, C)), rng.normal(size=(4, 2, 3))
    return z.astype(np.float32), log_det.astype(np.float32), np.array([2, 0, 0, 1], np.int32)


def exact(params):
    return MixtureParams(*(np.asarray(p, np.float64) for p in params))


def all_centres(params):
    return np.concatenate([params.centres[:, None], params.centres[:, None] + params.deltas], axis=1)


def log_softmax(x):
    return x - logsumexp(x, axis=-1, keepdims=True)


def exact_class_log_prob(params, z):
    params, z = exact(params), z.astype(np.float64)
    log_weights, identity = log_softmax(params.centre_logits), np.eye(z.shape[-1])

    def of_class(y):
        densities = [multivariate_normal(centre, identity).logpdf(z) for centre in all_centres(params)[y]]
        return logsumexp(np.stack(densities, axis=-1) + log_weights[y], axis=-1)

    return np.stack([of_class(y) for y in range(len(log_weights))], axis=-1)


def exact_negative_entropy(params, z):
    squares = ((z.astype(np.float64)[..., None, :] - exact(params).centres) ** 2).sum(-1)
    return -entropy(np.exp(log_softmax(-0.5 * squares)), axis=-1)


# The published implementation


@functools.cache
def published_loss(level):
    """(params, weights) → (total, terms), gradients; of one level, from the recorded latents."""
    z, log_det = (jnp.asarray(reference.level(level, n)) for n in ("latent", "log_det"))

    def total(params, weights):
        terms = mixture.loss_terms(params, z, log_det, reference.LABELS, smoothing=reference.SMOOTHING)
        signed = terms._replace(mutual_information=-terms.mutual_information)
        return sum(weights[name] * value for name, value in signed._asdict().items()), terms

    return jax.jit(jax.value_and_grad(total, has_aux=True))


@over_levels
@over_stages
def test_losses_equal_the_published(level, stage):
    (total, terms), _ = published_loss(level)(reference.mixture_params(level), reference.STAGES[stage])
    names = {"L_g": terms.likelihood, "L_mi": terms.mutual_information, "L_e": terms.entropy, "total": total}
    if stage == 2:
        names |= {"L_g_intra": terms.intra, "L_z": terms.log_sigmoid}
    for name, actual in names.items():
        expected = reference.level(level, f"stage{stage}/{name}")
        np.testing.assert_allclose(actual, expected, rtol=2e-6, err_msg=name)


@over_levels
@over_stages
def test_gradients_equal_the_published(level, stage):
    _, gradients = published_loss(level)(reference.mixture_params(level), reference.STAGES[stage])
    for name, actual in zip(("mu", "delta", "phi_inter", "phi_intra"), gradients, strict=True):
        expected = reference.level(level, f"stage{stage}/grad_{name}")
        assert np.any(expected) == (stage == 2 or name in ("mu", "phi_inter"))
        assert_close_to_largest(actual, expected, 2e-5)


# Gradients reach what they should

REACHED = {
    "likelihood": {"z", "log_det", "centres", "class_logits"},
    "mutual_information": {"z", "centres"},
    "entropy": {"z", "centres"},
    "intra": {"z", "log_det", "deltas", "centre_logits"},
    "log_sigmoid": {"z", "log_det", "deltas", "centre_logits"},
}


@pytest.fixture(scope="module")
def jacobian(params, batch):
    """Gradient of every term with respect to parameters, latents and log-dets."""

    def terms(params, z, log_det):
        return mixture.loss_terms(params, z, log_det, batch[2], smoothing=0.02)

    return jax.jit(jax.jacrev(terms, argnums=(0, 1, 2)))(params, *batch[:2])


@pytest.mark.parametrize("term", REACHED)
def test_term_reaches_its_parameters_and_no_others(jacobian, term):
    of_params, z, log_det = getattr(jacobian, term)
    gradients = {**of_params._asdict(), "z": z, "log_det": log_det}
    assert {name for name, g in gradients.items() if np.any(g)} == REACHED[term]


def test_intra_gradients_reach_the_own_class_alone(jacobian):
    """Labels 2 and 0 of four images: nothing of class 1 may move for a batch without it."""

    def intra(params, z):
        return mixture.intra_losses(params, z, jnp.zeros(z.shape[:-1]), jnp.array([2, 0]))[0]

    params = reference.mixture_params(0)
    gradient = jax.jit(jax.grad(intra))(params, reference.level(0, "latent"))
    np.testing.assert_array_equal(gradient.deltas.any((1, 2)), [True, False, True])
    np.testing.assert_array_equal(gradient.centre_logits.any(1), [True, False, True])


# Densities


def test_class_log_prob_is_a_mixture_of_gaussians(params, batch):
    actual = class_log_prob(params, batch[0])
    assert actual.shape == (4, 2, 3, K)
    np.testing.assert_allclose(actual, exact_class_log_prob(params, batch[0]), rtol=1e-6, atol=1e-5)


def test_own_class_log_prob_is_that_of_the_label(params, batch):
    z, _, labels = batch
    actual = jax.jit(mixture.own_class_log_prob)(params, z, labels)
    expected = exact_class_log_prob(params, z)[np.arange(4), ..., labels] + 0.5 * C * np.log(2 * np.pi)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-5)


def test_class_log_prob_integrates_to_one():
    rng = np.random.default_rng(3)
    shapes = ((K, 2), (K, M - 1, 2), (K,), (K, M))
    params = MixtureParams(*(jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes))
    axis, step = np.linspace(-12, 12, 241, retstep=True)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).astype(np.float32)
    density = np.exp(np.asarray(class_log_prob(params, grid), np.float64))
    np.testing.assert_allclose(density.sum((0, 1)) * step**2, 1, atol=1e-5)


def test_negative_entropy_is_that_of_scipy(params, batch):
    actual = negative_entropy(params, batch[0])
    np.testing.assert_allclose(actual, exact_negative_entropy(params, batch[0]), atol=1e-5)


def test_negative_entropy_ignores_deltas_and_weights(params, batch):
    other = MixtureParams(params.centres, 2 * params.deltas, params.class_logits + 1, -params.centre_logits)
    np.testing.assert_array_equal(negative_entropy(params, batch[0]), negative_entropy(other, batch[0]))


def test_negative_entropy_of_one_class_is_zero(batch):
    params = MixtureParams(jnp.ones((1, C)), jnp.zeros((1, 0, C)), jnp.zeros(1), jnp.zeros((1, 1)))
    np.testing.assert_array_equal(negative_entropy(params, batch[0]), np.zeros((4, 2, 3)))


@pytest.mark.parametrize("smoothing", [0.0, 0.02])
def test_mutual_information(params, batch, smoothing):
    z, _, labels = batch
    log_prior = log_softmax(exact(params).class_logits)
    squares = ((z.astype(np.float64)[..., None, :] - exact(params).centres) ** 2).sum(-1)
    gain = log_softmax(-0.5 * squares + log_prior) - log_prior
    smoothed = (1 - smoothing) * np.eye(K)[labels] + smoothing / K
    expected = (smoothed[:, None, None] * gain).sum(-1).mean()
    actual = mixture.mutual_information(params, z, labels, smoothing=smoothing)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


# Far out


@pytest.mark.parametrize("distance", [1e1, 1e3])
def test_far_out_latents_are_as_exact_as_float32_allows(params, batch, distance):
    """The common ‖z‖² is a million times the differences that the class posterior is made of."""
    z = batch[0] + np.float32(distance)
    log_prob = class_log_prob(params, z)
    np.testing.assert_allclose(log_prob, exact_class_log_prob(params, z), rtol=1e-6)
    # z·μ is exact to 1e-7 of its size, which moves the entropy by about as many nats.
    expected = exact_negative_entropy(params, z)
    np.testing.assert_allclose(negative_entropy(params, z), expected, atol=1e-6 * distance + 1e-5)


def test_far_out_latents_between_two_classes_keep_their_entropy():
    """Centres ±e1 and a defect 1e4 away along e2: the squares' difference would vanish in rounding."""
    centres = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    params = MixtureParams(centres, jnp.zeros((2, 0, 2)), jnp.zeros(2), jnp.zeros((2, 1)))
    z = np.array([[0.1, 1e4], [0.5, -1e4]], np.float32)
    np.testing.assert_allclose(negative_entropy(params, z), exact_negative_entropy(params, z), atol=1e-6)


def test_far_out_losses_and_gradients_are_finite(params, batch):
    z, log_det, labels = batch

    def total(params, z):
        return sum(mixture.loss_terms(params, z, log_det, labels, smoothing=0.02))

    value, gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(params, z * 1e3)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((value, gradients)))


# Initial values


@pytest.mark.parametrize(
    ("num_classes", "channels", "distance"),
    [(15, 200, 5.0), (3, 200, 4.981), (10, 200, 5.0), (12, 200, 4.924), (40, 200, 5.0), (4, 4, 5.0)],
)
def test_initial_centres_are_equally_far_apart(num_classes, channels, distance):
    centres = np.asarray(mixture.block_identity_centres(num_classes, channels), np.float64)
    assert centres.shape == (num_classes, channels)
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    np.testing.assert_allclose(distances[~np.eye(num_classes, dtype=bool)], distance, atol=6e-4)


def test_initial_centres_are_repeated_identities():
    centres = mixture.block_identity_centres(3, 7, distance=8.0)
    expected = (
        8 / np.sqrt(4) * np.array([[1, 0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 1, 0]])
    )
    np.testing.assert_allclose(centres, expected, rtol=1e-6)


def test_more_classes_than_channels_is_an_error():
    with pytest.raises(ValueError, match="5 classes need at least as many channels, got 4"):
        mixture.block_identity_centres(5, 4)


def test_initial_mixture():
    centres = mixture.block_identity_centres(4, 100)
    params = mixture.init_params(jax.random.key(0), centres, num_centres=11, delta_scale=0.5)
    np.testing.assert_array_equal(params.centres, centres)
    assert params.deltas.shape == (4, 10, 100)
    np.testing.assert_allclose(np.std(params.deltas), 0.5, rtol=0.05)
    assert params.class_logits.shape == (4,)
    assert params.centre_logits.shape == (4, 11)
    assert not np.any(params.class_logits)
    assert not np.any(params.centre_logits)


def test_first_centre_of_a_class_is_its_main_centre(params):
    centres = mixture.class_centres(params)
    np.testing.assert_allclose(centres, all_centres(exact(params)), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(centres[:, 0], params.centres)
