"""The benchmark of backbones times only what agrees, in turns, and folds what PyTorch is compared with."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_backbone", BENCHMARKS / "backbone.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "path", list(sys.path))
        spec.loader.exec_module(module)
    return module


class Tensor:
    """A map as PyTorch returns it, channels first."""

    def __init__(self, values):
        self.values = values

    def permute(self, *axes):
        return Tensor(self.values.transpose(axes))

    def numpy(self):
        return self.values


def test_maps_that_disagree_are_not_timed(benchmark):
    ours = np.random.default_rng(0).normal(size=(1, 4, 5, 3))
    same, other = Tensor(ours.transpose(0, 3, 1, 2)), Tensor(1.01 * ours.transpose(0, 3, 1, 2))
    benchmark.check_agreement("name", [ours], [same], [same])
    with pytest.raises(SystemExit, match="name: the maps disagree"):
        benchmark.check_agreement("name", [ours], [same], [other])


def test_contenders_take_turns(benchmark):
    calls, ticks = [], iter(range(100))
    contenders = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    seconds = benchmark.time_alternating(contenders, 3, lambda: next(ticks))
    assert calls == ["a", "b"] * 3
    assert seconds == {"a": [1, 1, 1], "b": [1, 1, 1]}


if importlib.util.find_spec("timm") and importlib.util.find_spec("torch"):  # the extra `parity`
    from parity import timm_reference

    @pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
    def test_contenders_agree(benchmark, name):
        contenders = benchmark.build(timm_reference, name, 1, 64)
        assert list(contenders) == ["hgad_jax", "eager", "channels_last"]
