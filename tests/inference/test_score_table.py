"""`scores.csv` by itself: one row per image, whatever wrote or saved it before."""

import contextlib
import csv
import io
import json
import re

import numpy as np
import pytest

import hgad_jax
from hgad_jax.errors import UserError
from hgad_jax.inference.inputs import InputImage, State
from hgad_jax.inference.plain_names import original
from hgad_jax.inference.predictor import Prediction
from hgad_jax.inference.score_table import COLUMNS, FORMAT, Row, ScoreTable

SETTINGS = {"step": 3}
OUTPUT = COLUMNS.index("output")
NAMES = ["a.png", "with, comma.png", 'a "quote".png', "two\nlines.png", "\udcff.png", "ü.png", "=1+1.png"]


def image(name):
    return InputImage(name, f"/in/{name}")


def row(name, score=1.5, state="then", class_name="part"):
    said = (score, 0.25, 3.0, score > 3, 0.1, class_name, 0.5, False, 0.5)
    said = Prediction(*said, np.zeros((1, 1)), 1.0)
    return Row(image(name), State("10", state), said)


def opened(out, settings=SETTINGS):
    return contextlib.closing(ScoreTable(out, settings))


def rows(out):
    with (out / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def out(tmp_path):
    with opened(tmp_path) as table:
        table.append([row(name, i + 0.5) for i, name in enumerate(NAMES)])
    return tmp_path


def test_any_name_is_in_one_line_that_any_program_can_read(out):
    content = (out / "scores.csv").read_bytes().decode("utf-8")
    assert len(content.splitlines()) == 1 + len(NAMES)
    assert [original(found["file"]) for found in rows(out)] == [f"/in/{name}" for name in NAMES]
    assert [original(found["path"]) for found in rows(out)] == [*NAMES[:-1], "./=1+1.png"]
    assert len({found["output"] for found in rows(out)}) == len(NAMES)


def test_rows_are_found_again(out):
    with opened(out) as table:
        assert len(table) == len(NAMES)
        assert {table.state(image(name)) for name in NAMES} == {State("10", "then")}
        assert table.state(image("b.png")) is None
        before = (out / "scores.csv").read_bytes()
    assert (out / "scores.csv").read_bytes() == before


def test_a_removed_row_is_gone_and_the_new_one_is_the_only_one(out):
    with opened(out) as table:
        table.remove([image("a.png"), image("\udcff.png")])
        assert len(rows(out)) == len(table) == len(NAMES) - 2
        table.append([row("a.png", 9.0, "now")])
        assert table.state(image("a.png")) == State("10", "now")
    assert [found["score"] for found in rows(out) if found["path"] == "a.png"] == ["9"]
    assert len(rows(out)) == len(NAMES) - 1
    assert sorted(path.name for path in out.iterdir()) == ["predict.json", "scores.csv"]


def test_a_kill_while_rows_are_removed_loses_none(out, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*arguments):
        raise Killed

    before = rows(out)
    for name in ("os.fsync", "os.replace"):
        with monkeypatch.context() as patched, opened(out) as table:
            patched.setattr(name, kill)
            with pytest.raises(Killed):
                table.remove([image("a.png")])
        assert rows(out) == before
    with opened(out) as table:
        assert len(table) == len(NAMES)


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_the_row_that_a_kill_cut_short_is_cut_off(out, cut):
    content = (out / "scores.csv").read_bytes()
    (out / "scores.csv").write_bytes(content[:-cut])
    with opened(out) as table:
        assert len(table) == len(NAMES) - 1
        table.append([row(NAMES[-1], 6.5)])
    assert (out / "scores.csv").read_bytes() == content


SAVED_AGAIN = {
    "byte-order mark": lambda text: "\ufeff" + text,
    "line ends of Windows": lambda text: text.replace("\n", "\r\n"),
    "semicolons": lambda text: write(read(text), delimiter=";"),
    "tabs": lambda text: write(read(text), delimiter="\t"),
    "all quoted": lambda text: write(read(text), quoting=csv.QUOTE_ALL),
    "all that": lambda text: "\ufeff" + write(read(text), delimiter=";", quoting=1, end="\r\n"),
    "an empty line": lambda text: text + "\n",
    "TRUE": lambda text: text.replace("true", "TRUE").replace("false", "FALSE"),
    "a row twice": lambda text: text + text.splitlines(keepends=True)[1],
}


def read(text):
    return list(csv.reader(text.splitlines()))


def write(found, *, end="\n", **settings):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=end, **settings).writerows(found)
    return buffer.getvalue()


