"""Reading `.pth` files: what PyTorch wrote is read, everything else is refused and nothing is run."""

import argparse
import base64
import hashlib
import io
import os
import pickle
import random
import struct
import sys
import types
import zipfile
import zlib
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest

from hgad_jax.backbones.checkpoint_file import read_torch_checkpoint
from hgad_jax.errors import UserError
from hgad_jax.files import sha256_of_file

# torch.save({"weight": torch.arange(6.).reshape(2, 3).T, "count": torch.tensor(7)}) by PyTorch 2.13.
WRITTEN_BY_PYTORCH = zlib.decompress(
    base64.b64decode(
        "eNqlVM9r01Acf0naNGbarVPY3GHnDGaX9EdqHdoZJB4iWCdC8RKy5NkGs2Yvfd1QEAbiwJPuoHgS/wu9+xd48SAeBA/Dk0ev"
        "vtesWZLSds5H00fa7+dHvu/7SdPgMgAIAhhZc2AeWIHdcXfhmmNhq7jz2NO1PHiYWPusbfueB23s+t2eeDdwYACdW66NRQRW"
        "NhEjtXhCtgfddgcj1sY+oSyafex6PdEM4Fbf9RwTw27PD8zdkog4SWrlCKJHKq02RJkQIuqeb+H74Y8iyrYYUiMjvsWR3d7p"
        "o5zBYyTcM4DBGewBOmcwBneAxJcd6mIGo/Ob6EIrS4v9fhejfIcIdYbkd/xuO+KeHXAraK6TMxiMCoRzZSXkmcfo4ia61C82"
        "jZxw89sb5w+ppFdzbBsXQCZqY/GRH2xb2NyFQY+0S9eIDGX6+Pv7c6rJTGRaArUTpuP2mJbntrvbsIt1rZw6mlMttUINNPbQ"
        "L5ZIsBMNFEAjMrD1BEOfHraurZ9Fd7g8F2MPUg8vrv+8TEeFn+ghD24kpnJN1rVr/2EgZN1vkK8N8iHXPrk+bFBHC6+PDhfJ"
        "H4tTHK0mHSm6Jp3aUe6YhertfD3yqYAwUW8WrEd60SDVztqCskiVv7xvP5h+/sugdDKAg0ftwcAlE/jUouk3XUfXiv9oRK6q"
        "iiJfrZbKqlJXa3K1VK8o1bpSVdVStVKv1dWyLJNb6vLHq9ozifiQBi4ZajbyGQ/j3Ijz9HssjY4HcCGBvM2AcfFNk8RDtJQg"
        "OYyTjCQ3zRMPQiHBM8+C0QCm4fGpzSfgb1mQyk4aG5/AJFbiUlgljY3P0GwC+y6GHdO7+NEuJ585A6YMXdPg+dXhiHJXIqSQ"
        "2mfYcP+UGUaOH6TvMx/eh2/fLB9ihEF9WPsXFXuJHA=="
    )
)


class FloatStorage:
    """Becomes the global torch.FloatStorage when pickled; an instance becomes a reference to a storage."""

    def __init__(self, key, values, length=None):
        self.key, self.data = key, np.asarray(values, "<f4").tobytes()
        self.length = len(self.data) // 4 if length is None else length


def _rebuild_tensor_v2():
    raise AssertionError("only its name is used")


class Call:
    """Pickles to a call of any function with any arguments, as an attacker would write it."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def tensor(storage, offset=0, shape=(2, 3), strides=(3, 1)):
    return Call(_rebuild_tensor_v2, storage, offset, shape, strides, False, OrderedDict())


@pytest.fixture(autouse=True)
def torch_names(monkeypatch):
    """Lets the stand-ins above be pickled under PyTorch's names, without PyTorch."""
    for stand_in, module in ((FloatStorage, "torch"), (_rebuild_tensor_v2, "torch._utils")):
        monkeypatch.setattr(stand_in, "__module__", module)
        fake = types.ModuleType(module)
        setattr(fake, stand_in.__name__, stand_in)
        monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.setattr(sys.modules["torch"], "_utils", sys.modules["torch._utils"], raising=False)


def pickled(content, *, legacy):
    """The pickle of a state dict, and its storages in order of appearance."""
    stream, storages = io.BytesIO(), {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, FloatStorage):
                return None
            storages[value.key] = value
            return ("storage", type(value), value.key, "cpu", value.length, *([None] if legacy else []))

    Pickler(stream, protocol=2).dump(content)
    return stream.getvalue(), list(storages.values())


def write_zip(path, content, *, compression=zipfile.ZIP_STORED, byteorder=b"little"):
    program, storages = pickled(content, legacy=False)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", byteorder)
        for storage in storages:
            archive.writestr(f"archive/data/{storage.key}", storage.data)
    return path


