"""Trees of arrays as JSON and a safetensors file: what a calibration holds is for its own types to say.

A tree is made of NamedTuples, dicts, tuples and arrays. Its structure is written down by the names of types
and fields, and read back with the types of today: a field that is new since then has its default.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from hgad_jax.errors import UserError
from hgad_jax.scoring import calibration, constants

Arrays = dict[str, np.ndarray]


def _named_tuples(*modules: ModuleType) -> dict[str, Callable[..., Any]]:
    """The types that a structure may name, and no others."""
    values = (value for module in modules for value in vars(module).values())
    return {
        value.__name__: value for value in values if isinstance(value, type) and hasattr(value, "_fields")
    }


_TYPES = _named_tuples(calibration, constants)


def packed(tree: Any, place: str = "") -> tuple[Any, Arrays]:
    """The structure of a tree, as JSON, and its arrays by their place in it."""
    if tree is None:
        return None, {}
    if isinstance(tree, dict):
        kind, children = "dict", dict(tree)
    elif hasattr(tree, "_asdict"):
        kind, children = type(tree).__name__, tree._asdict()
    elif isinstance(tree, tuple | list):
        kind, children = "tuple", {str(i): child for i, child in enumerate(tree)}
    else:
        return place, {place: np.asarray(tree, order="C")}
    arrays: Arrays = {}
    structure = {}
    for name, child in children.items():
        structure[name], found = packed(child, f"{place}.{name}".lstrip("."))
        arrays |= found
    return {"type": kind, "of": structure}, arrays


def unpacked(structure: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The tree of a structure.

    Raises:
      UserError: it names a type or a field that this version does not have.
    """
    if structure is None:
        return None
    if isinstance(structure, str):
        return arrays[structure]
    kind = structure["type"]
    children = {name: unpacked(child, arrays) for name, child in structure["of"].items()}
    if kind == "dict":
        return children
    if kind == "tuple":
        return tuple(children.values())
    try:
        return _TYPES[kind](**children)
    except (KeyError, TypeError) as error:
        raise UserError(
            f"A calibration of the type {kind} with {', '.join(children)}, which this version of hgad_jax "
            "does not have. Install the version that exported the artefact, or export the run with this one."
        ) from error


def named_leaves(tree: Any) -> Arrays:
    """The arrays of any pytree on the host, in its order, by their place in it."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf, order="C") for path, leaf in leaves}


def dtypes(arrays: Arrays) -> dict[str, str]:
    """The type of each array by name, in their order."""
    return {name: str(array.dtype) for name, array in arrays.items()}


def as_bytes(arrays: Arrays) -> bytes:
    """A safetensors file; what is bfloat16, which NumPy has not, as uint16 of the same bits."""
    return safetensors.numpy.save(
        {name: a.view(np.uint16) if a.dtype == jnp.bfloat16 else a for name, a in arrays.items()}
    )


def from_bytes(content: bytes, types: Mapping[str, str] | None = None) -> Arrays:
    """The arrays of a safetensors file, which was checked before; in the order of `types`, if there are.

    Args:
      content: of the file.
      types: what `dtypes` said of them.
    """
    arrays = safetensors.numpy.load(content)
    if types is None:
        return arrays
    return {name: arrays[name].view(jnp.dtype(of)) for name, of in types.items()}
