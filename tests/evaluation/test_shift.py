"""By what images differ where good ones are rejected: said of what differs, and of nothing else."""

import numpy as np
import pytest
from PIL import Image

from hgad_jax.data.geometry import Transform
from hgad_jax.evaluation.shift import differences

RNG = np.random.default_rng(0)


def images(place, *, brightness=120, noise=20, size=(40, 50), count=12):
    place.mkdir()
    for i in range(count):
        pixels = np.clip(RNG.normal(brightness + RNG.normal(0, 3), noise, size), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{i}.png")
    return sorted(map(str, place.iterdir()))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"brightness": 80}, {"brightness"}),
        ({"noise": 5}, {"contrast", "sharpness"}),
        ({"size": (60, 50)}, {"height"}),
    ],
)
def test_what_differs_is_named_with_both_medians(tmp_path, change, named):
    before, now = images(tmp_path / "before"), images(tmp_path / "now", **change)
    lines = differences(before, now, Transform(32))
    assert named <= {line.split(":")[0] for line in lines}
    assert all("here" in line and "in the images of training (medians)" in line for line in lines)
    if "brightness" in change:
        assert any(line.startswith("brightness: 8") or line.startswith("brightness: 7") for line in lines)


def test_images_that_are_alike_differ_by_something_else(tmp_path):
    lines = differences(images(tmp_path / "a", count=40), images(tmp_path / "b", count=40), Transform(32))
    assert lines == ["brightness, contrast, sharpness and size are alike: it is something else"]


def test_images_that_are_gone_tell_nothing(tmp_path):
    assert "no longer where they were" in differences([], images(tmp_path / "b"), Transform(32))[0]
