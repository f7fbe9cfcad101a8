"""Reads the tensors of PyTorch `.pth` files without PyTorch, and without running anything that is in them.

A `.pth` file is a pickle, and a pickle is a program: it may import and call what it likes. The reader here
admits the few names of which state dicts and training scripts' checkpoints are made and refuses every other
one. It knows both formats: the zip archive that PyTorch has written since 1.6, and the plain sequence of
pickles of before.
"""

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import ml_dtypes
import numpy as np

from hgad_jax.errors import UserError

_Values = dict[str, np.ndarray]  # the flat contents of the storages, by their keys

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_STORAGE_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("<i1"),
    "ByteStorage": np.dtype("<u1"),
    "BoolStorage": np.dtype("?"),
}


def read_torch_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Read all tensors of a file that `torch.save` wrote: a state dict, or dicts that hold some.

    Args:
      path: the `.pth` file, in either of PyTorch's formats, little-endian.

    Returns:
      Name -> array in the file's own order, dtype and shape; every array is a copy. The names of dicts within
      dicts are joined by dots; what is no tensor is left out.

    Raises:
      UserError: the file is missing, cut off, damaged, of another kind, without tensors, or names anything
        that is not admitted (it is then refused without being run).
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            read = _read_zip if zipfile.is_zipfile(file) else _read_legacy
            content, values = read(file, path)
        return _tensors(content, values, path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read the weights file {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle can fail in any way; the pickle module promises no less
        _damaged(path, f"{type(error).__name__}: {error}", error)


class _StorageType(NamedTuple):
    """Stands for a storage class of PyTorch, such as `torch.FloatStorage`."""

    dtype: np.dtype


class _Storage(NamedTuple):
    """Names a flat run of numbers that is kept outside of the pickle."""

    key: str
    dtype: np.dtype
    length: int

    @property
    def nbytes(self) -> int:
        return self.length * self.dtype.itemsize

    def values(self, data: bytes) -> np.ndarray:
        if len(data) != self.nbytes:
            raise ValueError(f"a storage of {len(data)} bytes, where {self.nbytes} were announced")
        return np.frombuffer(data, self.dtype)


class _Tensor(NamedTuple):
    """A strided view of a storage, checked to lie within it; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, values: np.ndarray) -> np.ndarray:
        strides = [step * values.itemsize for step in self.strides]
        start = values[self.offset :]
        return np.lib.stride_tricks.as_strided(start, self.shape, strides, writeable=False).copy()


class _RebuildTensor:
    """Stands for the function that makes a tensor of a storage."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_others: Any) -> _Tensor:
        if not isinstance(storage, _Storage) or type(shape) is not tuple or type(strides) is not tuple:
            raise ValueError("a tensor without storage, shape or strides")
        numbers = (offset, *shape, *strides)
        if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError(f"a tensor of offset {offset!r}, shape {shape!r} and strides {strides!r}")
        last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
        # The second test refuses overlapping views: a few bytes must not unfold into gigabytes.
        if math.prod(shape) and (last >= storage.length or math.prod(shape) > storage.length):
            raise ValueError(f"a tensor of shape {shape} outside its storage of {storage.length} numbers")
        return _Tensor(storage, offset, shape, strides)


class _RebuildParameter:
    """Stands for the function that makes a parameter of a tensor: here, the tensor itself."""

    __slots__ = ()

    def __call__(self, tensor: Any, *_others: Any) -> Any:
        return tensor


class _Ignored:
    """Stands for what training scripts save beside tensors; takes what it is given and keeps nothing."""

    __slots__ = ()

    def __new__(cls, *_arguments: Any, **_named: Any) -> "_Ignored":
        return super().__new__(cls)

    def __setstate__(self, _state: Any) -> None:
        pass


_BESIDE_TENSORS = (
    ("argparse", "Namespace"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),  # bytes within NumPy's scalars
    ("torch", "device"),
    ("torch", "Size"),
)
_ADMITTED = (
    {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
        ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    }
    | {("torch", name): _StorageType(dtype) for name, dtype in _STORAGE_DTYPES.items()}
    | dict.fromkeys(_BESIDE_TENSORS, _Ignored)
)


class _Unpickler(pickle.Unpickler):
    """Builds dicts, numbers, strings and tensors, drops what is known to be harmless, refuses all else."""

    def __init__(self, file: BinaryIO, path: Path):
        super().__init__(file, encoding="utf-8")
        self._path = path
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise UserError(
                f"refused to read {self._path}: it asks for {module}.{name}, and a state dict is made of "
                "tensors only. Nothing of it was run. If you trust the file, save its weights again with "
                "torch.save(model.state_dict(), path)."
            )
        return _ADMITTED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _device, length, *view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType) or type(key) is not str:
            raise ValueError(f"expected a reference to a storage, found {pid!r}")
        if type(length) is not int or length < 0:
            raise ValueError(f"a storage of length {length!r}")
        if view and view != [None]:
            raise ValueError("views of storages, written by PyTorch before 0.4, are not supported")
        storage = _Storage(key, storage_type.dtype, length)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"two descriptions of the storage {key}")
        return storage


