import math

import jax
import numpy as np
import pytest

from hgad_jax.training.schedules import learning_rate, loss_weights

PASS = 7  # batches a pass
META = 8 * PASS  # steps a meta-epoch


@pytest.fixture(scope="module")
def published():
    """25 meta-epochs of 8 passes, warm-up over the first two."""
    return learning_rate(
        peak=2e-4,
        total_steps=25 * META,
        warmup_steps=2 * META,
        warmup_start=0.1,
        final=1e-3,
        hold_steps=META,
    )


def cosine(meta_epoch):
    return 2e-7 + (2e-4 - 2e-7) * (1 + math.cos(math.pi * meta_epoch / 25)) / 2


def test_published_learning_rate_after_the_warmup(published):
    for meta_epoch in range(2, 25):
        steps = np.array([0, 1, META - 1]) + meta_epoch * META
        np.testing.assert_allclose([published(s) for s in steps], cosine(meta_epoch), rtol=1e-5)
    np.testing.assert_allclose(published(2 * META), 1.968615e-4, rtol=1e-6)
    np.testing.assert_allclose(published(24 * META), 9.877e-7, rtol=1e-4)


def test_published_warmup(published):
    """Linear per batch, from 2e-5 to the cosine of meta-epoch two."""
    for step in (0, 1, PASS, META - 1, META, 2 * META - 1):
        expected = 2e-5 + step / (2 * META) * (1.968615e-4 - 2e-5)
        np.testing.assert_allclose(published(step), expected, rtol=1e-6)


def test_learning_rate_of_a_traced_step_is_the_same(published):
    steps = np.array([0, 5, 2 * META - 1, 2 * META, 10 * META + 3], np.int32)
    actual = jax.jit(jax.vmap(published))(steps)
    np.testing.assert_allclose(actual, [published(int(s)) for s in steps], rtol=1e-6)


def test_without_hold_the_cosine_moves_every_step_and_ends_at_final():
    schedule = learning_rate(peak=1.0, total_steps=100, warmup_steps=0, warmup_start=0.0, final=0.1)
    steps = np.arange(101)
    expected = 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * steps / 100))
    np.testing.assert_allclose(jax.vmap(schedule)(steps), expected, rtol=1e-5)
    np.testing.assert_allclose(schedule(150), 0.1, rtol=1e-5)


WEIGHTS = {"likelihood": 1.0, "mutual_information": 100.0, "intra": 2.0, "log_sigmoid": 3.0}


@pytest.mark.parametrize("switch", [0, 1, 16])
def test_stage_two_terms_start_exactly_at_their_step(switch):
    weights = loss_weights(WEIGHTS, stage_two_step=switch, stage_two_only=("intra", "log_sigmoid"))
    for step in range(20):
        second = step >= switch
        expected = WEIGHTS | ({} if second else {"intra": 0.0, "log_sigmoid": 0.0})
        assert {name: float(w) for name, w in weights(step).items()} == expected


def test_nothing_is_traced_again_at_the_switch():
    weights = loss_weights(WEIGHTS, stage_two_step=3, stage_two_only=("intra",))
    traces = []

    @jax.jit
    def intra(step):
        traces.append(step)
        return weights(step)["intra"]

    assert [float(intra(np.int32(step))) for step in range(6)] == [0, 0, 0, 2, 2, 2]
    assert len(traces) == 1
