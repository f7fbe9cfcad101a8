"""The benchmark of CFLOW-AD's step compares like with like, and says so when it does not."""

import sys

import numpy as np
import pytest
from test_flow_benchmark import BENCHMARKS, load

LEVELS = ((4, 4, 6), (2, 4, 8))


@pytest.fixture(scope="module")
def published():
    pytest.importorskip("torch")
    pytest.importorskip("FrEIA", reason="needs the extra 'bench'")
    return load("freia_flow")


@pytest.fixture(scope="module")
def benchmark():
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(BENCHMARKS))  # it shares functions with flow.py
        module = load("cflow")
    sys.modules.pop("flow", None)
    module.FIBRE, module.BLOCKS, module.CONDITION = 16, 2, 8
    return module


def test_a_step_is_the_published_one(benchmark, published):
    problem = benchmark.Problem(published, images=8, levels=LEVELS)
    loss_error, parameter_error = problem.check(images=4)
    assert loss_error < 1e-5
    assert parameter_error < 1e-3


def test_sides_that_differ_are_refused(benchmark, published, monkeypatch):
    problem = benchmark.Problem(published, images=8, levels=LEVELS)
    to_rotations = published.to_rotations
    monkeypatch.setattr(published, "to_rotations", lambda inn: to_rotations(inn)[::-1])
    with pytest.raises(SystemExit, match="The two sides disagree"):
        problem.check(images=4)


def test_both_contenders_train(benchmark, published):
    contenders = benchmark.Problem(published, images=8, levels=LEVELS).contenders()
    params, metrics = contenders["ours"]()
    losses = contenders["torch"]()
    assert np.isfinite(losses).all()
    assert np.isfinite(metrics["loss"])
    assert len(params) == len(losses) == 2
