"""Metrics of a run as JSON lines, one per logged step, and for TensorBoard where that is installed."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path

from hgad_jax.errors import UserError
from hgad_jax.files import read_text, write_atomically

FILE = "metrics.jsonl"


class MetricLog:
    """Appends to `workdir/metrics.jsonl`; lines past the step to go on from are dropped when opened."""

    def __init__(self, workdir: Path, start_step: int):
        path = workdir / FILE
        lines = read_text(path).splitlines(keepends=True) if path.exists() else []
        # A killed run may leave lines beyond its last checkpoint, the last of them cut short.
        whole = [line for line in lines if line.endswith("\n")]
        try:
            kept = [line for line in whole if json.loads(line)["step"] <= start_step]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} holds a line that train.py did not write ({error}). Mend it or move the file away."
            ) from error
        if kept != lines:
            write_atomically(path, "".join(kept))
        self._file = path.open("a", encoding="utf-8")
        self._board = _tensorboard(workdir, start_step)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends one line."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        if self._board:
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._board:
            self._board.close()


class NoLog:
    """What processes other than the first write: nothing."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def _tensorboard(workdir: Path, start_step: int):
    try:
        tensorboard = importlib.import_module("tensorboardX")
    except ImportError:
        return None  # the extra is not installed; the JSON lines hold the same
    return tensorboard.SummaryWriter(str(workdir / "tensorboard"), purge_step=start_step + 1)
