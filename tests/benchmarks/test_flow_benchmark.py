"""The benchmark compares like with like: both flows compute the same from the same weights."""

import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def published():
    pytest.importorskip("torch")
    pytest.importorskip("FrEIA", reason="needs the extra 'bench'")
    return load("freia_flow")


@pytest.fixture(scope="module")
def benchmark():
    return load("flow")


@pytest.fixture(scope="module", params=[10, 7], ids=["even", "odd"])
def problem(published, request):
    size = published.Size(blocks=3, channels=request.param, condition=8, images=4, height=3, width=5)
    features = np.random.default_rng(1).standard_normal((4, 3, 5, size.channels), np.float32)
    return size, published.build_flow(size, seed=0), features


def test_flows_agree_on_latents_and_log_dets(benchmark, published, problem):
    size, inn, features = problem
    errors = benchmark.check_agreement(published, inn, size, features)
    assert max(errors) < 1e-5


def test_check_refuses_flows_that_differ(benchmark, published, problem, monkeypatch):
    size, inn, features = problem
    params = published.to_params(inn)
    monkeypatch.setattr(published, "to_params", lambda inn: params._replace(offset=params.offset + 0.01))
    with pytest.raises(SystemExit, match=r"disagree.*latents differ"):
        benchmark.check_agreement(published, inn, size, features)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_flows_agree_on_loss_and_gradients(benchmark, published, problem, micro_batches):
    import torch

    size, inn, features = problem
    inn.zero_grad()
    rows = torch.from_numpy(features.reshape(-1, size.channels))
    loss = published.loss(inn, rows, published.condition_vectors(size))
    loss.backward()

    our_loss = benchmark.make_loss(benchmark.make_forward(published, inn, size))
    params = published.to_params(inn)
    gradients, metrics = benchmark.micro_batched_grad(our_loss, params, features, micro_batches)
    np.testing.assert_allclose(metrics["loss"], loss.item(), rtol=1e-5)
    expected = published.to_params(inn, read=published.gradients)
    for name, ours, theirs in zip(gradients._fields, gradients, expected, strict=True):
        assert ours.shape == theirs.shape
        scale = float(abs(theirs).max())
        assert scale > 0, name
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * scale, rtol=1e-4, err_msg=name)


@pytest.fixture(scope="module", params=[1, 2], ids=["whole", "parts"])
def contenders(benchmark, published, request):
    size = published.Size(blocks=2, channels=6, condition=4, images=4, height=2, width=3)
    features = np.random.default_rng(2).standard_normal((4, 2, 3, 6), np.float32)
    inn = published.build_flow(size, seed=2)
    return size, inn, benchmark.build_contenders(published, inn, size, features, 2, request.param)[0]


def test_contenders_compute_the_same(published, contenders):
    """Forward passes first; then three steps of either optimiser end at the same parameters."""
    _, inn, contenders = contenders
    ours, theirs = contenders["forward"](), contenders["torch_forward"]()
    for index in range(2):
        expected = np.concatenate([part[index] for part in theirs])
        np.testing.assert_allclose(ours[index].reshape(expected.shape), expected, atol=1e-5)
    start = published.to_params(inn)
    for _ in range(3):
        contenders["torch_train"]()
        (params, _), _ = contenders["train"]()
    moved = published.to_params(inn)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, moved)
    assert all(float(abs(a - b).max()) > 1e-4 for a, b in zip(start, moved, strict=True))


def test_every_contender_is_timed_and_summarised(benchmark, contenders):
    size, _, contenders = contenders
    milliseconds = benchmark.time_alternating(contenders, rounds=2)
    assert all(len(times) == 2 for times in milliseconds.values())
    line = benchmark.summary(milliseconds, benchmark.operations(size), threads=1)
    assert {"forward_ratio", "train_ratio", "threads", "forward_ms", "train_ms"} <= set(line)
    assert all(np.isfinite(value) for value in line.values())


def test_levels_are_added_up_round_by_round(benchmark):
    found = [({"train": [1.0, 2.0]}, {"train": 5.0}), ({"train": [10.0, 30.0]}, {"train": 7.0})]
    assert benchmark.total(found) == ({"train": [11.0, 32.0]}, {"train": 12.0})


def test_without_freia_the_message_says_what_to_install(benchmark, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "freia_flow", None)
    with pytest.raises(SystemExit) as stop:
        benchmark._import_published()
    assert stop.value.code == 2
    assert "pip install 'hgad_jax[bench]'" in capsys.readouterr().err
