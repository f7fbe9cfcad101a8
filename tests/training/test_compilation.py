"""A training step is compiled once: nothing about its inputs changes from the first step to the next."""

import jax
import numpy as np
import pytest

from hgad_jax import detectors
from hgad_jax.config import get_config
from hgad_jax.training import loop
from hgad_jax.training.step import data_mesh, init_state, make_train_step, replicate, shard_batch

pytestmark = pytest.mark.devices(8)


@pytest.mark.parametrize("devices", [1, 8])
def test_step_is_compiled_once_across_stages_and_devices(devices):
    config = get_config("hgad_folder")
    config.detector.update(num_blocks=2, condition_channels=8, regions=2)
    config.train.update(epochs=2.0, stage_two_epoch=1.0, batch_size=8)
    detector = detectors.create(config.detector, 2)
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(16, 4, 4, 6)).astype(np.float32),)
    labels = np.arange(16, dtype=np.int32) % 2
    params, constants = detector.init(jax.random.key(0), [lambda: [(features[0], labels)]])
    schedule = loop.make_schedule(config, detector, num_examples=16)
    mesh = data_mesh(jax.devices()[:devices])
    state = replicate(mesh, init_state(params, schedule.optimizer))
    constants = replicate(mesh, constants)
    step = make_train_step(detector, schedule.optimizer, schedule.loss_weights, mesh)
    for _ in range(schedule.steps):  # the second half in stage two
        batch = shard_batch(mesh, ((features[0][:8],), labels[:8]))
        state, _ = step(state, constants, *batch)
    assert schedule.steps == 4
    assert step._cache_size() == 1


@pytest.mark.parametrize("name", ["hgad", "cflow", "fastflow"])
def test_no_parameter_is_weakly_typed(name):
    """An update would give it a type of its own, and the second step would be compiled anew."""
    params, constants = detectors.create(get_config(f"{name}_folder").detector, 2).abstract(
        ((4, 4, 6), (2, 2, 8))
    )
    leaves = jax.tree_util.tree_flatten_with_path((params, constants))[0]
    assert not [jax.tree_util.keystr(path) for path, leaf in leaves if leaf.weak_type]
