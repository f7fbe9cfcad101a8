"""Files whole or not there, locks that the dead give back, and what a disk refuses, with real processes."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
from pathlib import Path

import pytest

from hgad_jax import files
from hgad_jax.errors import UserError

ROOT = Path(__file__).parents[1]


def start(program, *arguments):
    """A process that runs a program, which says a line when it is ready."""
    command = [
        sys.executable,
        "-c",
        f"import sys\nfrom hgad_jax import files\n{program}",
        *map(str, arguments),
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert files.expanded("~/runs/a") == tmp_path / "home" / "runs" / "a"
    assert files.expanded(Path("~")) == tmp_path / "home"
    assert files.expanded("runs/../b c") == tmp_path / "b c"
    assert files.expanded("./~") == tmp_path / "~", "a folder of that name can be given"
    assert files.expanded("a~") == tmp_path / "a~"
    assert os.fsencode(files.expanded(os.fsdecode(b"\xff"))).endswith(b"/\xff")
    with pytest.raises(UserError, match=r"^~nobody-here/a: there is no such user\. .*\./~nobody-here/a$"):
        files.expanded("~nobody-here/a")


def test_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HGAD_JAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform == "linux":
        assert files.cache_root() == tmp_path / ".cache" / "hgad_jax"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert files.cache_root() == tmp_path / "xdg" / "hgad_jax"
    monkeypatch.setenv("HGAD_JAX_CACHE", "~/here")
    assert files.cache_root() == tmp_path / "here"


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    files.write_atomically(tmp_path / "a.json", "old")
    files.write_atomically(str(tmp_path / "a.json"), "größer, from Kratzer_\udcfc.png")
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == r"größer, from Kratzer_\udcfc.png"
    files.write_atomically(tmp_path / "a.json", b"\xff")
    assert (tmp_path / "a.json").read_bytes() == b"\xff"
    assert names(tmp_path) == ["a.json"]


def test_it_may_be_read_by_whom_the_user_lets(tmp_path):
    before = os.umask(0o022)
    try:
        files.write_atomically(tmp_path / "a", "")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_an_error_on_the_way_leaves_what_was_there(tmp_path):
    files.write_atomically(tmp_path / "a", "old")

    def interrupted(error):
        with files.writing(tmp_path / "a") as file:
            file.write(b"half of the new")
            raise error

    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            interrupted(error)
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


HALF = """
with files.writing(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    sys.stdin.read()
    file.write(b" and half")
"""


def test_what_the_dead_left_is_removed_and_what_the_living_write_is_not(tmp_path):
    files.write_atomically(tmp_path / "a", "old")
    (tmp_path / ".a.tmp").write_text("a user's")
    dead, living = (start(HALF, tmp_path / "a") for _ in range(2))
    kill(dead)
    assert (tmp_path / "a").read_text() == "old"
    assert len(names(tmp_path)) == 4
    files.remove_leftovers(tmp_path)
    assert len(names(tmp_path)) == 3
    living.communicate("")
    assert (tmp_path / "a").read_text() == "half and half"
    assert names(tmp_path) == [".a.tmp", "a"]
    files.remove_leftovers(tmp_path / "nowhere")


WRITER = """
import itertools, json, os
print("ready", flush=True)
for number in itertools.count():
    files.remove_leftovers(sys.argv[1])
    files.write_atomically(f"{sys.argv[1]}/a.json", json.dumps([sys.argv[2], number] * 20_000))
    if os.path.exists(f"{sys.argv[1]}/enough"):
        break
"""


def test_writers_of_one_file_and_a_kill_never_tear_it(tmp_path):
    killed, *writers = (start(WRITER, tmp_path, name) for name in ("killed", "a", "b"))
    files.write_atomically(tmp_path / "a.json", json.dumps(["", 0] * 20_000))
    seen, reads = set(), 0
    while {"a", "b", "killed"} - seen or reads < 100:
        content = json.loads(files.read_text(tmp_path / "a.json"))
        assert content == content[:2] * 20_000
        seen.add(content[0])
        reads += 1
        if "killed" in seen and killed.poll() is None:
            kill(killed)
    (tmp_path / "enough").touch()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == ["a.json", "enough"]


HOLDER = """
with files.locked(sys.argv[1]) as held:
    assert held
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_held_by_one_and_freed_by_a_kill(tmp_path):
    path = tmp_path / "lock"
    holder = start(HOLDER, path)
    with files.locked(path, wait=False) as held:
        assert not held
    waited, done = threading.Event(), []

    def wait():
        with files.locked(path, waiting=waited.set) as held:
            done.append(held)

    thread = threading.Thread(target=wait)
    thread.start()
    waited.wait()
    assert not done
    kill(holder)
    thread.join()
    assert done == [True]
    with files.locked(path, wait=False, waiting=lambda: pytest.fail("it is free")) as held:
        assert held
        with files.locked(path, wait=False) as again:
            assert not again, "nor does this process get it twice"


def test_a_lock_file_that_a_dead_process_left_is_no_lock(tmp_path):
    path = tmp_path / "lock"
    path.write_text("4242 of another computer")
    with files.locked(path, wait=False) as held:
        assert held
    assert path.read_text() == "4242 of another computer"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_an_error_and_no_other_lock_is_made(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(UserError, match=r"^It cannot be kept: its file system has no locks \(.*\)\. Mount it"),
        files.disk_errors("It cannot be kept"),
        files.locked(tmp_path / "lock"),
    ):
        pytest.fail("went on without a lock")
    assert names(tmp_path) == ["lock"]
    files.write_atomically(tmp_path / "a", "works without")
    (tmp_path / f".a.{'0' * 32}.tmp").touch()
    files.remove_leftovers(tmp_path)
    assert len(names(tmp_path)) == 3, "a living writer's, for all that can be known"


@pytest.mark.parametrize("number", files._REASONS)
def test_every_refusal_of_a_disk_says_what_to_do(number):
    found, remedy = files._REASONS[number]
    with pytest.raises(UserError) as refused, files.disk_errors("No go", otherwise="walk", after="Bye."):
        raise OSError(number, "as the system says")
    assert str(refused.value) == f"No go: {found} (as the system says). {remedy}, or walk. Bye."
    with pytest.raises(UserError, match=re.escape(f"{remedy}.") + "$"), files.disk_errors("No go"):
        raise OSError(number, "as the system says")


def test_a_refusal_that_others_have_buried():
    with pytest.raises(UserError, match="the disk is full"), files.disk_errors("No go"):
        raise ValueError("Error writing /a [OS error 28: No space left on device]")
    with pytest.raises(UserError, match="the disk is full"), files.disk_errors("No go"):
        fail_after(errno.ENOSPC)


def fail_after(number):
    try:
        raise OSError(number, os.strerror(number))
    except OSError:
        raise ValueError("ours")  # noqa: B904


@pytest.mark.parametrize(
    "error",
    [
        ValueError("ours"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        OSError("no number"),
        UserError("explained already"),
        KeyboardInterrupt(),
        urllib.error.URLError(PermissionError(errno.EACCES, "a firewall's")),
    ],
)
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as passed, files.disk_errors("No go"):
        raise error
    assert passed.value is error


def test_a_mistake_after_a_question_to_the_disk_passes():
    """`mkdir` may have found the folder there; what fails later has another cause."""
    with pytest.raises(ValueError, match="ours"), files.disk_errors("No go"):
        fail_after(errno.EEXIST)


LIMITED = """
import resource, signal
import numpy as np
from PIL import Image
from hgad_jax.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
noise = np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8)
writes = {
    "npy": lambda file: np.save(file, np.zeros((99, 99))),
    "npz": lambda file: np.savez(file, a=np.zeros((99, 99))),
    "png": lambda file: Image.fromarray(noise).save(file, "PNG"),
    "text": lambda file: file.write(bytes(99_999)),
}
print("ready", flush=True)
for name, write in writes.items():
    try:
        with files.disk_errors("No go"), files.writing(f"{sys.argv[1]}/{name}") as file:
            write(file)
    except UserError as error:
        print(name, error)
"""


def test_whoever_writes_a_file_that_finds_no_room_is_understood(tmp_path):
    process = start(LIMITED, tmp_path)
    said = process.stdout.read()
    process.communicate()
    assert [line.split()[:3] for line in said.splitlines()] == [
        [name, "No", "go:"] for name in ("npy", "npz", "png", "text")
    ]
    assert "requested and" in said.splitlines()[0]
    assert names(tmp_path) == []


def test_numpy_is_understood_by_its_text_alone():
    said = "9801 requested and 1234 written"
    with pytest.raises(UserError, match=rf"the disk is full \({said}\)"), files.disk_errors("No go"):
        raise OSError(said)
