"""Counted FLOPs are those of the formulas, and XLA's."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
from trees import ROOT

_spec = importlib.util.spec_from_file_location("flops", ROOT / "benchmarks" / "flops.py")
flops = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(flops)


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, np.float32)


def test_products_convolutions_loops_and_branches():
    assert flops.count(jnp.dot, shape(3, 5), shape(5, 7)) == 2 * 3 * 5 * 7

    def grouped(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", feature_group_count=4, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert flops.count(grouped, shape(2, 8, 8, 8), shape(3, 3, 2, 16)) == 2 * (2 * 4 * 4 * 16) * (3 * 3 * 2)

    def looped(x):
        return jax.lax.scan(lambda c, _: (c @ c, None), x, length=6)[0]

    assert flops.count(looped, shape(4, 4)) == 6 * 2 * 4**3

    def branched(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x @ x @ x, x)

    assert flops.count(branched, shape(4, 4)) == 2 * 2 * 4**3


def test_a_block_as_xla_counts_it():
    function, arguments = flops.one_block(20, 4, 2)
    counted, by_xla = flops.count(function, *arguments), flops.by_xla(function, *arguments)["flops"]
    assert counted < by_xla < 1.1 * counted, "what is done element by element is a few percent"