def write_legacy(path, content, *, little_endian=True):
    program, storages = pickled(content, legacy=True)
    machine = {"protocol_version": 1001, "little_endian": little_endian}
    with path.open("wb") as file:
        for header in (0x1950A86A20F9469CFC6C, 1001, machine):
            pickle.dump(header, file, protocol=2)
        file.write(program)
        pickle.dump([storage.key for storage in storages], file, protocol=2)
        for storage in storages:
            file.write(struct.pack("<q", storage.length) + storage.data)
    return path


@pytest.fixture(params=["zip", "legacy"])
def write(request, tmp_path):
    """Writes a state dict in one of the two formats, and returns its path."""
    writer = {"zip": write_zip, "legacy": write_legacy}[request.param]
    return lambda content, **options: writer(tmp_path / f"{request.param}.pth", content, **options)


def refusal(path):
    with pytest.raises(UserError) as caught:
        read_torch_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    return message


def test_file_written_by_pytorch_is_read(tmp_path):
    path = tmp_path / "torch.pth"
    path.write_bytes(WRITTEN_BY_PYTORCH)
    state = read_torch_checkpoint(path)
    assert list(state) == ["weight", "count"]
    np.testing.assert_array_equal(state["weight"], np.float32([[0, 3], [1, 4], [2, 5]]), strict=True)
    np.testing.assert_array_equal(state["count"], np.array(7, np.int64), strict=True)


def test_views_share_a_storage_and_are_copied(write):
    storage = FloatStorage("5", range(8))
    views = OrderedDict(
        rows=tensor(storage), columns=tensor(storage, 1, (3, 2), (1, 3)), one=tensor(storage, 7, (), ())
    )
    state = read_torch_checkpoint(write(views))
    np.testing.assert_array_equal(state["rows"], np.float32([[0, 1, 2], [3, 4, 5]]), strict=True)
    np.testing.assert_array_equal(state["columns"], np.float32([[1, 4], [2, 5], [3, 6]]), strict=True)
    np.testing.assert_array_equal(state["one"], np.float32(7))
    state["rows"][:] = 0
    assert state["columns"][0, 0] == 1


# Function -> its name in a pickle, where built-ins have the name of Python 2's module.
FOREIGN = {
    os.system: f"{os.name}.system",
    eval: "__builtin__.eval",
    getattr: "__builtin__.getattr",
    __import__: "__builtin__.__import__",
    pickle.loads: "pickle.loads",
}


@pytest.mark.parametrize(("function", "name"), FOREIGN.items(), ids=FOREIGN.values())
def test_foreign_function_is_named_and_not_run(write, tmp_path, function, name):
    marker = tmp_path / "marker"
    command = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    message = refusal(write(OrderedDict(weight=Call(function, command))))
    assert f"{name}, and a state dict is made of tensors only" in message
    assert not marker.exists()


def test_foreign_function_in_a_header_is_not_run(tmp_path):
    path, marker = tmp_path / "header.pth", tmp_path / "marker"
    number = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    path.write_bytes(number + pickle.dumps(Call(os.system, f"touch {marker}"), protocol=2))
    assert f"{os.name}.system" in refusal(path)
    assert not marker.exists()


# Ways to get hold of an object, and ways to set an attribute of it, in pickle's protocol 0.
OBJECTS = {
    "class": b"ccollections\nOrderedDict\n",
    "function": b"ctorch._utils\n_rebuild_tensor_v2\n",
    "storage type": b"ctorch\nFloatStorage\n",
    "storage": b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI6\ntQ",
}
ASSIGNMENTS = {"by dict": b"}Vlength\nI99\nsb.", "by setattr": b"(N}Vlength\nI99\nstb."}


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
@pytest.mark.parametrize("thing", OBJECTS)
def test_attributes_of_admitted_things_cannot_be_set(tmp_path, thing, assignment):
    path = tmp_path / "build.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", OBJECTS[thing] + ASSIGNMENTS[assignment])
        archive.writestr("archive/data/0", bytes(24))
    message = refusal(path)
    assert "AttributeError" in message or "TypeError" in message


