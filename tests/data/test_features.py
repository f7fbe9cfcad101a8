import errno
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hgad_jax.data import feature_files, features
from hgad_jax.data.features import open_or_build
from hgad_jax.errors import UserError

COUNT, BATCH = 10, 4


def images():
    return np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), np.uint8)


def batches():
    padded = np.concatenate([images(), np.zeros((-COUNT % BATCH, 8, 8, 3), np.uint8)])
    indices = np.arange(len(padded), dtype=np.int32)
    for start in range(0, len(padded), BATCH):
        index = indices[start : start + BATCH]
        yield {"image": padded[index], "index": np.where(index < COUNT, index, 0), "valid": index < COUNT}


def extract(image):
    return image / np.float32(7), image[:, ::2, ::4, :1].astype(np.float32)


def build(directory, **changes):
    options = {"key": {"weights": "abc", "levels": (8, 16)}, "num_examples": COUNT, "batches": batches}
    return open_or_build(str(directory), **{**options, "extract": extract, "progress": False, **changes})


def never():
    raise AssertionError("computed again")


def unfinished(directory):
    return [path.name for path in pathlib.Path(directory).iterdir() if ".tmp-" in path.name]


def assert_right(cache):
    for level, expected in zip(cache.gather(np.arange(COUNT)), extract(images()), strict=True):
        np.testing.assert_array_equal(level, expected)


def test_builds_once_and_opens_afterwards(tmp_path):
    lines = []
    cache = build(tmp_path / "deep" / "er", log=lines.append)
    assert_right(cache)
    assert cache.num_examples == COUNT
    assert [level.shape for level in cache.levels] == [(COUNT, 8, 8, 3), (COUNT, 4, 2, 1)]
    assert all(isinstance(level, np.memmap) for level in cache.levels)
    assert_right(build(tmp_path / "deep" / "er", batches=never, log=lines.append))
    assert "10 images computed" in lines[0]
    assert "MB" in lines[0]
    assert cache.directory in lines[0]
    assert re.search(r"10 images found in .*: 0\.0 MB, \d+\.\d s saved$", lines[1])


def test_levels_are_ordinary_npy_files(tmp_path):
    cache = build(tmp_path)
    np.testing.assert_array_equal(np.load(f"{cache.directory}/level0.npy"), extract(images())[0])
    assert json.loads(pathlib.Path(cache.directory, "key.json").read_text())["key"]["weights"] == "abc"


def test_gather_takes_any_order_and_returns_float32_in_memory(tmp_path):
    cache = build(tmp_path)
    for level, expected in zip(cache.gather(np.array([7, 0, 7])), extract(images()), strict=True):
        assert type(level) is np.ndarray
        assert level.dtype == np.float32
        np.testing.assert_array_equal(level, expected[[7, 0, 7]])
    assert cache.gather(np.array([], np.int64))[0].shape == (0, 8, 8, 3)


@pytest.mark.parametrize("index", [-1, COUNT])
def test_gather_refuses_indices_out_of_range(tmp_path, index):
    with pytest.raises(IndexError, match="of 10 examples"):
        build(tmp_path).gather(np.array([0, index]))


def test_bfloat16_is_half_the_size_and_rounded(tmp_path):
    full, half = build(tmp_path), build(tmp_path, dtype="bfloat16")
    assert full.directory != half.directory
    assert half.levels[0].nbytes * 2 == full.levels[0].nbytes
    for level, expected in zip(half.gather(np.arange(COUNT)), extract(images()), strict=True):
        assert level.dtype == np.float32
        np.testing.assert_allclose(level, expected, rtol=2**-8)


def test_other_keys_are_other_caches(tmp_path):
    names = {build(tmp_path, key={"weights": name}).directory for name in "abc"}
    assert len(names) == 3


def damage_short(folder):
    path = folder / "level1.npy"
    path.write_bytes(path.read_bytes()[:-1])


def damage_long(folder):
    with open(folder / "level0.npy", "ab") as file:
        file.write(b"more")


def damage_dtype(folder):
    np.save(folder / "level0.npy", np.zeros((COUNT, 8, 8, 3), np.float64))


def damage_key(folder):
    (folder / "key.json").write_text('{"shapes": []}')


