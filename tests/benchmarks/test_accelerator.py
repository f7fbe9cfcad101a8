"""The benchmark of a GPU or TPU beside the CPU: here the CPU beside itself."""

import importlib
import sys

import jax
import numpy as np
import pytest
from test_flow_benchmark import BENCHMARKS
from trees import add_class, tiny_config

from hgad_jax.data import load_dataset


@pytest.fixture(scope="module")
def accelerator():
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("accelerator")


def test_without_one_it_says_so(accelerator, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["accelerator.py", "--root=nowhere"])
    with pytest.raises(SystemExit, match="no GPU or TPU"):
        accelerator.main()


@pytest.mark.slow
def test_differences(accelerator, tmp_path, monkeypatch):
    """None between a device and itself, and all that is there where one of two is wrong."""
    add_class(tmp_path / "data", "brick", test=5)
    config = tiny_config(tmp_path / "data", tmp_path / "cache")
    problem = accelerator.make_problem(config, load_dataset(config.data), lambda line: None)
    cpu = jax.devices()[0]
    found = accelerator.measure(problem, cpu, cpu, steps=6, images=4)
    assert found["features"] == 0
    for name in accelerator.PRECISIONS:
        assert found[name]["log_likelihood"] == found[name]["classes"] == 0
        assert found[name]["deviation"] > 0
        assert found[name]["ms"] > 0
    assert all(name in accelerator.table(found) for name in accelerator.PRECISIONS)

    run, off = accelerator._run, [0.0]

    def shifted(function, device, *arguments):
        off[0] = 1.0 - off[0]  # the first of the two
        return jax.tree.map(lambda x: x + np.asarray(off[0], x.dtype), run(function, device, *arguments))

    monkeypatch.setattr(accelerator, "_run", shifted)
    model, _ = accelerator.train(problem, 2)
    wrong = accelerator.compare_models(problem, model, problem.test.gather(np.arange(4)), cpu, cpu)
    np.testing.assert_allclose(wrong["log_likelihood"], 1, rtol=1e-5)
    assert wrong["classes"] == 4
    assert accelerator.compare_features(problem, problem.dataset.test[:4], cpu, cpu) > 0
