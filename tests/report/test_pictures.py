"""Small pictures: within their size, true to colour scale and mask."""

import base64
import io
import re

import numpy as np
import pytest
import skimage.data
from PIL import Image
from scipy import ndimage

from hgad_jax.report.pictures import LIMIT, SIDE, jpeg, outline


def decoded(uri):
    head, data = uri.split(",", 1)
    assert head == "data:image/jpeg;base64"
    return base64.b64decode(data)


def test_a_photograph_survives():
    pixels = skimage.data.astronaut()
    data = decoded(jpeg(pixels))
    assert len(data) <= LIMIT
    found = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), float)
    assert found.shape == (SIDE, SIDE, 3)
    expected = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS), float)
    assert np.abs(found - expected).mean() < 12


@pytest.mark.parametrize("limit", [LIMIT, 700])
def test_even_noise_keeps_the_limit(limit):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    data = decoded(jpeg(noise, limit))
    assert len(data) <= limit
    Image.open(io.BytesIO(data)).load()


def test_grey_pictures_are_stored_grey():
    assert Image.open(io.BytesIO(decoded(jpeg(np.full((50, 50, 3), 90, np.uint8))))).mode == "L"


def rasterised(svg):
    """Cells inside of an outline: those that an odd number of vertical edges lies left of."""
    side = int(re.search(r'viewBox="0 0 (\d+) \1"', svg)[1])
    edges = np.zeros((side, side + 1), int)
    for x, y, length in re.findall(r"M(\d+) (\d+)v(\d+)", svg):
        edges[int(y) : int(y) + int(length), int(x)] += 1
    return np.cumsum(edges, 1)[:, :-1] % 2 == 1


def test_an_outline_encloses_the_mask():
    mask = np.zeros((88, 88), bool)
    mask[[0, 40, 60], [3, 50, 87]] = True
    mask = ndimage.binary_dilation(mask, iterations=6)  # diamonds, two of them cut off by the border
    mask[38:42, 48:52] = False  # and a hole
    svg = outline(mask)
    np.testing.assert_array_equal(rasterised(svg), mask)
    horizontal = sum(int(v) for v in re.findall(r"h(\d+)", svg))
    assert horizontal == np.abs(np.diff(np.pad(mask, 1).astype(int), axis=0)).sum()


def test_small_defects_of_large_masks_stay_visible_and_paths_short():
    mask = np.zeros((1000, 1000), bool)
    mask[500, 500] = True
    assert rasterised(outline(mask)).sum() == 1
    assert rasterised(outline(mask)).shape == (88, 88)
    speckled = np.random.default_rng(0).random((400, 400)) < 0.05
    assert 0 < len(outline(speckled)) <= 1600
    assert outline(np.zeros((50, 50), bool)) == ""
    assert rasterised(outline(np.ones((50, 50), bool))).all()
