"""Which thresholds a run decides by, chosen after training: `decision.json` in its folder."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hgad_jax import files
from hgad_jax.errors import UserError
from hgad_jax.runs import workdir
from hgad_jax.scoring.decision import choose

FILE = "decision.json"
_FORMAT = 1
_MEND = "Take the file away, then choose anew: hgad-jax decide."


class Choice(NamedTuple):
    """What is chosen: the values of the config's keys."""

    threshold: str
    false_alarm_rate: float
    class_rates: tuple[str, ...]


def of_config(config: Any) -> Choice:
    """The choice that a config holds."""
    settings = config.calibration
    return Choice(config.scoring.threshold, settings.false_alarm_rate, tuple(settings.class_rates))


def apply(config: Any, directory: Path) -> None:
    """Puts the choice of a run into its config; without one, it stays as it was trained with.

    Raises:
      UserError: the file is damaged, or of another run.
    """
    content = _read(directory)
    if content is None:
        return
    path = directory / FILE
    if content.get("run") != identity(config):
        raise UserError(f"'{path}' holds the decision of another run. {_MEND}")
    try:
        chosen = content["history"][-1]
        rates = {"": chosen["false_alarm_rate"]} | dict(r.rsplit("=", 1) for r in chosen["class_rates"])
        choose(config, threshold="tail", false_alarm_rate=rates)  # checks every rate
        choose(config, threshold=chosen["threshold"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, UserError) as error:
        raise UserError(f"'{path}' cannot be read as a decision ({error}). {_MEND}") from error


def save(config: Any, directory: Path) -> Path:
    """Appends the choice that a config holds to the history of its run; returns the file."""
    before = (_read(directory) or {}).get("history", [])
    now = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **of_config(config)._asdict()}
    content = {"format": _FORMAT, "run": identity(config), "history": [*before, now]}
    with files.disk_errors(f"{directory} cannot be written", otherwise="make room, or choose another run"):
        files.write_atomically(directory / FILE, json.dumps(content, indent=1) + "\n")
    return directory / FILE


def identity(config: Any) -> str:
    """By what a run is known again: its config without what may be chosen later, or differ by place."""
    content = workdir.config_as_json(config)
    for section, key in (place.split(".", 1) for place in _CHOSEN):
        content.get(section, {}).pop(key, None)
    for place in workdir.ANYWHERE:
        section, _, key = place.removeprefix("config.").partition(".")
        if isinstance(content.get(section), dict):
            content[section].pop(key, None)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


_CHOSEN = ("scoring.threshold", "calibration.false_alarm_rate", "calibration.class_rates")


def _read(directory: Path) -> Mapping[str, Any] | None:
    path = directory / FILE
    try:
        content = json.loads(files.read_text(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read ({error}). {_MEND}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise UserError(f"'{path}' is no decision of format {_FORMAT}. {_MEND}")
    return content
