"""A folder that is watched: each image once, when it is whole, whatever happens meanwhile."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from by_brightness import ByBrightness
from served import defective, encoded, good, until

from hgad_jax import files
from hgad_jax.errors import UserError
from hgad_jax.serving import ledger as ledgers
from hgad_jax.serving.ledger import Ledger, Seen
from hgad_jax.serving.watch import Settings, watch

QUICK = Settings(every=0.01, settle=0.05, patience=0.3)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def watch_once(place: Path, settings=QUICK, *, log=None, open_it=lambda path: ByBrightness()):
    settings = settings._replace(once=True)
    return watch(
        "run", place / "in", place / "scores.jsonl", settings, log=log or (lambda line: None), open_it=open_it
    )


class Running:
    """A watcher on a thread."""

    def __init__(self, place, settings=QUICK):
        self.log, self._stop, self.out = [], threading.Event(), place / "scores.jsonl"
        self._thread = threading.Thread(
            target=lambda: watch(
                *("run", place / "in", self.out, settings),
                log=self.log.append,
                stop=self._stop,
                open_it=lambda path: ByBrightness(),
            )
        )

    def __enter__(self):
        self._thread.start()
        until(lambda: self.log)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.fixture
def place(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path


def test_each_image_gets_a_line_with_all_that_is_said_of_it(place):
    write(place / "in" / "a.png", good())
    write(place / "in" / "line 2" / "b.png", defective())
    write(place / "in" / "notes.txt", b"no image by its name")
    write(place / "in" / ".hidden.png", good())
    done = watch_once(place, QUICK._replace(heatmaps=place / "maps"))
    assert (done.scored, done.anomalous, done.unreadable) == (2, 1, 0)
    found = {line["file"]: line for line in lines(place / "scores.jsonl")}
    assert found.keys() == {"a.png", "line 2/b.png"}
    b = found["line 2/b.png"]
    assert (b["decision"], b["anomalous"], b["class_name"]) == ("anomalous", True, "part")
    assert (b["height"], b["width"], b["bytes"]) == (40, 60, len(defective()))
    assert b.keys() >= {"score", "normalized", "threshold", "class_probability", "evidence", "time"}
    assert (place / "maps" / "heatmaps" / b["heatmap"]).exists()


def test_the_same_command_goes_on(place):
    write(place / "in" / "a.png", good())
    assert watch_once(place).scored == 1
    assert watch_once(place).scored == 0
    write(place / "in" / "b.png", good())
    assert watch_once(place).scored == 1
    write(place / "in" / "a.png", defective())
    assert watch_once(place).scored == 1, "another image under the same name is another image"
    assert [line["file"] for line in lines(place / "scores.jsonl")] == ["a.png", "b.png", "a.png"]


def test_results_may_be_moved_away(place):
    write(place / "in" / "a.png", good())
    watch_once(place)
    (place / "scores.jsonl").rename(place / "yesterday.jsonl")
    write(place / "in" / "b.png", good())
    with Running(place) as running:
        until(lambda: len(lines(running.out)) == 1)
        running.out.rename(place / "today.jsonl")
        write(place / "in" / "c.png", good())
        until(lambda: len(lines(running.out)) == 1)
    assert [line["file"] for line in lines(place / "today.jsonl")] == ["b.png"]
    assert [line["file"] for line in lines(place / "scores.jsonl")] == ["c.png"]


def test_a_file_that_is_still_being_written_is_waited_for(place):
    content = defective()
    with Running(place, QUICK._replace(settle=0.1, patience=60)) as running:
        with (place / "in" / "slow.png").open("wb") as file:
            for byte in range(0, len(content), 20):
                file.write(content[byte : byte + 20])
                file.flush()
                time.sleep(0.02)
            file.flush()
        until(lambda: lines(running.out))
    assert [(line["file"], line["decision"]) for line in lines(running.out)] == [("slow.png", "anomalous")]


def test_a_camera_that_stalls_longer_than_files_settle(place):
    """A part of an image is no image: it is not given up before the patience is over."""
    content = encoded(np.random.default_rng(0).integers(0, 255, (60, 60), dtype=np.uint8))
    with Running(place, QUICK._replace(settle=0.02, patience=60)) as running:
        write(place / "in" / "stalled.png", content[: len(content) // 2])
        time.sleep(0.3)
        assert lines(running.out) == []
        write(place / "in" / "stalled.png", content)
        until(lambda: lines(running.out))
    assert [line["decision"] for line in lines(running.out)] == ["anomalous"], "it is bright in places"


def test_what_cannot_be_read_is_listed_once(place):
    write(place / "in" / "broken.png", b"this is no image")
    write(place / "in" / "empty.png", b"")
    write(place / "in" / "cut.png", good()[:-30])
    with Running(place) as running:
        until(lambda: len(lines(running.out)) == 3)
        write(place / "in" / "good.png", good())
        until(lambda: len(lines(running.out)) == 4)
    assert sum("cannot be read" in line for line in running.log) == 3
    found = {line["file"]: line for line in lines(running.out)}
    assert "no image by its content" in found["broken.png"]["error"]
    assert found["good.png"]["decision"] == "good"
    assert watch_once(place).unreadable == 0
    assert len(lines(running.out)) == 4


def test_what_was_there_before_may_be_left_alone(place):
    write(place / "in" / "old.png", good())
    settings = QUICK._replace(skip_existing=True)
    assert watch_once(place, settings).scored == 0
    write(place / "in" / "new.png", good())
    assert watch_once(place, settings).scored == 1


def test_names_that_are_no_utf8(place):
    name = os.fsdecode(b"gr\xfc\xdfe\n.png")
    write(place / "in" / name, good())
    assert watch_once(place).scored == 1
    assert watch_once(place).scored == 0
    assert lines(place / "scores.jsonl")[0]["file"] == name


def test_links_that_lead_round_in_a_circle(place):
    (place / "in" / "round").symlink_to(place / "in", target_is_directory=True)
    (place / "in" / "nowhere.png").symlink_to(place / "no such file")
    write(place / "in" / "a.png", good())
    assert watch_once(place).scored == 1


def test_a_folder_that_is_gone_for_a_while(place):
    with Running(place) as running:
        (place / "in").rename(place / "away")
        until(lambda: any("cannot be read at the moment" in line for line in running.log))
        (place / "away").rename(place / "in")
        write(place / "in" / "a.png", good())
        until(lambda: lines(running.out))
    assert sum("cannot be read at the moment" in line for line in running.log) == 1


def test_looking_does_not_slow_down_with_what_is_done(place, monkeypatch):
    """Of ten thousand files that are done no key is made again, and none is opened, at a later look."""
    for number in range(10_000):
        (place / "in" / f"{number:05}.png").touch()
    watch_once(place, QUICK._replace(skip_existing=True))
    made = []
    by_key = Seen.key
    monkeypatch.setattr(Seen, "key", lambda seen: made.append(seen) or by_key(seen))
    with Running(place) as running:
        until(lambda: len(made) >= 10_000)
        time.sleep(0.5)
        write(place / "in" / "new.png", good())
        until(lambda: lines(running.out))
    assert len(made) < 10_100


def test_a_full_disk_ends_it_and_nothing_is_lost(place, monkeypatch):
    for number in range(20):
        write(place / "in" / f"{number}.png", good())
    wrote, appended = [], ledgers._append

    def full(path, content):
        wrote.append(path)
        if len(wrote) == 4:
            with path.open("ab") as file:
                file.write(content[:30])
                before = file.tell() - 30
            os.truncate(path, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        appended(path, content)

    monkeypatch.setattr(ledgers, "_append", full)
    with pytest.raises(UserError, match=r"disk is full.*Make room there.*the same command goes on"):
        watch_once(place)
    monkeypatch.setattr(ledgers, "_append", appended)
    watch_once(place)
    assert sorted(line["file"] for line in lines(place / "scores.jsonl")) == sorted(
        f"{n}.png" for n in range(20)
    )


def test_a_line_that_does_not_fit_leaves_no_part_of_it(tmp_path):
    """On a file system that is really full: /dev/full refuses every byte."""
    path = tmp_path / "results"
    path.write_bytes(b"before\n")
    script = (
        "import resource, signal, sys; from pathlib import Path; from hgad_jax.serving import ledger;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50));"
        "ledger._append(Path(sys.argv[1]), b'x' * 100)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, env=environment)
    assert b"File too large" in done.stderr
    assert path.read_bytes() == b"before\n"


def test_two_watchers_on_one_file(place):
    with Running(place), pytest.raises(UserError, match="Another hgad-jax watch writes to"):
        watch_once(place)


def test_what_is_refused(place):
    def refused(match, **changes):
        paths = {"folder": place / "in", "out": place / "scores.jsonl"} | changes
        settings = paths.pop("settings", QUICK)
        with pytest.raises(UserError, match=match):
            watch("run", **paths, settings=settings, log=print, open_it=lambda path: ByBrightness())

    refused("is no folder", folder=place / "nowhere")
    refused("is a folder", out=place / "in")
    refused("lies in the folder that is watched", settings=QUICK._replace(heatmaps=place / "in" / "maps"))
    other = write(place / "other.csv", b"somebody's\ntable, without an end of its last line")
    refused(r"without other\.csv\.done beside it", out=other)
    assert other.read_bytes().endswith(b"last line"), "nothing was cut off"
    write(place / "wrong.jsonl.done", b"no key\n")
    refused("is no ledger", out=place / "wrong.jsonl")


def test_lines_without_keys_are_entered(tmp_path):
    """As a kill between the two leaves them."""
    results = tmp_path / "r"
    first = [(Seen(f"{n}.png", n, n), {"x": n}) for n in range(5)]
    Ledger(results).append(first)
    keys = (tmp_path / "r.done").read_text().splitlines()
    (tmp_path / "r.done").write_text("".join(f"{key}\n" for key in keys[:2]) + keys[2][:7])
    with results.open("a") as file:
        file.write('{"file": "5.p')
    again = Ledger(results)
    assert len(again) == 5
    assert all(again.has(seen) for seen, _ in first)
    assert (tmp_path / "r.done").read_text().splitlines() == keys
    assert len(lines(results)) == 5


def killed(place: Path, kills: int, seed: int) -> None:
    """Kills a watcher again and again while images arrive, then lets it finish."""
    rng, folder, out = random.Random(seed), place / "in", place / "scores.jsonl"
    contents = [good(), defective()]
    command = [sys.executable, Path(__file__).with_name("watcher.py"), folder, out, place / "maps"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    count = 0

    def more(some):
        nonlocal count
        for _ in range(some):
            write(folder / f"{count:05}.png", contents[count % 2] if count % 10 else b"no image")
            count += 1

    for _ in range(kills):
        more(40)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert "watching" in process.stdout.readline()
            more(40)
            time.sleep(rng.uniform(0.0, 0.5))
            process.kill()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        until(lambda: len(lines(out)) >= count)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    found = lines(out)
    assert sorted(line["file"] for line in found) == [f"{n:05}.png" for n in range(count)], "each once"
    for line in found:
        number = int(line["file"][:5])
        assert ("error" in line) == (number % 10 == 0)
        assert line.get("anomalous", False) == (number % 2 == 1)
    painted = {path.name for path in (place / "maps" / "heatmaps").iterdir()} - {"scale.png"}
    assert painted >= {line["heatmap"] for line in found if "heatmap" in line}


def test_three_kills_lose_nothing_and_repeat_nothing(place):
    killed(place, 3, seed=0)


@pytest.mark.slow
def test_twenty_kills_lose_nothing_and_repeat_nothing(place):
    killed(place, 20, seed=1)


def test_a_disk_that_refuses_is_named(place, monkeypatch):
    write(place / "in" / "a.png", good())

    def refuse(*arguments, **settings):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files, "writing", refuse)
    with pytest.raises(UserError, match="file system is read-only"):
        watch_once(place, QUICK._replace(heatmaps=place / "maps"))
    assert lines(place / "scores.jsonl") == []