def _unpickle(file: BinaryIO, path: Path) -> tuple[Any, dict[str, _Storage]]:
    """Unpickle what lies next in the file, and list the storages that it mentions."""
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        # Entries of the memo are numbered in turn. The unpickler makes room for whatever number it is
        # given, so that a single damaged bit could cost gigabytes.
        numbered = opcode.name in ("PUT", "BINPUT", "LONG_BINPUT")
        if numbered and argument is not None and argument > count:
            raise ValueError(f"entry {argument} of a memo of {count} at most")
    end = file.tell()
    file.seek(start)
    unpickler = _Unpickler(io.BytesIO(file.read(end - start)), path)
    return unpickler.load(), unpickler.storages


def _read_zip(file: BinaryIO, path: Path) -> tuple[Any, _Values]:
    """Unpickle the content of a zip archive and read its storages."""
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            _foreign(path, f"a zip archive with {len(pickles)} members named */data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist():
            _check_little_endian(_member(archive, f"{folder}byteorder") == b"little", path)
        content, storages = _unpickle(io.BytesIO(_member(archive, pickles[0])), path)
        return content, {
            key: storage.values(_member(archive, f"{folder}data/{key}")) for key, storage in storages.items()
        }


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a member, which must not be compressed: PyTorch's never is, a decompression bomb is."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"the archive member {name} is compressed")
    return archive.read(info)


def _read_legacy(file: BinaryIO, path: Path) -> tuple[Any, _Values]:
    """Unpickle the content of a sequence of pickles: magic number, version, machine, content, keys."""
    file.seek(0)
    if not _is_legacy(file, path):
        file.seek(0)
        start = file.read(16)
        _foreign(path, "an empty file" if not start else f"a file that begins with {start!r}")
    if _unpickle(file, path)[0] != _LEGACY_PROTOCOL:
        _foreign(path, "an unknown version of PyTorch's legacy format")
    _check_little_endian(_unpickle(file, path)[0]["little_endian"], path)
    content, storages = _unpickle(file, path)
    values = {}
    for key in _unpickle(file, path)[0]:
        storage = storages[key]
        (length,) = struct.unpack("<q", file.read(8))
        if length != storage.length:
            raise ValueError(f"a storage of {length} numbers, where {storage.length} were announced")
        values[key] = storage.values(file.read(storage.nbytes))
    return content, values


def _is_legacy(file: BinaryIO, path: Path) -> bool:
    # The opcodes of protocol 2 and of a ten-byte integer, so that no other file reaches the unpickler.
    if file.read(4) != b"\x80\x02\x8a\x0a":
        return False
    file.seek(0)
    return _unpickle(file, path)[0] == _LEGACY_MAGIC


def _tensors(content: Any, values: _Values, path: Path) -> dict[str, np.ndarray]:
    """Copy the tensors out of a dict of tensors and of such dicts."""
    if not isinstance(content, dict):
        _not_state_dict(path, f"a {type(content).__name__}")
    found: dict[str, np.ndarray] = {}
    seen, waiting = set(), [("", content)]
    while waiting:
        prefix, entries = waiting.pop()
        seen.add(id(entries))  # a dict may hold itself, or be held by many
        for key, value in entries.items():
            name = f"{prefix}{key}"
            if isinstance(value, _Tensor):
                if name in found:
                    raise ValueError(f"two tensors of the name {name}")
                found[name] = value.array(values[value.storage.key])
            elif isinstance(value, dict) and id(value) not in seen:
                waiting.append((f"{name}.", value))
    if not found:
        _not_state_dict(path, f"a dict of {', '.join(map(repr, list(content)[:5])) or 'nothing'}")
    return found


def _check_little_endian(is_little: bool, path: Path) -> None:
    if not is_little:
        _foreign(path, "a file written on a big-endian machine")


def _foreign(path: Path, found: str) -> NoReturn:
    raise UserError(
        f"{path} is not a PyTorch weights file: found {found}, expected what torch.save writes on a "
        "little-endian machine. Point to the .pth file itself."
    )


def _not_state_dict(path: Path, found: str) -> NoReturn:
    raise UserError(
        f"{path} is not a state dict: found {found}, expected names with tensors. "
        "Save it with torch.save(model.state_dict(), path)."
    )


def _damaged(path: Path, found: str, cause: Exception) -> NoReturn:
    size = path.stat().st_size
    raise UserError(
        f"the weights file {path} ({size} bytes) is damaged or cut off: found {found}; expected a complete "
        "PyTorch state dict. Download or copy it again, and compare its SHA-256 with its publisher's."
    ) from cause