def damage_json(folder):
    (folder / "key.json").write_text('{"for')


@pytest.mark.parametrize(
    "damage",
    [
        damage_short,
        damage_long,
        damage_dtype,
        damage_key,
        damage_json,
        lambda folder: (folder / "key.json").write_text("[]"),
        lambda folder: (folder / "key.json").unlink(),
        lambda folder: (folder / "level0.npy").unlink(),
    ],
)
def test_damaged_cache_is_rebuilt_with_a_warning(tmp_path, monkeypatch, damage):
    warned = []
    monkeypatch.setattr(features.logging, "warning", lambda message, *args: warned.append(message % args))
    folder = build(tmp_path).directory
    damage(pathlib.Path(folder))
    assert_right(build(tmp_path))
    assert len(warned) == 1
    assert folder in warned[0]
    assert "damaged" in warned[0]
    assert_right(build(tmp_path, batches=never))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_features_that_are_not_finite_are_refused_with_the_image(tmp_path, dtype):
    def broken(image):
        first, second = extract(image)
        second[1, 0, 1, 0] = np.nan
        return first, second

    with pytest.raises(UserError, match=r"image 1 'b\.png' are not finite \(level 1\)\. Look at the image"):
        build(tmp_path, extract=broken, dtype=dtype, paths=["a.png", "b.png"])
    with pytest.raises(UserError, match=r"image 1 are not finite"):
        build(tmp_path, extract=broken)
    assert not unfinished(tmp_path)


def test_padding_may_hold_anything(tmp_path):
    def padding_is_nan(image):
        return (np.where(image.any(axis=(1, 2, 3), keepdims=True), extract(image)[0], np.nan),)

    assert np.isfinite(build(tmp_path, extract=padding_is_nan).levels[0]).all()


def test_too_little_space_is_said_before_the_work(tmp_path, monkeypatch):
    calls = []
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(feature_files.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=rf"'{tmp_path}': the disk is full .*MB are needed.*Make room"):
        build(tmp_path, extract=lambda image: calls.append(1) or extract(image))
    assert len(calls) == 1
    assert not unfinished(tmp_path)


@pytest.mark.parametrize(
    ("number", "found"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "file system is read-only")]
)
def test_errors_of_the_disk_while_writing(tmp_path, monkeypatch, number, found):
    def fail(self):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(feature_files.LevelWriter, "finish", fail)
    with pytest.raises(UserError, match=rf"'{tmp_path}': .*{found}.*choose another folder"):
        build(tmp_path)
    assert not unfinished(tmp_path)
    monkeypatch.undo()
    assert_right(build(tmp_path))


def test_file_system_without_locks(tmp_path, monkeypatch):
    def fail(file, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))  # as Lustre without -o flock

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(UserError, match=r"no locks.*choose another folder"):
        build(tmp_path)


def test_other_errors_are_passed_on_and_leave_nothing(tmp_path):
    def interrupted(image):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, extract=interrupted)
    assert not unfinished(tmp_path)


def out_of_order():
    first, *rest = batches()
    yield from (*rest, first)