@pytest.mark.parametrize("how", SAVED_AGAIN)
def test_a_table_that_a_spreadsheet_has_saved_goes_on_as_ours(out, how):
    before = sorted(map(str, rows(out)))
    text = (out / "scores.csv").read_text(encoding="utf-8")
    (out / "scores.csv").write_bytes(SAVED_AGAIN[how](text).encode("utf-8"))
    with opened(out) as table:
        assert {table.state(image(name)) for name in NAMES} == {State("10", "then")}
        table.append([row("new.png")])
    found = rows(out)
    assert sorted(map(str, found[:-1])) == before
    assert found[-1]["path"] == "new.png"
    assert (out / "scores.csv").read_text(encoding="utf-8").startswith(f"{','.join(COLUMNS)}\n")


REFUSED = {
    "decimal commas": (
        lambda text: text.replace(",1.5,", ',"1,5",'),
        "row 3: score is '1,5', expected a",
    ),
    "a column less": (
        lambda text: write([cells[:OUTPUT] + cells[OUTPUT + 1 :] for cells in read(text)]),
        "row 1: the columns are not those.*it lacks output",
    ),
    "another order": (
        lambda text: write([cells[::-1] for cells in read(text)]),
        "row 1: the columns are not those.*they are modified, bytes",
    ),
    "a stray row": (lambda text: text + "a,b\n", r"row 9: it is none that predict\.py wrote \(2 columns"),
    "yes and no": (
        lambda text: text.replace("false", "no"),
        "row 2: anomalous is 'no', expected true or",
    ),
    "an open quotation mark": (lambda text: text + '"' + "x" * 200_000 + "\n", "is no table: "),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_cannot_be_gone_on_with_is_named(out, how):
    change, pattern = REFUSED[how]
    text = change((out / "scores.csv").read_text(encoding="utf-8"))
    (out / "scores.csv").write_text(text, encoding="utf-8", newline="")
    with pytest.raises(UserError, match=f"(?s)scores.csv.*{pattern}"):
        ScoreTable(out, SETTINGS)
    assert (out / "scores.csv").read_text(encoding="utf-8") == text


def test_another_encoding_is_named(out):
    text = (out / "scores.csv").read_text(encoding="utf-8")
    for encoding in ("cp1252", "utf-16"):
        (out / "scores.csv").write_bytes(text.encode(encoding))
        with pytest.raises(UserError, match=r"is no UTF-8 text.*Save it as CSV in UTF-8, or choose"):
            ScoreTable(out, SETTINGS)


def test_predictions_of_an_older_version_are_refused_with_what_they_are(out):
    settings = json.loads((out / "predict.json").read_text())
    assert (settings["format"], settings["hgad_jax"]) == (FORMAT, hgad_jax.__version__)
    (out / "predict.json").write_text(json.dumps(SETTINGS))  # as before there were formats
    with pytest.raises(UserError, match=r"predictions of format 1, made by an older hgad_jax.*another --out"):
        ScoreTable(out, SETTINGS)
    (out / "predict.json").write_text(json.dumps(SETTINGS | {"format": 4, "hgad_jax": "9.9"}))
    found = re.escape(hgad_jax.__version__)
    with pytest.raises(UserError, match=f"format 4, made by 9.9. hgad_jax {found} goes on with format 3"):
        ScoreTable(out, SETTINGS)


def test_other_settings_are_refused(out):
    with pytest.raises(UserError, match=r"other settings; nothing was changed\.\n  step: 3 there, 4 now"):
        ScoreTable(out, {"step": 4})


def test_no_cell_is_a_formula(tmp_path):
    with opened(tmp_path) as table:
        table.append([row(f"{sign}1.png", class_name=f"{sign}A1") for sign in "=+-@"])
        table.append([row("\t=1.png")])
    for found in rows(tmp_path):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in found.values())
