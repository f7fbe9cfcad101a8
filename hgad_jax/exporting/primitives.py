"""A traced program written with fewer primitives, for whoever does not know all of jax's, or not the newest.

What is called is put in its place, what has a plainer form gets it.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal

from hgad_jax.errors import UserError
from hgad_jax.types import total

_CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint")
_OF_TOTAL_ORDER = {"lt_to": lax.lt, "le_to": lax.le}
_NOTHING = ("optimization_barrier", "stop_gradient")  # what comes in goes out


def plain(traced: ClosedJaxpr) -> ClosedJaxpr:
    """The same program, traced anew."""
    inputs = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in traced.jaxpr.invars]
    return jax.make_jaxpr(lambda *values: _evaluated(traced.jaxpr, traced.consts, values))(*inputs)


def _evaluated(jaxpr: Any, consts: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    found: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *values], strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else found[variable]

    for equation in jaxpr.eqns:
        results = _result(equation, [read(variable) for variable in equation.invars])
        found |= zip(equation.outvars, results, strict=True)
    return [read(variable) for variable in jaxpr.outvars]


def _result(equation: Any, values: list[Any]) -> list[Any]:
    name, params = equation.primitive.name, equation.params
    if name in _CALLS:
        called = params.get("call_jaxpr") or params["jaxpr"]
        return _evaluated(getattr(called, "jaxpr", called), getattr(called, "consts", ()), values)
    if name in _NOTHING:
        return values
    if name in _OF_TOTAL_ORDER and not jax.numpy.issubdtype(values[0].dtype, jax.numpy.floating):
        return [_OF_TOTAL_ORDER[name](*values)]  # which differs for floats alone: −0 and NaN
    if name == "stack":
        axis = params["axis"]
        return [lax.concatenate([lax.expand_dims(value, [axis]) for value in values], axis)]
    if name == "reduce_window_sum":
        return [_window_sum(values[0], params)]
    if name == "scan":
        return _scanned(params, values)
    settings = equation.primitive.get_bind_params(params)
    result = equation.primitive.bind(*values, **settings)
    return list(result) if equation.primitive.multiple_results else [result]


def _window_sum(x: Any, params: dict[str, Any]) -> Any:
    """Sums over windows as sums of shifted arrays."""
    shape, strides = params["window_dimensions"], params["window_strides"]
    if set(params["base_dilation"]) | set(params["window_dilation"]) != {1}:
        raise UserError(
            "A part of this model sums over windows with gaps, which no program for ONNX can be made of yet: "
            "export it without --format=onnx."
        )
    x = lax.pad(x, x.dtype.type(0), [(low, high, 0) for low, high in params["padding"]])
    counts = [(n - k) // s + 1 for n, k, s in zip(x.shape, shape, strides, strict=True)]

    def shifted(first: tuple[int, ...]) -> Any:
        last = [i + (n - 1) * s + 1 for i, n, s in zip(first, counts, strides, strict=True)]
        return lax.slice(x, first, last, strides)

    return total(shifted(first) for first in itertools.product(*map(range, shape)))


def _scanned(params: dict[str, Any], values: list[Any]) -> list[Any]:
    """A loop whose body is plain."""
    body, consts, carried = params["jaxpr"], params["num_consts"], params["num_carry"]

    def step(carry, each):
        out = _evaluated(body.jaxpr, body.consts, [*values[:consts], *carry, *each])
        return out[:carried], out[carried:]

    start, each = values[consts : consts + carried], values[consts + carried :]
    last, gathered = lax.scan(step, start, each, length=params["length"], reverse=params["reverse"])
    return [*last, *gathered]
