"""Reads `.safetensors` files: eight bytes of length, a JSON header, then the tensors' bytes.

Nothing in such a file can be run; what is checked is that no tensor lies outside of the file, overlaps
another one or leaves a gap, as the format's definition demands.
"""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from hgad_jax.errors import UserError

_LARGEST_HEADER = 100_000_000  # bytes, the format's own limit
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "BOOL": "?",
}


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read all tensors of a `.safetensors` file.

    Args:
      path: the file.

    Returns:
      Name -> array in the file's own dtype and shape, read-only.

    Raises:
      UserError: the file is missing, cut off, damaged, of another kind, or has a dtype that NumPy lacks.
    """
    path = Path(path)
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"cannot read the weights file {path}: {error.strerror or error}") from error
    header, data = _header(content, path)
    spans: list[tuple[int, int]] = []
    state = {name: _tensor(name, entry, data, spans, path) for name, entry in header.items()}
    _check_spans(spans, data.size, path)
    return state


def _header(content: np.ndarray, path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """The header without its metadata, and the bytes after it."""
    length = int.from_bytes(content[:8].tobytes(), "little")
    if content.size < 8 or length > min(_LARGEST_HEADER, content.size - 8):
        _refuse(path, f"a header of {length} bytes in a file of {content.size}")
    try:
        header = json.loads(content[8 : 8 + length].tobytes(), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"a header that is no JSON ({error})")
    if not isinstance(header, dict):
        _refuse(path, f"a header that is a {type(header).__name__}")
    header.pop("__metadata__", None)
    return header, content[8 + length :]


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _tensor(name: str, entry: Any, data: np.ndarray, spans: list[tuple[int, int]], path: Path) -> np.ndarray:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, end]}:
            pass
        case _:
            _refuse(path, f"no dtype, shape and data_offsets for {name}")
    if dtype not in _DTYPES:
        raise UserError(
            f"the tensor {name} in {path} has the dtype {dtype}; expected one of {', '.join(_DTYPES)}. Save "
            "the weights as float32."
        )
    if any(type(number) is not int or number < 0 for number in (*shape, start, end)):
        _refuse(path, f"shape {shape} and offsets {[start, end]} of {name}")
    nbytes = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if not start <= end <= data.size or end - start != nbytes:
        _refuse(path, f"offsets {[start, end]} of {name}, which needs {nbytes} of {data.size} bytes")
    spans.append((start, end))
    return np.frombuffer(data[start:end].tobytes(), _DTYPES[dtype]).reshape(shape)


def _check_spans(spans: list[tuple[int, int]], size: int, path: Path) -> None:
    """The tensors must fill the file one after the other."""
    position = 0
    for start, end in sorted(spans):
        if start != position:
            _refuse(path, f"tensors that {'overlap' if start < position else 'leave a gap'} at byte {start}")
        position = end
    if position != size:
        _refuse(path, f"{size - position} bytes after the last tensor")


def _refuse(path: Path, found: str) -> NoReturn:
    raise UserError(
        f"{path} is not a whole safetensors file: found {found}. Download or copy it again, and compare its "
        "SHA-256 with its publisher's."
    )
