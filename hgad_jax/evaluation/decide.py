"""Choosing a threshold: what each rate of false alarms promises, and what it costs on labelled images."""

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hgad_jax import files
from hgad_jax.errors import UserError
from hgad_jax.evaluation.rate_table import rate_table
from hgad_jax.evaluation.scores_file import COLUMNS, DEFECTIVE, GOOD, SCORES
from hgad_jax.inference.plain_names import plain
from hgad_jax.inference.scorer import Scorer, load_scorer
from hgad_jax.runs import choice, workdir
from hgad_jax.scoring.decision import Setting, choose, describe_thresholds

PAGE = "decide.html"


class Costs(NamedTuple):
    """What decisions cost, in any one unit, and how many parts are defective."""

    miss: float
    false_alarm: float
    defects: float  # share of all parts


class Labelled(NamedTuple):
    """Scores of labelled images: `[N]` each."""

    labels: np.ndarray  # class ids
    scored_as: np.ndarray  # class ids
    scores: np.ndarray
    anomalous: np.ndarray


class Advice(NamedTuple):
    """What is known to choose by.

    Attributes:
      classes: names.
      tables: of each class, `rate_table.rate_table`; with costs each row has its `cost` a part.
      recommended: of each class the row with the least cost; empty without costs.
      now: lines that say which thresholds the run decides by.
      labelled: whether there are labelled images.
      costs: that were given.
    """

    classes: tuple[str, ...]
    tables: dict[str, list[dict[str, Any]]]
    recommended: dict[str, dict[str, Any]]
    now: list[str]
    labelled: bool
    costs: Costs | None


def decide(
    directory: str | Path,
    *,
    threshold: Setting = None,
    false_alarm_rate: Setting = None,
    scores: str | Path | None = None,
    costs: Mapping[str, float] | None = None,
    write: bool = False,
    render: Callable[[Advice], str] | None = None,
    log: Callable[[str], None] = print,
) -> Advice:
    """Tells what there is to choose from, and writes a choice into a run.

    Args:
      directory: of the run.
      threshold: to decide by, as `Predictor.load` takes it; None: as it is.
      false_alarm_rate: likewise.
      scores: `scores.csv` of an evaluation; None: that of the run's folder `eval`, if there is one.
      costs: of a "miss" and of a "false_alarm", in any one unit, and the share of "defects" among all parts.
      write: keep the choice in the run, where `predict`, `eval` and `Predictor` find it.
      render: makes the page `decide.html` in the run's folder; None: none is written.
      log: gets the lines meant for the user.

    Raises:
      UserError: something that the user can mend.
    """
    directory = workdir.local_path(directory)
    wanted = _costs(costs) if costs is not None else None
    scorer = load_scorer(directory, threshold=threshold, false_alarm_rate=false_alarm_rate)
    labelled = _labelled(scorer, directory, scores)
    if wanted and not labelled.anomalous.any():
        raise UserError(
            "Costs need labelled images with defects to tell what is missed, and there are none: run "
            "eval first, or give its table with --scores."
        )
    found = _decided(scorer, labelled, wanted)
    for line in (*lines(found), *found.now):
        log(line)
    if write:
        log(f"Written to {choice.save(_chosen(directory, threshold, false_alarm_rate), directory)}")
    else:
        log(f"To keep this choice: --write, or in the config {_as_config(scorer.config)}")
    if render:
        with files.disk_errors(f"{directory} cannot be written"):
            files.write_atomically(directory / PAGE, render(found))
        log(f"Written to {directory / PAGE}")
    return found


def _decided(scorer: Scorer, labelled: Labelled, costs: Costs | None) -> Advice:
    tables, recommended = {}, {}
    for k, name in enumerate(scorer.classes):
        own = labelled.labels == k
        rows = rate_table(
            scorer.decision, k, labelled.scores[own], labelled.scored_as[own], labelled.anomalous[own]
        )
        if costs and rows[0]["miss_rate"] is not None:
            rows = [row | {"cost": _cost(row, costs)} for row in rows]
            recommended[name] = min(rows, key=lambda row: row["cost"])
        tables[name] = rows
    now = describe_thresholds(scorer.classes, scorer.decision)
    return Advice(scorer.classes, tables, recommended, now, bool(len(labelled.labels)), costs)


def _cost(row: Mapping[str, Any], costs: Costs) -> float:
    """Of a part, on the mean: misses as measured, false alarms as promised."""
    alarms = (1 - costs.defects) * costs.false_alarm * row["promised"]
    return alarms + costs.defects * costs.miss * row["miss_rate"]


