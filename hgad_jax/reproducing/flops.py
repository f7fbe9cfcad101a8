"""FLOPs of a function: products of matrices and convolutions, counted in the program that JAX traces."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params


def count(function: Callable, *arguments: Any) -> int:
    """FLOPs of a function's matrix products and convolutions: two for each multiplication and addition.

    Loops by their length, where XLA (`by_xla`) counts the body of a loop once.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def by_xla(function: Callable, *arguments: Any) -> dict[str, float]:
    """What XLA says that the compiled function costs."""
    return jax.jit(function).lower(*arguments).compile().cost_analysis() or {}


def _count(jaxpr: Any) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2 * equation.outvars[0].aval.size * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, numbers = equation.invars[1].aval.shape, parameters["dimension_numbers"]
        one_output = math.prod(kernel) // kernel[numbers.rhs_spec[0]]  # inputs that one output channel sees
        return 2 * equation.outvars[0].aval.size * one_output
    inner = [_count(jaxpr) for jaxpr in jaxprs_in_params(parameters)]
    if name == "cond":  # one of its branches runs; of equal ones for CPUs and others, one
        return max(inner, default=0)
    return (parameters["length"] if name == "scan" else 1) * sum(inner)
