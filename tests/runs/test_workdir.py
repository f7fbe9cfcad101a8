"""The folder of a run keeps to one config, and its log to what the checkpoints hold."""

import codecs
import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest
from trees import tiny_config

from hgad_jax.errors import UserError
from hgad_jax.runs import workdir
from hgad_jax.training.metric_log import MetricLog


@pytest.fixture
def config():
    return tiny_config("data")


def state(directory):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.iterdir()}


def test_saves_the_config_and_reads_it_back(tmp_path, config):
    workdir.prepare(tmp_path / "a" / "run", config)
    found = workdir.load_config(tmp_path / "a" / "run")
    assert workdir.config_as_json(found) == workdir.config_as_json(config)
    assert list(found.backbone.taps) == ["blocks.2", "blocks.4"]


def test_places_may_change_once_a_checkpoint_can_tell_what_was_there(tmp_path, config):
    workdir.prepare(tmp_path, config)
    moved = config.copy_and_resolve_references()
    moved.data.root, moved.backbone.source, moved.data.normal_dir = "elsewhere", "/weights.pth", ("good",)
    (tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir(parents=True)  # half-written
    with pytest.raises(UserError, match=r"config\.data\.root: data there, elsewhere here"):
        workdir.prepare(tmp_path, moved)
    (tmp_path / "checkpoints" / "4").mkdir()
    workdir.prepare(tmp_path, moved)
    assert workdir.load_config(tmp_path).data.root == "data", "not before the checkpoint was asked"
    workdir.save_places(tmp_path, moved)
    assert workdir.config_as_json(workdir.load_config(tmp_path)) == workdir.config_as_json(moved)


def test_the_same_config_may_go_on(tmp_path, config):
    workdir.prepare(tmp_path, config)
    before = state(tmp_path)
    workdir.prepare(tmp_path, config)
    assert state(tmp_path) == before


def test_another_config_is_refused_key_by_key_and_nothing_changes(tmp_path, config):
    workdir.prepare(tmp_path, config)
    before = state(tmp_path)
    config.train.epochs = 5.0
    config.backbone.taps = ("blocks.6",)
    with pytest.raises(UserError) as error:
        workdir.prepare(tmp_path, config)
    message = str(error.value)
    assert f"{tmp_path} holds a run with another config; nothing was changed" in message
    assert "config.train.epochs: 4.0 there, 5.0 here" in message
    assert "config.backbone.taps: ['blocks.2', 'blocks.4'] there, ['blocks.6'] here" in message
    assert message.count(" there, ") == 2
    assert "another --workdir" in message
    assert state(tmp_path) == before


def test_keys_that_came_or_went_are_named(tmp_path, config):
    workdir.prepare(tmp_path, config)
    path = tmp_path / workdir.CONFIG_FILE
    stored = json.loads(path.read_text())
    stored["train"]["old"] = stored["train"].pop("beta1")
    path.write_text(json.dumps(stored))
    with pytest.raises(UserError) as error:
        workdir.prepare(tmp_path, config)
    assert f"{path}: config.train.old is no key of a config for hgad" in str(error.value)


def test_a_key_that_a_run_is_older_than_has_the_value_of_then(tmp_path, config):
    workdir.prepare(tmp_path, config)
    path = tmp_path / workdir.CONFIG_FILE
    stored = json.loads(path.read_text())
    del stored["backbone"]["equalize"]
    path.write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"config\.backbone\.equalize: 0\.0 there, 0\.1 here"):
        workdir.prepare(tmp_path, config)
    config.backbone.equalize = 0.0
    workdir.prepare(tmp_path, config)


@pytest.mark.parametrize("content", [b"", b'{"seed": ', b"\xff\xfe", b"[1]", b"3"])
def test_an_unreadable_config_is_named_and_kept(tmp_path, config, content):
    path = tmp_path / workdir.CONFIG_FILE
    path.write_bytes(content)
    for attempt in (lambda: workdir.load_config(tmp_path), lambda: workdir.prepare(tmp_path, config)):
        with pytest.raises(UserError, match=r"config\.json cannot be read"):
            attempt()
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["with blanks", "größe", "結果", os.fsdecode(b"caf\xe9")])
def test_a_config_that_a_windows_editor_saved_again(tmp_path, config, name):
    place = tmp_path / name
    config.data.root = str(place / "images")
    workdir.prepare(place, config)
    path = place / workdir.CONFIG_FILE
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    assert workdir.config_as_json(workdir.load_config(place)) == workdir.config_as_json(config)
    workdir.prepare(place, config)
    assert path.read_bytes().startswith(codecs.BOM_UTF8), "the same config: nothing is written"


