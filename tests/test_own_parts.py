"""Parts from outside of the package, by its public names alone: the examples of docs/parts.md."""

import re

import jax
import numpy as np
import optax
import pytest
from trees import ROOT

from hgad_jax import detectors
from hgad_jax.config import EXPERIMENTS, RECIPES, get_config, validate
from hgad_jax.detectors import DETECTORS
from hgad_jax.distributions import BASES
from hgad_jax.errors import UserError
from hgad_jax.flows import FLOWS
from hgad_jax.training.loop import make_schedule
from hgad_jax.training.step import data_mesh, init_state, make_train_step, replicate, shard_batch

SIZES, IMAGES = ((4, 3, 6), (2, 2, 8)), 8


@pytest.fixture
def examples():
    """What docs/parts.md defines; the tables are put back."""
    sections = [recipe.sections["detector"] for recipe in RECIPES.values()]
    tables = [FLOWS, BASES, DETECTORS, RECIPES, EXPERIMENTS, *sections]
    before = [dict(table) for table in tables]
    namespace = {}
    text = (ROOT / "docs" / "parts.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(code, "docs/parts.md", "exec"), namespace)
    yield namespace
    for table, rows in zip(tables, before, strict=True):
        for name in set(table) - set(rows):
            del table[name]


def trained(detector, optimizer, weights, steps=3):
    """Losses of a few steps, and how far the first level's flow has moved."""
    rng, labels = np.random.default_rng(0), np.zeros(IMAGES, np.int32)
    features = tuple(rng.normal(1, 2, (IMAGES, *size)).astype(np.float32) for size in SIZES)
    params, constants = detector.init(jax.random.key(0), [lambda x=x: [(x, labels)] for x in features])
    mesh = data_mesh(jax.devices()[:2])
    step = make_train_step(detector, optimizer, weights, mesh)
    start = jax.tree.map(np.array, params)
    state, constants = replicate(mesh, (init_state(params, optimizer), constants))
    batch, losses = shard_batch(mesh, (features, labels)), []
    for _ in range(steps):
        state, metrics = step(state, constants, *batch)
        losses.append(float(metrics["loss"]))
    maps = jax.jit(detector.evidence)(jax.device_get(state.params), constants, features).log_likelihood
    assert all(np.isfinite(m).all() for m in maps)
    moved = jax.tree.map(
        lambda a, b: np.abs(a - b).max(), start[0].flow, jax.device_get(state.params[0].flow)
    )
    return losses, max(jax.tree.leaves(moved))


def test_an_own_flow_under_an_own_base_trains_in_an_own_detector(examples):
    losses, moved = trained(examples["detector"], optax.sgd(0.01), lambda step: {"likelihood": 1.0})
    assert losses[0] > losses[1] > losses[2]
    assert moved > 1e-4


def test_an_own_flow_undoes_itself(examples):
    flow = examples["scale"](start=0.1)
    params, x = flow.init(None, (2, 2, 5)), np.random.default_rng(0).normal(size=(3, 2, 2, 5))
    z, log_det = flow.forward(params, (), x.astype(np.float32))
    back, back_log_det = flow.inverse(params, (), z)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_allclose(log_det, 0.5, rtol=1e-5)
    np.testing.assert_allclose(back_log_det, -log_det)


@pytest.mark.parametrize(
    ("name", "flow", "base"),
    [
        ("hgad", "scale", "hierarchical"),
        ("hgad", "dense", "laplace"),
        ("robust", "scale", "laplace"),
    ],
)
def test_a_row_of_a_table_is_chosen_by_the_config(examples, name, flow, base):
    """Beside the parts of the package: nothing but the keys."""
    config = get_config(f"{name}_folder")
    config.detector.update(flow=flow, base=base, regions=2, num_blocks=1, condition_channels=4)
    config.train.update(positions=0, stage_two_epoch=0.0, batch_size=IMAGES, warmup_epochs=0.0, epochs=100.0)
    if base == "laplace" and name == "hgad":
        config.loss.update(mutual_information=0.0, intra=0.0)
    validate(config, num_devices=1)
    detector = detectors.create(config.detector, 1)
    schedule = make_schedule(config, detector, IMAGES)
    losses, moved = trained(detector, schedule.optimizer, schedule.loss_weights)
    assert losses[2] < losses[0]
    assert moved > 1e-4


def test_a_key_that_an_own_part_needs_is_asked_for(examples):
    config = get_config("hgad_folder")
    config.detector.flow = "scale"
    del config.detector["start"]
    with pytest.raises(UserError, match="lacks start, which the detector 'hgad' needs with flow='scale'"):
        detectors.create(config.detector, 1)
