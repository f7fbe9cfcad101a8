"""Types that several rooms share, and the few functions that keep them simple."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray  # on a device, or on the host
Scalar = jax.Array | np.ndarray | np.floating | float
Config = Any  # an ml_collections.ConfigDict: what a key holds is for config/ to say, no type checker can


def abstract_array(*shape: int, dtype: Any = np.float32) -> Any:
    """Shape and dtype alone, where an array will be; of any type, as what `jax.eval_shape` gives is."""
    return jax.ShapeDtypeStruct(shape, dtype)


def total(terms: Iterable[jax.Array]) -> jax.Array:
    """The sum of one or more arrays; `sum` alone may be a number, that of none."""
    iterator = iter(terms)
    return sum(iterator, 0 + next(iterator))
