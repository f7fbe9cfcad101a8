"""Reading `.safetensors` files: whole ones are read, all others refused with the reason."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest

from hgad_jax.backbones.sources import read_safetensors
from hgad_jax.errors import UserError

# What the package safetensors 0.8 writes for {"a": [[1, 2, 3]], "n": 7} (float32 and int64), as its
# save_file does: entries sorted by dtype, the header padded with spaces to a multiple of eight.
WRITTEN = (
    b'p\x00\x00\x00\x00\x00\x00\x00{"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},'
    b'"a":{"dtype":"F32","shape":[1,3],"data_offsets":[8,20]}}   '
    b"\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@\x00\x00@@"
)


def write(path, header, data=b"", *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(start, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def refusal(path):
    with pytest.raises(UserError) as caught:
        read_safetensors(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_file_written_by_the_reference_package_is_read(path):
    path.write_bytes(WRITTEN)
    state = read_safetensors(path)
    np.testing.assert_array_equal(state["a"], np.float32([[1, 2, 3]]), strict=True)
    np.testing.assert_array_equal(state["n"], np.array(7, np.int64), strict=True)


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"])
def test_every_dtype_of_numpy_is_read(path, dtype):
    codes = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": ml_dtypes.bfloat16, "BOOL": "?", "U8": "u1"}
    values = np.array([1, 0, 1], codes.get(dtype, f"i{int(dtype[1:]) // 8}" if dtype[0] == "I" else None))
    write(path, {"x": entry(0, values.nbytes, (3,), dtype)}, values.tobytes())
    np.testing.assert_array_equal(read_safetensors(path)["x"], values, strict=True)


def test_metadata_is_no_tensor(path):
    write(path, {"__metadata__": {"format": "pt"}, "x": entry(0, 8)}, bytes(8))
    assert list(read_safetensors(path)) == ["x"]


MALFORMED = {
    "overlap": ({"x": entry(0, 8), "y": entry(4, 12)}, bytes(12), "invalid offset"),
    "same bytes twice": ({"x": entry(0, 8), "y": entry(0, 8)}, bytes(8), "invalid offset"),
    "gap": ({"x": entry(0, 8), "y": entry(12, 20)}, bytes(20), "invalid offset"),
    "out of range": ({"x": entry(0, 8)}, bytes(7), "not fully covered"),
    "beyond the end": ({"x": entry(1 << 60, (1 << 60) + 8)}, bytes(8), "invalid offset"),
    "bytes left over": ({"x": entry(0, 8)}, bytes(9), "not fully covered"),
    "reversed offsets": ({"x": entry(8, 0)}, bytes(8), "invalid offset"),
    "negative offsets": ({"x": entry(-8, 0)}, bytes(8), "`-8`"),
    "other length": ({"x": entry(0, 8, (3,))}, bytes(8), "invalid shape, data type, or offset"),
    "huge shape": ({"x": entry(0, 8, (1 << 40, 1 << 40))}, bytes(8), "overflow"),
    "negative shape": ({"x": entry(0, 8, (-1, -2))}, bytes(8), "`-1`"),
    "shape of text": ({"x": entry(0, 8, ("2",))}, bytes(8), 'string "2"'),
    "true as a number": ({"x": entry(0, 4, (True,))}, bytes(4), "boolean `true`"),
    "no offsets": ({"x": {"dtype": "F32", "shape": [2]}}, bytes(8), "missing field `data_offsets`"),
    "entry of another kind": ({"x": 3}, b"", "integer `3`"),
    "dtype of nobody": ({"x": entry(0, 4, (2,), "X16")}, bytes(4), "X16"),
    "dtype that NumPy lacks": ({"x": entry(0, 2, (2,), "F8_E4M3")}, bytes(2), "float8_e4m3"),
    "header no JSON": (b"{]", b"", "invalid JSON"),
    "header no object": ([1], b"", "invalid JSON"),
    "header no text": (b"\xff\xfe", b"", "UTF-8"),
    "name twice": (b'{"x": 1, "x": 2}', b"", "invalid JSON"),
    "nested deeply": (b"[" * 100_000, b"", "invalid JSON"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_file_is_refused_with_the_reason(path, case):
    header, data, reason = MALFORMED[case]
    assert reason in refusal(write(path, header, data))


@pytest.mark.parametrize("length", [100, 200_000_000, (1 << 64) - 1])
def test_announced_header_longer_than_the_file_costs_nothing(path, length):
    assert "header" in refusal(write(path, b"{}", length=length))


def test_file_cut_off_anywhere_is_refused(path):
    for length in range(len(WRITTEN)):
        path.write_bytes(WRITTEN[:length])
        refusal(path)


def test_missing_file_and_folder_are_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "nowhere.safetensors")
    assert "directory" in refusal(tmp_path)
