"""Products that have to keep all bits on every device ask for them: a CPU's results would not tell."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from hgad_jax.backbones.levels import feature_levels
from hgad_jax.detectors.padim import padim
from hgad_jax.detectors.spade import spade
from hgad_jax.resize import resize_aligned
from hgad_jax.scoring.maps import smooth

PRODUCTS = ("dot_general", "conv_general_dilated")


def precisions(function, *arguments):
    """Of all products in a function, those within its loops and branches too."""

    def of(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name in PRODUCTS:
                yield equation.params["precision"]
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                yield from of(inner)

    return list(of(jax.make_jaxpr(function)(*arguments).jaxpr))


def evidence_of(detector):
    rng = np.random.default_rng(0)
    features = tuple(rng.normal(size=(6, s, s, 5)).astype(np.float32) for s in (4, 2))
    labels = np.arange(6, dtype=np.int32) % 2
    state = detector.init(jax.random.key(0), [lambda x=x: iter([(x, labels)]) for x in features])
    return detector.evidence, *state, features


def lite0():
    levels = feature_levels("tf_efficientnet_lite0", taps=(), scales=(1, 2), image_size=64)
    return levels.apply, levels.variables, jnp.zeros((1, 64, 64, 3), jnp.uint8)


CASES = {
    "resizing": lambda: (lambda x: resize_aligned(x, 8, 6), jnp.ones((1, 4, 4, 1))),
    "smoothing": lambda: (lambda x: smooth(x, 2.0), jnp.ones((1, 8, 8))),
    "PaDiM": lambda: evidence_of(padim(num_classes=2, dimensions=3, regularization=0.01)),
    "SPADE": lambda: evidence_of(spade(num_classes=2, gallery=6, neighbours=2, pixel_neighbours=1)),
    "backbone": lite0,
}


@pytest.mark.parametrize("name", CASES)
def test_all_bits_are_asked_for(name):
    found = precisions(*CASES[name]())
    assert found, "no product at all"
    assert set(found) == {(jax.lax.Precision.HIGHEST,) * 2}