HOLDER = """
import sys
from pathlib import Path
from hgad_jax.runs import workdir
with workdir.locked(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_one_training_in_a_folder_until_it_dies_however_it_dies(tmp_path):
    place = tmp_path / "runs" / "a"
    command = [sys.executable, "-c", HOLDER, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(UserError, match="a is being trained in by another process: wait for it"):
            workdir.locked(place).__enter__()
        other.kill()
    left = place / f".config.json.{'0' * 32}.tmp"
    left.touch()
    with workdir.locked(place):
        assert [path.name for path in place.iterdir()] == [".lock"]


def test_a_folder_that_cannot_be_locked_is_warned_of(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    warned = []
    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(workdir.logging, "warning", lambda message, *args: warned.append(message % args))
    with workdir.locked(tmp_path):
        assert "cannot be locked" in warned[0]
        assert "train in it with one command at a time" in warned[0]


def test_no_run_there(tmp_path):
    with pytest.raises(UserError, match=r"holds no run: there is no config\.json"):
        workdir.load_config(tmp_path / "nowhere")


def test_a_file_in_place_of_the_folder(tmp_path, config):
    (tmp_path / "run").write_text("mine")
    for place in (tmp_path / "run", tmp_path / "run" / "deeper"):
        with pytest.raises(UserError, match=r"--workdir=.*run.* cannot be written: .*, or choose another"):
            workdir.prepare(place, config)
    assert (tmp_path / "run").read_text() == "mine"


def test_checkpoints_of_an_unknown_config_are_not_gone_on_with(tmp_path, config):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"checkpoints but no config\.json.*choose another --workdir"):
        workdir.prepare(tmp_path, config)
    assert not (tmp_path / workdir.CONFIG_FILE).exists()


def logged(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_the_log_grows_line_by_line(tmp_path):
    log = MetricLog(tmp_path, 0)
    log.write(1, {"loss": 0.5})
    assert logged(tmp_path) == [{"step": 1, "loss": 0.5}], "readable while the run goes on"
    log.write(2, {"loss": 0.25})
    log.close()
    assert logged(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_the_log_drops_what_is_past_the_checkpoint_and_a_cut_line(tmp_path):
    first = MetricLog(tmp_path, 0)
    for step in (2, 4, 6):
        first.write(step, {"loss": 1.0 / step})
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "lo')
    again = MetricLog(tmp_path, 4)
    assert [line["step"] for line in logged(tmp_path)] == [2, 4]
    again.write(5, {"loss": 0.0})
    again.close()
    assert [line["step"] for line in logged(tmp_path)] == [2, 4, 5]


def test_a_log_that_a_windows_editor_saved_again(tmp_path):
    first = MetricLog(tmp_path, 0)
    first.write(2, {"loss": 0.5})
    first.close()
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    MetricLog(tmp_path, 2).close()
    again = MetricLog(tmp_path, 2)
    again.write(3, {"loss": 0.25})
    again.close()
    MetricLog(tmp_path, 3).close()
    assert [json.loads(line)["step"] for line in path.read_text("utf-8-sig").splitlines()] == [2, 3]


def test_a_log_that_someone_edited_is_a_users_error(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        MetricLog(tmp_path, 4)


@pytest.mark.parametrize("name", ["a\\b", "**/a", os.fsdecode(b"caf\xe9/a"), "a[b]c"])
def test_a_path_with_which_checkpoints_could_not_be_kept_is_refused_at_once(tmp_path, name):
    with pytest.raises(UserError, match=r"there is .* in its path.*another folder, or a symbolic link"):
        workdir.local_path(tmp_path / name, to_train=True)
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / name)
    assert workdir.local_path(tmp_path / "link", to_train=True) == tmp_path / "link"
    if "[" in name:
        assert workdir.local_path(tmp_path / name) == tmp_path / name, "one that was moved there is found"


def test_an_address_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert workdir.local_path("runs/a") == tmp_path / "runs" / "a"
    assert workdir.local_path("~/runs/a") == tmp_path / "home" / "runs" / "a"
    with pytest.raises(UserError, match=r"--workdir=gs://bucket/run: .*--workdir=/mnt/gs/bucket/run"):
        workdir.local_path("gs://bucket/run")
    assert not list(tmp_path.iterdir())
