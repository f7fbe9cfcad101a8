"""The benchmark compares like with like: both sides decode the same pixels, both epochs train on the same."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trees import add_class

from hgad_jax.data.geometry import Transform
from hgad_jax.data.transforms import load_image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark():
    return load("input")


@pytest.fixture(scope="module")
def torch_images():
    pytest.importorskip("torch", reason="needs the extra 'bench'")
    return load("torch_images")


@pytest.fixture(scope="module")
def records(benchmark, tmp_path_factory):
    return benchmark.make_textures(tmp_path_factory.mktemp("textures"), 8, side=300)


def test_textures_are_images_that_differ(records):
    images = [load_image(record.path, Transform(64)) for record in records]
    assert all(image.std() > 10 for image in images)
    assert len({image.tobytes() for image in images}) == 8


def test_a_users_folder_is_listed(benchmark, tmp_path):
    add_class(tmp_path, "brick", good=4, test=1)
    assert len(benchmark.list_images(str(tmp_path))) == 4


@pytest.mark.parametrize("workers", [0, 1])
def test_both_sides_decode_the_same_pixels(benchmark, torch_images, records, workers):
    benchmark.check_pixels(torch_images, records, workers)


def test_sides_that_differ_are_refused(benchmark, torch_images, records, monkeypatch):
    monkeypatch.setattr(benchmark, "Transform", lambda size: Transform(size, interpolation="nearest"))
    with pytest.raises(SystemExit, match="decode different pixels"):
        benchmark.check_pixels(torch_images, records, 0)


def test_features_are_the_same_from_both_sources(benchmark, records, tmp_path):
    config = benchmark.get_config("hgad_folder")
    model = benchmark.setup.build_model(config, 1)
    cache = benchmark.setup.cached_features(config, model.levels, records, str(tmp_path), lambda line: None)
    images = np.stack([load_image(record.path, Transform(benchmark.SIZE, detail=2)) for record in records])
    for cached, computed in zip(
        cache.gather(np.arange(8)), benchmark.extraction.features_of(model.levels, images), strict=True
    ):
        np.testing.assert_allclose(cached, computed, atol=1e-4 * np.abs(cached).max())


def test_rounds_alternate_and_the_first_is_not_counted(benchmark):
    calls = []
    contenders = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = benchmark.alternate(contenders, 3)
    assert calls == ["a", "b"] * 4
    assert seconds.keys() == {"a", "b"}


@pytest.mark.slow
def test_the_command_ends_with_json():
    pytest.importorskip("torch", reason="needs the extra 'bench'")
    command = [sys.executable, str(BENCHMARKS / "input.py"), "--images", "8", "--rounds", "1"]
    command += ["--few", "8", "--many", "40"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["epochs"].keys() == {"published", "default"}
    assert all(epochs["features_ratio"] > 1 for epochs in result["epochs"].values())
    assert result["peak_mb_many"] > 100