MISFITS = {
    "too long": ((7,), (1,), 0),
    "offset past the end": ((2,), (1,), 5),
    "stride past the end": ((2, 2), (5, 1), 0),
    "negative stride": ((2,), (-1,), 3),
    "negative offset": ((2,), (1,), -1),
    "negative shape": ((-1,), (1,), 0),
    "fewer strides": ((2, 3), (1,), 0),
    "shape of text": (("2",), (1,), 0),
    "endless repetition": ((1 << 40,), (0,), 0),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_tensor_outside_its_storage_is_refused(write, misfit):
    shape, strides, offset = MISFITS[misfit]
    storage = FloatStorage("0", range(6))
    assert "a tensor of" in refusal(write(OrderedDict(weight=tensor(storage, offset, shape, strides))))


def test_storage_of_another_length_is_refused(write):
    assert "storage" in refusal(write(OrderedDict(weight=tensor(FloatStorage("0", range(6), length=7)))))


def test_dicts_within_dicts_are_read_and_what_else_a_training_script_saves_is_left_out(write):
    def weights(first):
        return OrderedDict({"conv1.weight": tensor(FloatStorage(str(first), range(first, first + 6)))})

    options = argparse.Namespace(lr=0.1, model="resnet18", nested=argparse.Namespace(x=1))
    content = {
        "epoch": 3,
        "arch": "resnet18",
        "best": np.float64(0.5),
        "args": options,
        "state_dict": weights(0),
        "state_dict_ema": weights(6),
        "optimizer": {"state": {0: {"exp_avg": tensor(FloatStorage("m", range(6)))}}, "param_groups": [{}]},
    }
    content["itself"] = content
    state = read_torch_checkpoint(write(content))
    assert sorted(state) == [
        "optimizer.state.0.exp_avg",
        "state_dict.conv1.weight",
        "state_dict_ema.conv1.weight",
    ]
    np.testing.assert_array_equal(state["state_dict_ema.conv1.weight"], np.float32([[6, 7, 8], [9, 10, 11]]))


def test_a_namespace_of_a_checkpoint_is_not_made(write, tmp_path):
    """Whatever it is called with or told to hold, it stays empty, and so does its class."""
    content = {"w": tensor(FloatStorage("0", range(6))), "args": argparse.Namespace(__doc__=7)}
    assert list(read_torch_checkpoint(write(content))) == ["w"]
    call = Call(argparse.Namespace, Call(os.system, f"touch {tmp_path}/marker"))
    assert "system" in refusal(write({"args": call}))
    assert not (tmp_path / "marker").exists()


def test_two_tensors_of_one_name_are_refused(write):
    one, other = (tensor(FloatStorage(key, range(6))) for key in "12")
    assert "two tensors of the name a.b" in refusal(write({"a.b": one, "a": {"b": other}}))


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ml_dtypes.bfloat16])
def test_other_floating_point_types_are_read(tmp_path, monkeypatch, dtype):
    names = {2: "HalfStorage", 8: "DoubleStorage"}
    dtype = np.dtype(dtype)
    name = "BFloat16Storage" if dtype == ml_dtypes.bfloat16 else names[dtype.itemsize]
    kind = type(name, (FloatStorage,), {"__module__": "torch"})
    monkeypatch.setattr(sys.modules["torch"], name, kind, raising=False)
    storage = kind("0", [])
    values = np.array([1.5, -2, 0, 3, 4, 5], dtype)
    storage.data, storage.length = values.tobytes(), 6
    for writer in (write_zip, write_legacy):
        found = read_torch_checkpoint(writer(tmp_path / "some.pth", {"w": tensor(storage)}))["w"]
        np.testing.assert_array_equal(found, values.reshape(2, 3), strict=True)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": OrderedDict()}, {7: None}])
def test_what_is_no_state_dict_is_refused(write, content):
    assert "torch.save(model.state_dict(), path)" in refusal(write(content))


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1", bytes(99)]
)
def test_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    message = refusal(path)
    assert "is not a PyTorch weights file" in message
    assert ("an empty file" if not content else repr(content[:16])) in message


def test_other_archives_are_refused(tmp_path):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "data.pkl" in refusal(path)


def test_compressed_archive_is_refused(tmp_path):
    content = OrderedDict(weight=tensor(FloatStorage("0", range(6))))
    assert "compressed" in refusal(
        write_zip(tmp_path / "bomb.pth", content, compression=zipfile.ZIP_DEFLATED)
    )


def test_big_endian_files_are_refused(tmp_path):
    content = OrderedDict(weight=tensor(FloatStorage("0", range(6))))
    assert "big-endian" in refusal(write_zip(tmp_path / "zip.pth", content, byteorder=b"big"))
    assert "big-endian" in refusal(write_legacy(tmp_path / "legacy.pth", content, little_endian=False))


def test_missing_file_and_folder_are_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "nowhere.pth")
    assert "directory" in refusal(tmp_path)
    with pytest.raises(UserError, match="nowhere"):
        sha256_of_file(tmp_path / "nowhere.pth")


def test_file_cut_off_anywhere_is_refused(write):
    path = write(OrderedDict(weight=tensor(FloatStorage("0", range(6)))))
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        refusal(path)


def test_damaged_memo_entry_costs_no_memory(tmp_path):
    path = write_legacy(tmp_path / "memo.pth", OrderedDict())
    program = pickle.dumps(OrderedDict(), protocol=2)
    damaged = program.replace(b"q\x01", b"r\x01\x00\x00\xf0")  # entry 1 becomes entry 4,026,531,841
    assert damaged != program
    path.write_bytes(path.read_bytes().replace(program, damaged))
    assert "memo" in refusal(path)


def test_damaged_file_gives_tensors_or_a_user_error(write):
    path = write(OrderedDict(weight=tensor(FloatStorage("0", range(6)))))
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            assert all(isinstance(value, np.ndarray) for value in read_torch_checkpoint(path).values())
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017 (either outcome is right)


def test_sha256_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 1000)
    assert sha256_of_file(path) == hashlib.sha256(b"abc" * 1000).hexdigest()
