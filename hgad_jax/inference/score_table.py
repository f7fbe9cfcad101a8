"""`scores.csv`: a row per image, appended batch by batch, picked up again after a kill.

An image is known by its absolute path, size and time of the last change. The row of an image that has changed
is taken out before the image is scored again: there is never a row of something that is no longer there,
and a kill in between leaves an image without a row, which the next run scores.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hgad_jax
from hgad_jax.errors import UserError
from hgad_jax.files import read_text, write_atomically, writing
from hgad_jax.inference.inputs import InputImage, State
from hgad_jax.inference.plain_names import plain
from hgad_jax.inference.prediction_files import SCORES, SETTINGS, output_name
from hgad_jax.inference.predictor import Prediction
from hgad_jax.inference.regions import Region

FORMAT = 3  # of scores.csv and predict.json
COLUMNS = (
    *("path", "class", "score", "threshold", "anomalous"),
    *("normalized", "p_value", "class_probability", "unknown", "unknown_p_value"),
    *("regions", "area", "length", "x", "y"),
    *("note", "output"),
    *("file", "bytes", "modified"),
)
_FILE = COLUMNS.index("file")
_FORMULA = ("=", "+", "-", "@")  # a spreadsheet would compute a cell that begins so
_DELIMITERS = (",", ";", "\t")  # ours, and those of spreadsheets


class Row(NamedTuple):
    """An image and what is said of it."""

    image: InputImage
    state: State  # as it was before it was read
    prediction: Prediction


class ScoreTable:
    """Appends to `out/scores.csv`; of a run that was killed, whole rows stay and the rest is cut off.

    A table that a spreadsheet has saved again is read and written anew as it was.

    Args:
      out: folder, exists; nobody else writes to it.
      settings: all that scores depend on, as JSON; kept in `out/predict.json`.

    Raises:
      UserError: the folder holds predictions made with other settings or of another format, or a table that
        is none of ours.
    """

    def __init__(self, out: Path, settings: dict[str, Any]):
        self._path = out / SCORES
        _check_settings(out, json.loads(json.dumps(settings)), self._path.exists())
        found = _read(self._path)
        self._states = {file: state for file, (_, state) in found.images.items()}
        if found.as_written:
            os.truncate(self._path, found.whole)
            self._open()
        else:
            self._rewrite(lambda number, file: found.images[file][0] == number)

    def __len__(self) -> int:
        return len(self._states)

    def state(self, image: InputImage) -> State | None:
        """What an image was when it was scored; None if it was not."""
        return self._states.get(plain(image.file))

    def remove(self, images: Collection[InputImage]) -> None:
        """Takes out rows, all at once."""
        files = {plain(image.file) for image in images}
        if not files:
            return
        self.close()
        self._rewrite(lambda number, file: file not in files)
        self._states = {file: state for file, state in self._states.items() if file not in files}

    def append(self, rows: Sequence[Row]) -> None:
        """Writes rows; they are in the file when this returns."""
        self._writer.writerows(map(_cells, rows))
        self._file.flush()
        self._states.update({plain(row.image.file): row.state for row in rows})

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _open(self) -> None:
        self._file = self._path.open("a", encoding="utf-8", newline="")  # the csv module writes its own
        self._writer = csv.writer(self._file, lineterminator="\n")

    def _rewrite(self, keep: Callable[[int, str], bool]) -> None:
        """Writes the table anew, with the rows of which `keep(number, file)`, and opens it."""
        with writing(self._path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(row for number, row in _rows(self._path)[0] if keep(number, row[_FILE]))
            text.detach()
        self._open()


def _cells(row: Row) -> list[str]:
    prediction = row.prediction
    note = "unlike any class of the model; scored as the nearest" if prediction.unknown else ""
    return [
        _no_formula(plain(row.image.path), "./"),
        _no_formula(plain(prediction.class_name), "'"),
        f"{prediction.score:.6g}",
        f"{prediction.threshold:.6g}",
        str(prediction.anomalous).lower(),
        f"{prediction.normalized:.6f}",
        f"{prediction.p_value:.3g}",
        f"{prediction.class_probability:.4f}",
        str(prediction.unknown).lower(),
        f"{prediction.unknown_p_value:.3g}",
        *_measures(prediction.regions),
        note,
        output_name(row.image.file),
        plain(row.image.file),
        *row.state,
    ]


def _measures(regions: Sequence[Region]) -> list[str]:
    """How many regions there are; area, length and peak of the largest."""
    if not regions:
        return ["0", "", "", "", ""]
    largest = regions[0]
    numbers = (largest.area, largest.length, *largest.peak)
    return [str(len(regions)), *(f"{number:.1f}" for number in numbers)]


def _no_formula(text: str, before: str) -> str:
    """A text that a spreadsheet does not compute: `./` before a path is the same file, `'` is the custom."""
    return f"{before}{text}" if text.startswith(_FORMULA) else text


def _check_settings(out: Path, settings: dict[str, Any], has_scores: bool) -> None:
    path = out / SETTINGS
    if not path.exists():
        if has_scores:
            raise UserError(f"{out} holds a {SCORES} but no {SETTINGS}: choose another --out.")
        content = {"format": FORMAT, "hgad_jax": hgad_jax.__version__} | settings
        write_atomically(path, json.dumps(content, indent=2) + "\n")
        return
    try:
        found = json.loads(read_text(path))
        version, by = found.pop("format", 1), found.pop("hgad_jax", "an older hgad_jax")
        different = sorted(k for k in found.keys() | settings.keys() if found.get(k) != settings.get(k))
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({error}). Choose another --out.") from error
    if version != FORMAT:
        raise UserError(
            f"{out} holds predictions of format {version}, made by {by}. hgad_jax {hgad_jax.__version__} "
            f"goes on with format {FORMAT} only, which knows an image by its absolute path, size and time of "
            "change. Nothing was changed: choose another --out."
        )
    if different:
        lines = [f"  {k}: {found.get(k)} there, {settings.get(k)} now" for k in different]
        raise UserError(
            f"{out} holds predictions made with other settings; nothing was changed.\n"
            + "\n".join(lines)
            + "\nChoose another --out, or give the same settings to go on."
        )


class _Found(NamedTuple):
    """A table as it was found."""

    images: dict[str, tuple[int, State]]  # by the column `file`: the last row of the image
    whole: int  # bytes of whole rows; what follows was on its way when a run was killed
    as_written: bool  # by us and nobody else, so that rows can be appended


class _Hashed:
    """What can be written to, of which the hash alone is kept."""

    def __init__(self):
        self.hash = hashlib.sha256()

    def write(self, text: str) -> None:
        self.hash.update(text.encode())


def _read(path: Path) -> _Found:
    rows, content = _rows(path)
    images, count = {}, 0
    ours = _Hashed()  # the table as we would write it
    writer = csv.writer(ours, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, row in rows:
        writer.writerow(row)
        images[row[_FILE]] = (number, State(*row[_FILE + 1 :]))
        count += 1
    as_written = ours.hash.digest() == hashlib.sha256(content).digest() and len(images) == count
    return _Found(images, len(content), as_written)


def _rows(path: Path) -> tuple[Iterator[tuple[int, list[str]]], bytes]:
    """The rows of a table, numbered from 2 on, be it that a spreadsheet has saved it; and its whole lines."""
    content = path.read_bytes() if path.exists() else b""
    content = content[: content.rfind(b"\n") + 1]
    text = _text(path, content)

    def rows():
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        try:
            for number, row in enumerate(lines, start=1):
                if number == 1:
                    _check_head(path, row)
                elif any(row):
                    yield number, _checked(path, number, row)
        except csv.Error as error:  # a quotation mark that is never closed, for one
            raise UserError(f"{path} is no table: {error}. Mend it or choose another --out.") from error

    return rows(), content


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")  # a byte-order mark is a spreadsheet's
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is no UTF-8 text: another program, such as a spreadsheet, has saved it in another "
            "encoding. Save it as CSV in UTF-8, or choose another --out."
        ) from error


def _delimiter(text: str) -> str:
    head = text.partition("\n")[0].strip().replace('"', "")
    return next((d for d in _DELIMITERS if head == d.join(COLUMNS)), ",")


def _check_head(path: Path, row: list[str]) -> None:
    if tuple(row) != COLUMNS:
        missing = [name for name in COLUMNS if name not in row]
        found = f"it lacks {', '.join(missing)}" if missing else f"they are {', '.join(row)}"
        raise UserError(
            f"{path}, row 1: the columns are not those that predict.py writes: {found}. Expected "
            f"{','.join(COLUMNS)}. Mend it or choose another --out."
        )


def _checked(path: Path, number: int, row: list[str]) -> list[str]:
    if len(row) != len(COLUMNS):
        raise UserError(
            f"{path}, row {number}: it is none that predict.py wrote ({len(row)} columns, expected "
            f"{len(COLUMNS)}: {','.join(COLUMNS)}). Mend it or choose another --out."
        )
    for name in ("anomalous", "unknown"):
        row[COLUMNS.index(name)] = row[COLUMNS.index(name)].lower()  # spreadsheets write TRUE
    for name, (expected, holds) in _EXPECTED.items():
        cell = row[COLUMNS.index(name)]
        if not holds(cell):
            raise UserError(
                f"{path}, row {number}: {name} is '{cell}', expected {expected}. Has a spreadsheet saved the "
                "table in another form? Mend it or choose another --out."
            )
    return row


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


_NUMBER = ("a number such as 12.5", _is_number)
_NUMBERS = ("score", "threshold", "normalized", "p_value", "class_probability", "unknown_p_value", "regions")
_EXPECTED = {
    **dict.fromkeys(("anomalous", "unknown"), ("true or false", lambda cell: cell in ("true", "false"))),
    **dict.fromkeys(_NUMBERS, _NUMBER),
    "file": ("an absolute path", lambda cell: cell.startswith(os.sep)),
}