def _costs(given: Mapping[str, float]) -> Costs:
    lacking = [name for name in Costs._fields if name not in given]
    unknown = [name for name in given if name not in Costs._fields]
    if lacking or unknown:
        raise UserError(
            f"Costs are {', '.join(given) or 'empty'}: "
            + (f"{', '.join(lacking)} missing" if lacking else f"{', '.join(unknown)} unknown")
            + ". Give all three, such as miss=50,false_alarm=1,defects=0.02 (the share of defective parts)."
        )
    for name, value in given.items():
        if not (math.isfinite(value) and value > 0 and (name != "defects" or value < 1)):
            expected = "a share between 0 and 1" if name == "defects" else "a number above 0"
            raise UserError(f"The costs' {name} is {value}, expected {expected}.")
    return Costs(**given)


def lines(found: Advice) -> list[str]:
    """The tables, for the terminal."""
    heads = ["asked", "threshold", "promised", "actual rate within", "false alarms", "misses"]
    result = []
    for name, rows in found.tables.items():
        cells = [
            [
                f"{row['asked']:.2%}",
                f"{row['threshold']:.4g}",
                f"{row['promised']:.2%}",
                f"{row['promised_ci'][0]:.2%} to {row['promised_ci'][1]:.2%}",
                _percent(row["false_alarm_rate"]),
                _percent(row["miss_rate"]),
                *([f"{row['cost']:.4g}"] if "cost" in row else []),
                *(["<- least cost"] if found.recommended.get(name) is row else []),
            ]
            for row in rows
        ]
        own = [*heads, *(["cost a part"] if name in found.recommended else [])]
        widths = [max(len(head), *(len(row[i]) for row in cells)) for i, head in enumerate(own)]
        result.append(name if found.labelled else f"{name} (no labelled images: run eval)")
        result += [
            "  "
            + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[: len(own)], widths, strict=True))
            + "".join(f"  {more}" for more in row[len(own) :])
            for row in [own, *cells]
        ]
    return result


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _chosen(directory: Path, threshold: Setting, false_alarm_rate: Setting) -> Any:
    config = workdir.load_config(directory)
    choice.apply(config, directory)
    choose(config, threshold=threshold, false_alarm_rate=false_alarm_rate)
    return config


def _as_config(config: Any) -> str:
    chosen = choice.of_config(config)
    rates = f" --config.calibration.class_rates={chosen.class_rates!r}" if chosen.class_rates else ""
    return (
        f"--config.scoring.threshold={chosen.threshold} "
        f"--config.calibration.false_alarm_rate={chosen.false_alarm_rate}{rates}"
    )


def _labelled(scorer: Scorer, directory: Path, scores: str | Path | None) -> Labelled:
    """Labelled images' scores; none where no evaluation was made."""
    path = files.expanded(scores) if scores else directory / "eval" / SCORES
    if not scores and not path.exists():
        return Labelled(*(np.zeros(0, kind) for kind in (int, int, float, bool)))
    try:
        rows = list(csv.DictReader(io.StringIO(files.read_text(path))))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' cannot be read ({error}). Give the {SCORES} of an evaluation.") from error
    names = {plain(name): k for k, name in enumerate(scorer.classes)}
    return Labelled(
        np.array([_one_of(path, i, row, "class", names) for i, row in rows_of(rows)], int),
        np.array([_one_of(path, i, row, "scored_as", names) for i, row in rows_of(rows)], int),
        np.array([_score(path, i, row) for i, row in rows_of(rows)], float),
        np.array(
            [_one_of(path, i, row, "label", {GOOD: False, DEFECTIVE: True}) for i, row in rows_of(rows)], bool
        ),
    )


def rows_of(rows: list[dict[str, str]]):
    """Rows with their numbers in the file."""
    return enumerate(rows, start=2)


def _one_of(path: Path, number: int, row: Mapping[str, str], column: str, known: Mapping[str, Any]) -> Any:
    if row.get(column) not in known:
        raise UserError(
            f"'{path}', row {number}: {column} is {row.get(column)!r}, expected one of "
            f"{', '.join(map(repr, known))}. The table is that of eval, with the columns "
            f"{','.join(COLUMNS)}."
        )
    return known[row[column]]


def _score(path: Path, number: int, row: Mapping[str, str]) -> float:
    try:
        value = float(row.get("score", ""))
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"'{path}', row {number}: score is {row.get('score')!r}, expected a finite number.")
    return value