def changing_shape(image):
    size = 4 if image.any(axis=(1, 2, 3)).all() else 2
    return (image[:, :size].astype(np.float32),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batches": out_of_order}, "expected them in order from 0"),
        ({"num_examples": COUNT + 1}, "held 10 examples, expected 11"),
        ({"extract": changing_shape}, "levels of shapes"),
        ({"dtype": "float16"}, "expected one of"),
        ({"num_examples": 0}, "at least one image"),
    ],
)
def test_callers_mistakes(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        build(tmp_path, **changes)
    assert not unfinished(tmp_path)


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
import test_features

def interrupted():
    for number, batch in enumerate(test_features.batches()):
        yield batch
        if number == 1:
            print("two batches are written", flush=True)
            sys.stdin.read()

test_features.build(sys.argv[1], batches=interrupted)
"""


def start_writer(directory):
    """Start a process that stops in the midst of building, and wait until it is there."""
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(WRITER),
        str(directory),
        str(pathlib.Path(__file__).parent),
    ]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "two batches are written\n"
    return writer


def test_killed_writer_leaves_nothing_that_looks_whole(tmp_path):
    with start_writer(tmp_path) as writer:
        assert len(unfinished(tmp_path)) == 1
        # Another key, while the writer lives: its files must not be touched.
        build(tmp_path, key={"weights": "other"})
        assert len(unfinished(tmp_path)) == 1
        writer.send_signal(signal.SIGKILL)
    assert len(unfinished(tmp_path)) == 1
    # Anyone who builds clears the dead writer's files away.
    build(tmp_path, key={"weights": "another"})
    assert not unfinished(tmp_path)
    lines = []
    assert_right(build(tmp_path, log=lines.append))
    assert "computed" in lines[0]


def test_killed_writer_of_the_same_features(tmp_path):
    with start_writer(tmp_path) as writer:
        writer.send_signal(signal.SIGKILL)
    assert_right(build(tmp_path))
    assert not unfinished(tmp_path)


def test_second_builder_waits_and_takes_what_the_first_built(tmp_path, monkeypatch):
    building, waiting = threading.Event(), threading.Event()
    monkeypatch.setattr(feature_files.logging, "info", lambda *args: waiting.set())

    def slowly():
        building.set()
        assert waiting.wait(timeout=20)
        yield from batches()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(build, tmp_path, batches=slowly, log=str)
        assert building.wait(timeout=20)
        second = pool.submit(build, tmp_path, batches=never, log=str)
        assert_right(first.result())
        assert_right(second.result())


class Together:
    """Two threads in place of two processes, neither of which can extract alone."""

    def __init__(self):
        self.barrier, self.answers, self.said = threading.Barrier(2, timeout=20), [], []

    def any_process(self, mine):
        self.answers.append(mine)
        self.barrier.wait()
        answer = any(self.answers[-2:])
        self.barrier.wait()
        return answer

    def extract(self, image):
        self.barrier.wait()
        return extract(image)

    def build(self, *directories):
        options = {"extract": self.extract, "any_process": self.any_process, "log": self.said.append}
        with ThreadPoolExecutor(2) as pool:
            return [each.result() for each in [pool.submit(build, d, **options) for d in directories]]


@pytest.mark.parametrize("folders", ["aa", "ab"])
@pytest.mark.parametrize("there", ["", "a"])
def test_processes_compute_together_and_one_writes_on_each_disk(tmp_path, folders, there):
    for name in there:
        build(tmp_path / name, log=str)
    together = Together()
    caches = together.build(*(tmp_path / name for name in folders))
    for cache in caches:
        assert_right(cache)
    assert [cache.directory for cache in caches] == [build(tmp_path / f).directory for f in folders]
    computed = sum("10 images computed by all" in line for line in together.said)
    assert computed == sum(name not in there for name in folders), together.said
    assert not any(unfinished(tmp_path / name) for name in folders)


def test_processes_that_wait_for_another_run_compute_when_it_dies(tmp_path, monkeypatch):
    folder = build(tmp_path).directory
    pathlib.Path(folder, "key.json").unlink()
    waiting = threading.Semaphore(0)
    monkeypatch.setattr(feature_files.logging, "info", lambda *args: waiting.release())
    together = Together()
    with ThreadPoolExecutor(1) as pool:
        with feature_files.locked(folder):
            both = pool.submit(together.build, tmp_path, tmp_path)
            for _ in range(2):
                assert waiting.acquire(timeout=20)
        for cache in both.result():
            assert_right(cache)
    assert sum("10 images computed by all" in line for line in together.said) == 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_was_read_does_not_stay_in_memory(tmp_path, dtype):
    def resident():
        text = pathlib.Path("/proc/self/smaps").read_text()
        blocks = re.findall(rf"{cache.directory}/level0\.npy\n.*?Rss: +(\d+) kB", text, re.DOTALL)
        return sum(map(int, blocks))

    cache = build(tmp_path, dtype=dtype, extract=lambda image: (np.tile(image, (1, 16, 16, 1)) * 1.0,))
    expected = cache.gather(np.arange(COUNT))
    whole = np.asarray(cache.levels[0]).astype(np.float32)
    assert resident() > 0, "the test sees the pages"
    np.testing.assert_array_equal(cache.gather(np.arange(COUNT))[0], whole)
    np.testing.assert_array_equal(expected[0], whole)
    assert resident() == 0
