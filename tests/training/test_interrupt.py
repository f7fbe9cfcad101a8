"""Asked to stop, training saves and ends; what else may end it destroys nothing either."""

import errno
import fcntl
import os
import shutil
import signal
import threading
import time

import jax
import numpy as np
import pytest
from trees import TINY, add_class, tiny_config

from hgad_jax.errors import Interrupted, UserError
from hgad_jax.runs import checkpoints
from hgad_jax.training import interrupt, loop

STEPS = 8  # 16 images to train on, 8 a step, 4 epochs


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("interrupt")
    for name in ("brick", "grass"):
        add_class(place / "data", name, test=0)
    return place


@pytest.fixture(scope="module")
def config(place):
    return tiny_config(place / "data", place / "cache", backbone__taps=("blocks.4",))


@pytest.fixture(scope="module")
def finished(place, config):
    return jax.device_get(loop.train(config, place / "finished"))


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def steps(directory):
    return sorted(int(path.name) for path in (directory / "checkpoints").iterdir() if path.name.isdigit())


def at_step(monkeypatch, step, action):
    """Does something when the metrics of a step are logged."""
    write = loop.MetricLog.write

    def patched(self, done, metrics):
        write(self, done, metrics)
        if done == step:
            action()

    monkeypatch.setattr(loop.MetricLog, "write", patched)


