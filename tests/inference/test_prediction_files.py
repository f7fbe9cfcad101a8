"""Names of files, and contours where a transform shifts and scales."""

import json

import numpy as np
import pytest

from hgad_jax.data.geometry import Transform, map_to_image
from hgad_jax.inference.contours import regions_above
from hgad_jax.inference.prediction_files import Outputs, output_name, write_outputs
from hgad_jax.inference.predictor import Decided, Prediction
from hgad_jax.inference.regions import regions
from hgad_jax.scoring.threshold import Threshold

THRESHOLD = Threshold(5.0, 0.01, (0.0, 0.1), 10, "pixels", 1.0)
SIDE = 64


def decided(values, size, transform):
    marked = regions(values, 5.0, transform, size)
    said = (9.0, 0.9, 3.0, True, 0.01, "a", 1.0, False, 0.5)
    return Decided(Prediction(*said, values.astype(np.float32), 5.0, marked), THRESHOLD)


def written(tmp_path, values, size, transform):
    """What is in the contours' file."""
    (tmp_path / "contours").mkdir(exist_ok=True)
    found = decided(values, size, transform)
    write_outputs(tmp_path, Outputs(contours=True), "a.png", "/a.png", size, found, transform)
    return json.loads((tmp_path / "contours" / f"{output_name('/a.png')}.json").read_text())


@pytest.mark.parametrize(
    ("transform", "size"),
    [
        (Transform(SIDE), (100, 200)),
        (Transform(SIDE, "letterbox"), (100, 200)),
        (Transform(SIDE, "letterbox"), (300, 150)),
        (Transform(SIDE, "short_side_crop"), (100, 160)),
        (Transform(SIDE, tiles=2), (90, 90)),
    ],
)
def test_contours_lie_where_the_map_at_the_images_size_is_above(tmp_path, transform, size):
    side = transform.working_size
    values = np.zeros((side, side))
    values[side // 2 - 8 : side // 2 + 6, side // 2 - 10 : side // 2 + 14] = 10.0
    content = written(tmp_path, values, size, transform)
    (region,) = content["regions"]
    assert (content["height"], content["width"]) == size
    (expected,) = regions_above(map_to_image(values, transform, size), 5.0)
    found, wanted = np.array(region["outline"]), expected.outline
    for corner in (np.min, np.max):
        np.testing.assert_allclose(corner(found, axis=0), corner(wanted, axis=0), atol=1.5)
    assert region["area"] == pytest.approx(expected.area, rel=0.1)
    assert region["highest"] == 10.0
    np.testing.assert_allclose(region["centre"], (wanted.min(0) + wanted.max(0)) / 2, atol=1.5)
    assert region["length"] == pytest.approx(np.hypot(*(wanted.max(0) - wanted.min(0))), rel=0.1)
    x, y = region["peak"]
    assert wanted[:, 0].min() - 1.5 <= x <= wanted[:, 0].max() + 1.5
    assert wanted[:, 1].min() - 1.5 <= y <= wanted[:, 1].max() + 1.5


def test_the_padding_of_a_letterbox_has_no_contour(tmp_path):
    values = np.zeros((SIDE, SIDE))
    values[:10] = 10.0
    assert written(tmp_path, values, (100, 200), Transform(SIDE, "letterbox"))["regions"] == []


@pytest.mark.parametrize("path", ["../../etc/passwd.png", "/a/b/....png", "a\0b.png", "x" * 300, "-rf.png"])
def test_output_names_are_plain(path):
    assert set(output_name(path)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert not output_name(path).startswith((".", "-"))
    assert len(output_name(path)) < 90


def test_equal_names_in_different_folders_differ():
    assert len({output_name(path) for path in ("a/x.png", "b/x.png", "x.png", "./x.png", "x.jpg")}) == 5
