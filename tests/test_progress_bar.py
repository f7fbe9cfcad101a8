"""Progress where the output is no terminal: few lines, whole ones, and the last of all."""

import io
import sys

import pytest

from hgad_jax.progress_bar import Lines, progress_bar


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_a_second_a_step_gives_ever_fewer_lines(capsys):
    clock = Clock()
    with Lines(total=3600, desc="training", unit="step", clock=clock) as bar:
        for _ in range(3600):
            clock.now += 1
            bar.update()
            bar.set_postfix(loss="0.5", rate="3")
    said = lines(capsys)
    steps = [int(line.split("/")[0].removeprefix("training: ")) for line in said]
    assert steps == [10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030, 3600]
    assert said[1] == "training: 30/3600 [00:30<59:30,  1.00step/s, loss=0.5, rate=3]"


def test_what_is_quick_gives_one_line(capsys):
    assert list(progress_bar("abc", desc="scoring", unit="image")) == ["a", "b", "c"]
    (line,) = lines(capsys)
    assert line.startswith("scoring: 3/3 [00:00")


def test_work_that_goes_on_starts_where_it_was(capsys):
    with progress_bar(total=9, initial=7, desc="scoring", unit="image") as bar:
        bar.update(2)
        assert bar.n == 9
    assert lines(capsys)[0].startswith("scoring: 9/9 [")


@pytest.mark.parametrize(("seconds", "count"), [(0, 0), (11, 2)])
def test_what_need_not_be_said_is_said_only_if_it_takes_long(capsys, seconds, count):
    clock = Clock()
    with Lines(total=2, desc="checking", disable=None, clock=clock) as bar:
        clock.now = seconds
        bar.update(2)
    assert len(lines(capsys)) == count


def test_nothing_is_said_where_that_is_wanted_or_nobody_listens(capsys, monkeypatch):
    with progress_bar(total=1, disable=True) as bar:
        bar.update()
    assert lines(capsys) == []
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar(total=1) as bar:
        bar.update()


def test_what_has_no_known_end(capsys):
    with progress_bar(desc="fetch", unit="B", unit_scale=True, unit_divisor=1024) as bar:
        bar.update(3 << 20)
    assert lines(capsys)[0].startswith("fetch: 3.00MB [00:00")


def test_a_stop_in_the_middle_tells_how_far_it_was(capsys):
    with progress_bar(total=5, desc="scoring") as bar:
        bar.update(2)
    assert lines(capsys)[0].startswith("scoring: 2/5")


def test_on_a_terminal_it_is_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(progress_bar("ab", desc="scoring")) == ["a", "b"]
    assert "\r" in sys.stderr.getvalue()
    assert "100%" in sys.stderr.getvalue()