def test_sigterm_saves_after_the_step_and_the_run_goes_on_from_there(place, config, finished, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        at_step(patched, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match=r"terminated is saved after step 3 of 8.*same command"):
            loop.train(config, place / "terminated")
    assert signal.getsignal(signal.SIGTERM) == before
    assert steps(place / "terminated") == [3]
    messages = []
    state = loop.train(config, place / "terminated", log=messages.append)
    assert "Going on from step 3" in messages
    same(jax.device_get(state), finished)


def test_sigterm_in_the_last_step_is_an_ordinary_end(place, config, finished, monkeypatch):
    at_step(monkeypatch, STEPS - 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    same(jax.device_get(loop.train(config, place / "last")), finished)


def test_a_thread_cannot_catch_signals_and_trains_nevertheless():
    seen = []

    def watch():
        with interrupt.watching() as stop:
            seen.append(stop.reached(1))

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_second_training_in_the_folder_is_refused(place, config, finished):
    with (place / "finished" / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"finished is being trained in by another process"):
            loop.train(config, place / "finished")
    (place / "begun").mkdir()
    with (place / "begun" / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"begun is being trained in by another process"):
            loop.train(config, place / "begun")
    assert [path.name for path in (place / "begun").iterdir()] == [".lock"], "not even its config"


def test_a_damaged_newest_checkpoint_costs_the_steps_since_the_one_before(place, config, finished, caplog):
    loop.train(config, place / "damaged")
    path = place / "damaged" / "checkpoints" / "8" / "opt_state" / "_METADATA"
    path.write_bytes(path.read_bytes()[:-7])
    messages = []
    same(jax.device_get(loop.train(config, place / "damaged", log=messages.append)), finished)
    assert "Going on from step 4" in messages
    assert "checkpoints/8: this checkpoint is damaged (opt_state/_METADATA has" in caplog.text
    assert (place / "damaged" / "damaged" / "8" / "opt_state" / "_METADATA").exists()
    assert steps(place / "damaged") == [4, 8]


def test_other_images_are_refused_with_the_difference(place, config, finished, tmp_path):
    add_class(place / "other", "brick", test=0)
    add_class(place / "other", "grass", test=0, good=14)
    other = tiny_config(place / "other", place / "cache", backbone__taps=("blocks.4",))
    config_file = (place / "finished" / "config.json").read_text()
    with pytest.raises(UserError, match=r"another run; nothing was changed") as refused:
        loop.train(other, place / "finished")
    assert (place / "finished" / "config.json").read_text() == config_file
    assert "2 images added: 'grass/train/good/12.png', 'grass/train/good/13.png'" in str(refused.value)
    assert "replaced" not in str(refused.value)
    assert "removed" not in str(refused.value)
    assert "config.data.root" not in str(refused.value), "images may move"


def copy_of(place, tmp_path):
    """The finished run and its images, to be changed."""
    shutil.copytree(place / "finished", tmp_path / "run")
    shutil.copytree(place / "data", tmp_path / "images")
    return tiny_config(tmp_path / "images", place / "cache", backbone__taps=("blocks.4",))


def never_computed(monkeypatch):
    monkeypatch.setattr(loop, "cached_features", lambda *_: pytest.fail("features of other images"))


def test_a_finished_run_names_images_that_were_replaced(place, finished, tmp_path, monkeypatch):
    never_computed(monkeypatch)
    config = copy_of(place, tmp_path)
    folder = tmp_path / "images" / "brick" / "train" / "good"
    before = (folder / "03.png").stat()
    shutil.copyfile(tmp_path / "images" / "grass" / "train" / "good" / "00.png", folder / "03.png")
    os.utime(folder / "03.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "05.png").unlink()
    with pytest.raises(UserError, match=r"checkpoints/8: this checkpoint is of another run") as refused:
        loop.train(config, tmp_path / "run")
    assert "1 images replaced: 'brick/train/good/03.png'\n" in str(refused.value)
    assert "1 images removed: 'brick/train/good/05.png'\n" in str(refused.value)
    assert loop.workdir.load_config(tmp_path / "run").data.root == str(place / "data")


def test_a_stopped_run_notices_that_images_have_changed_their_names(place, config, tmp_path, monkeypatch):
    shutil.copytree(place / "data", tmp_path / "images")
    config = config.copy_and_resolve_references()
    config.data.root = str(tmp_path / "images")
    with monkeypatch.context() as patched:
        at_step(patched, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            loop.train(config, tmp_path / "run")
    folder = tmp_path / "images" / "brick" / "train" / "good"
    for old, new in (("00", "aside"), ("01", "00"), ("02", "01"), ("aside", "02")):
        (folder / f"{old}.png").rename(folder / f"{new}.png")
    never_computed(monkeypatch)
    names = ", ".join(f"'brick/train/good/0{n}.png'" for n in range(3))
    with pytest.raises(UserError, match=f"3 images under other names, in another class or order: {names}"):
        loop.train(config, tmp_path / "run")


def test_a_run_of_an_earlier_version_goes_on_and_says_what_it_cannot_know(
    place, config, finished, tmp_path, monkeypatch
):
    describe = loop.provenance.describe

    def without_contents(*args, **given):
        metadata = describe(*args, **given)
        del metadata["contents"]
        return metadata

    with monkeypatch.context() as patched:
        patched.setattr(loop.provenance, "describe", without_contents)
        at_step(patched, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            loop.train(config, tmp_path / "run")
    (tmp_path / "run" / "images.jsonl").unlink()
    for said in (True, False):
        messages = []
        state = loop.train(config, tmp_path / "run", log=messages.append)
        same(jax.device_get(state.params), finished.params)
        assert any("earlier version" in line and "is unknown" in line for line in messages) == said
        assert len((tmp_path / "run" / "images.jsonl").read_text().splitlines()) == 24


def test_images_may_move(place, config, finished, tmp_path):
    shutil.copytree(place / "finished", tmp_path / "run")
    shutil.copytree(place / "data", tmp_path / "moved")
    messages, moved = [], config.copy_and_resolve_references()
    moved.data.root = str(tmp_path / "moved")
    same(jax.device_get(loop.train(moved, tmp_path / "run", log=messages.append)).params, finished.params)
    assert "Going on from step 8" in messages
    assert any("Features of 24 images found" in line for line in messages), "they are the same images"
    assert loop.workdir.load_config(tmp_path / "run").data.root == str(tmp_path / "moved"), "for eval.py"


def test_weights_that_have_changed_are_refused(place, config, finished, tmp_path):
    """A file of the same name may hold others."""
    other = config.copy_and_resolve_references()
    other.backbone.source = "random"
    with pytest.raises(
        UserError, match=r"SHA-256 of the backbone's weights: [0-9a-f]{64} there, random:0 here"
    ):
        loop.train(other, place / "finished")
    assert loop.workdir.load_config(place / "finished").backbone.source == TINY["backbone.source"]


def test_a_window_on_the_test_set_needs_one(place, tmp_path):
    config = tiny_config(place / "data", place / "cache", eval__window=(1.0, 2.0))
    with pytest.raises(
        UserError, match=r"eval\.window is \(1\.0, 2\.0\), expected \(\): there are no test images"
    ):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_checkpoint_of_another_config_is_refused_with_the_difference(place, config, finished):
    other = tiny_config(place / "data", place / "cache", backbone__taps=("blocks.4",), train__epochs=5.0)
    other.seed = 3
    path = place / "finished" / "config.json"
    config_file = path.read_text()
    path.unlink()
    (place / "finished" / "checkpoints").rename(place / "moved")
    loop.workdir.prepare(place / "finished", other)
    (place / "moved").rename(place / "finished" / "checkpoints")
    with pytest.raises(UserError, match=r"checkpoints/8: this checkpoint is of another run") as refused:
        loop.train(other, place / "finished")
    path.write_text(config_file)
    assert "config.train.epochs: 4.0 there, 5.0 here" in str(refused.value)
    assert "config.seed: 0 there, 3 here" in str(refused.value)
    assert steps(place / "finished") == [4, 8]


def refusing(number):
    def write(*_):
        raise OSError(number, os.strerror(number))

    return write


@pytest.mark.parametrize(
    ("number", "found"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "its file system is read-only")]
)
def test_a_disk_that_refuses_ends_the_run_clearly_and_destroys_nothing(
    place, config, finished, monkeypatch, number, found
):
    directory = place / errno.errorcode[number]
    with monkeypatch.context() as patched:
        at_step(patched, 6, refusing(number))
        with pytest.raises(
            UserError, match=rf"{directory} cannot be written: {found}.*are kept.*same command"
        ):
            loop.train(config, directory)
    assert steps(directory) == [4]
    same(jax.device_get(loop.train(config, directory)), finished)


def test_a_clock_set_back_changes_nothing(place, config, finished, monkeypatch):
    """Neither what is newest nor what is whole is told by time."""
    directory = place / "clock"
    with monkeypatch.context() as patched:
        at_step(patched, 6, refusing(errno.ENOSPC))
        with pytest.raises(UserError):
            loop.train(config, directory)
    now = time.time()
    for path in [*directory.rglob("*"), *(place / "cache").rglob("*")]:  # all of it was written next year
        os.utime(path, (now + 3e7, now + 3e7))
    monkeypatch.setattr(time, "time", lambda: now - 3e7)
    monkeypatch.setattr(time, "time_ns", lambda: int((now - 3e7) * 1e9))
    messages = []
    same(jax.device_get(loop.train(config, directory, log=messages.append)), finished)
    assert "Going on from step 4" in messages
    assert any("found in" in message for message in messages), "the cache too"


def test_the_step_loop_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    """`save` returns once the arrays are copied: here the last file is written after it returned."""
    items = {
        "params": {"kernel": jax.numpy.ones((100, 100))},
        "opt_state": {"mean": jax.numpy.ones(3)},
        "constants": {"rotation": jax.numpy.ones(3)},
        "calibration": {"mean": jax.numpy.ones(3)},
    }
    written = threading.Event()
    monkeypatch.setattr(checkpoints, "seal", lambda folder: written.wait(30))
    with checkpoints.open_manager(tmp_path) as manager:
        checkpoints.save(manager, 1, items, {})
        assert steps(tmp_path) == []
        written.set()
    assert steps(tmp_path) == [1]
