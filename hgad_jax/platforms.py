"""What is computed one way on a CPU and another way elsewhere; or in one way wherever it will run."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import jax

_anywhere = contextvars.ContextVar("anywhere", default=False)


def by_platform(*arguments: Any, cpu: Callable[..., Any], default: Callable[..., Any]) -> Any:
    """The same of two functions that compute the same: settled when a program is compiled.

    Args:
      *arguments: of both.
      cpu: for XLA's CPU backend, which needs some things written otherwise to be fast.
      default: for all others, as a network is usually written.
    """
    if _anywhere.get():
        return default(*arguments)
    return jax.lax.platform_dependent(*arguments, cpu=cpu, default=default)


@contextlib.contextmanager
def for_anywhere() -> Iterator[None]:
    """What is traced within is the usual way, for programs that XLA will not compile.

    What jax remembers of functions that it has traced is forgotten before and after: it knows nothing of
    this.
    """
    jax.clear_caches()
    token = _anywhere.set(True)
    try:
        yield
    finally:
        _anywhere.reset(token)
        jax.clear_caches()
