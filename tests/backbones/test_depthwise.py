"""Both ways to convolve depthwise against each other and against SciPy in float64."""

import jax
import numpy as np
import pytest
from scipy import signal

from hgad_jax.backbones.depthwise import depthwise_conv, grouped_conv, shifted_sum

CASES = {
    "3x3": ((3, 3), 1, ((1, 1), (1, 1))),
    "3x3, stride 2, asymmetric": ((3, 3), 2, ((0, 1), (0, 1))),
    "5x5": ((5, 5), 1, ((2, 2), (2, 2))),
    "5x5, stride 2, asymmetric": ((5, 5), 2, ((1, 2), (2, 1))),
    "3x5, stride 3, one side only": ((3, 5), 3, ((2, 0), (0, 4))),
    "1x1, no padding": ((1, 1), 1, ((0, 0), (0, 0))),
}
CONVOLUTIONS = {"shifted": shifted_sum, "grouped": grouped_conv, "chosen": depthwise_conv}


def by_scipy(x, kernel, stride, padding):
    x = np.pad(x.astype(np.float64), ((0, 0), *padding, (0, 0)))
    maps = [
        [
            signal.correlate2d(image[..., c], kernel[..., c].astype(np.float64), "valid")
            for c in range(x.shape[-1])
        ]
        for image in x
    ]
    return np.moveaxis(np.array(maps), 1, -1)[:, ::stride, ::stride]


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
@pytest.mark.parametrize("case", CASES)
def test_depthwise_equals_scipy(case, convolution):
    size, stride, padding = CASES[case]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 11, 8, 3)).astype(np.float32)
    kernel = rng.normal(size=(*size, 3)).astype(np.float32)
    found = CONVOLUTIONS[convolution](x, kernel, stride=stride, padding=padding)
    np.testing.assert_allclose(found, by_scipy(x, kernel, stride, padding), rtol=0, atol=2e-5)


def lowered(platform):
    x, kernel = np.zeros((1, 9, 9, 4), np.float32), np.zeros((3, 3, 4), np.float32)
    convolve = jax.jit(lambda x, kernel: depthwise_conv(x, kernel, stride=1, padding=((1, 1), (1, 1))))
    return convolve.trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()


def test_cpu_gets_shifted_products():
    assert "convolution" not in lowered("cpu")


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_a_grouped_convolution(platform):
    assert "feature_group_count = 4" in lowered(platform)


@pytest.mark.parametrize(
    "shapes", [((1, 9, 9, 4), (3, 3, 5)), ((9, 9, 4), (3, 3, 4)), ((1, 9, 9, 4), (3, 3, 1, 4))]
)
def test_shapes_that_do_not_fit_are_refused(shapes):
    x, kernel = map(np.zeros, shapes)
    with pytest.raises(ValueError, match="expected x"):
        depthwise_conv(x, kernel, stride=1, padding=((1, 1), (1, 1)))
