"""The benchmark of many products times what it says: training, scoring with the class found, or told."""

import jax
import numpy as np
import pytest
from test_flow_benchmark import load

from hgad_jax.config import get_config

LEVELS = ((6, 6, 8), (3, 4, 6))


@pytest.fixture(scope="module")
def benchmark():
    return load("classes")


def test_contenders_are_what_they_are_called(benchmark, monkeypatch):
    config = get_config("hgad_folder")
    config.detector.update(num_blocks=2, condition_channels=8)
    monkeypatch.setattr(benchmark, "get_config", lambda name: config)
    contenders = benchmark.make(3, LEVELS)
    before, after = (jax.device_get(contenders["training"]()) for _ in range(2))
    assert before["loss"] != after["loss"]
    given, found = jax.device_get((contenders["given"](), contenders["found"]()))
    np.testing.assert_array_equal(found.class_ids, found.class_log_prob.argmax(-1))
    np.testing.assert_allclose(found.class_log_prob, given.class_log_prob, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.bincount(given.class_ids), [11, 11, 10])
