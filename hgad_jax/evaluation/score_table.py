"""`scores.csv`: a row per image, appended batch by batch, picked up again after a kill."""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hgad_jax.errors import UserError
from hgad_jax.evaluation.prediction_files import output_name
from hgad_jax.evaluation.predictor import Prediction
from hgad_jax.files import write_atomically

COLUMNS = (
    *("path", "class", "score", "threshold", "anomalous"),
    *("normalized", "class_probability", "note", "output"),
)
_SETTINGS = "predict.json"
_FORMULA = ("=", "+", "-", "@", "\t")  # a spreadsheet would compute a cell that begins so


def listed_path(path: str) -> str:
    """A path as the table shows it: the same file, but never a formula to a spreadsheet."""
    return f"./{path}" if path.startswith(_FORMULA) else path


def _listed_class(name: str) -> str:
    """A class's name, a folder's, as the table shows it: with an apostrophe if it would be a formula."""
    return f"'{name}" if name.startswith(_FORMULA) else name


class ScoreTable:
    """Appends to `out/scores.csv`; of a run that was killed, whole rows stay and the rest is cut off.

    Args:
      out: folder, exists.
      settings: all that scores depend on, as JSON; kept in `out/predict.json`.

    Raises:
      UserError: the folder holds predictions made with other settings, or a table that is none of ours.
    """

    def __init__(self, out: Path, settings: dict[str, Any]):
        self._path = out / "scores.csv"
        settings = json.loads(json.dumps(settings))
        _check_settings(out, settings, self._path.exists())
        whole, self.done = _read(self._path)
        # newline="": the csv module writes its own; paths that are not UTF-8 keep their bytes.
        mode = "r+" if self._path.exists() else "w"
        self._file = self._path.open(mode, encoding="utf-8", errors="surrogateescape", newline="")
        self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)
        self._writer = csv.writer(self._file, lineterminator="\n")
        if not whole:
            self._writer.writerow(COLUMNS)
            self._file.flush()

    def append(self, rows: Sequence[tuple[str, Prediction]]) -> None:
        """Writes rows; they are in the file when this returns."""
        self._writer.writerows(_row(path, prediction) for path, prediction in rows)
        self._file.flush()
        self.done.update(listed_path(path) for path, _ in rows)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _row(path: str, prediction: Prediction) -> list[str]:
    note = ""
    if prediction.class_name != prediction.nearest_class:
        note = f"unlike any class of the model; scored as {prediction.nearest_class}"
    return [
        listed_path(path),
        _listed_class(prediction.class_name),
        f"{prediction.score:.6g}",
        f"{prediction.threshold:.6g}",
        str(prediction.anomalous).lower(),
        f"{prediction.normalized:.6f}",
        f"{prediction.class_probability:.4f}",
        note,
        output_name(path),
    ]


def _check_settings(out: Path, settings: dict[str, Any], has_scores: bool) -> None:
    path = out / _SETTINGS
    if not path.exists():
        if has_scores:
            raise UserError(f"{out} holds a scores.csv but no {_SETTINGS}: choose another --out.")
        write_atomically(path, json.dumps(settings, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        different = sorted(k for k in found.keys() | settings.keys() if found.get(k) != settings.get(k))
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({error}). Choose another --out.") from error
    if different:
        lines = [f"  {k}: {found.get(k)} there, {settings.get(k)} now" for k in different]
        raise UserError(
            f"{out} holds predictions made with other settings; nothing was changed.\n"
            + "\n".join(lines)
            + "\nChoose another --out, or give the same settings to go on."
        )


def _read(path: Path) -> tuple[int, set[str]]:
    """Bytes of the whole rows of a table, and the paths in them."""
    if not path.exists():
        return 0, set()
    content = path.read_bytes()
    content = content[: content.rfind(b"\n") + 1]  # a killed run may leave its last row cut short
    rows = csv.reader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline=""))
    done: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if len(row) != len(COLUMNS) or (number == 1 and tuple(row) != COLUMNS):
            raise UserError(
                f"{path}, row {number}: it is none that predict.py wrote ({len(row)} columns, expected "
                f"{len(COLUMNS)}: {','.join(COLUMNS)}). Mend it or choose another --out."
            )
        if number > 1:
            done.add(row[0])
    return len(content), done
