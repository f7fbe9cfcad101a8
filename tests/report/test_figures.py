"""Charts: what they draw is where the numbers are."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from hgad_jax.report.figures import curves, histogram, ticks

LEFT, RIGHT, TOP, BOTTOM = 40, 308, 10, 160  # of the plotting area


def paths(svg, kind):
    root = ElementTree.fromstring(svg)  # it is well-formed
    return [element.get("d") for element in root.iter("path") if kind in element.get("class")]


def test_bars_are_as_high_as_the_share_they_stand_for():
    good, bad, edges = np.array([0, 3, 1]), np.array([2, 0, 0]), np.array([0.0, 1, 2, 3])
    svg = histogram(good, bad, edges, label="score <&>", line=(1.5, "limit"))
    (shape,) = paths(svg, "area good")
    heights = [float(v) for v in re.findall(r"V([\d.]+)", shape)]
    # The scale ends at the highest share, which is the defective ones' 100 %.
    assert heights == pytest.approx([BOTTOM, BOTTOM - 0.75 * 150, BOTTOM - 0.25 * 150, BOTTOM])
    assert [float(v) for v in re.findall(r"H([\d.]+)", shape)] == pytest.approx([129.3, 218.7, 308], abs=0.05)
    (line,) = paths(svg, "limit")
    assert line.startswith("M174.0 ")
    texts = [element.text for element in ElementTree.fromstring(svg).iter("text")]
    assert {"score <&>", "limit", "0%", "100%", "0", "3"} <= set(texts)


def test_a_line_beyond_the_bars_widens_the_axis():
    svg = histogram(np.array([1]), np.array([0]), np.array([0.0, 1.0]), label="x", line=(4.0, "limit"))
    assert paths(svg, "limit")[0].startswith(f"M{RIGHT}.0 ")
    assert not paths(svg, "area bad"), "no shape for none"


def test_curves_run_through_their_points():
    svg = curves([("image", np.array([0, 0.1, 0.2]), np.array([0.5, 0.5, 1]))], right=0.2, labels=("x", "y"))
    (shape,) = paths(svg, "curve image")
    assert shape == "M40.0 160.0L40.0 85.0L174.0 85.0L308.0 10.0"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.3, [0, 0.1, 0.2, 0.3]),
        (-4, -0.7, [-4, -3, -2, -1]),
        (3, 47, [10, 20, 30, 40]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_few_and_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_there_are_never_many_ticks():
    for seed in range(200):
        low, span = np.random.default_rng(seed).normal(size=2) * 10.0 ** (seed % 9 - 4)
        found = ticks(low, low + abs(span))
        assert 1 <= len(found) <= 6
        assert low - 1e-9 <= found[0]
        assert found[-1] <= low + abs(span) + 1e-9
