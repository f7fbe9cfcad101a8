"""Train, evaluate, predict, export, from Python as from the shell: compiled programs are kept."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hgad_jax.detectors import in_fibres
from hgad_jax.evaluation import decide as decisions
from hgad_jax.evaluation import evaluate as evaluation
from hgad_jax.exporting import compare, onnx_export
from hgad_jax.exporting import export as exporting
from hgad_jax.inference import predict as prediction
from hgad_jax.report import decide_page, page
from hgad_jax.runs import host
from hgad_jax.training import loop
from hgad_jax.training.step import TrainState


def train(config: Any, workdir: str | Path, *, log: Callable[[str], None] = print) -> TrainState:
    """Trains, or goes on training, in a folder.

    Args:
      config: of `get_config`.
      workdir: the run's folder; the same call goes on where an earlier one stopped.
      log: gets the lines meant for the user.

    Returns:
      The final state, which is also in the last checkpoint.

    Raises:
      UserError: something in config, data or folder that the user can mend, or a loss that is not finite.
    """
    _settle(1 if in_fibres(config.detector) else config.train.batch_size)
    return loop.train(config, workdir, log=log)


def evaluate(workdir: str | Path, *, report: bool = False, **settings: Any) -> dict[str, Any]:
    """Evaluates a run and returns what it writes to `results.json`.

    Args:
      workdir: the run's folder.
      report: whether to write `report.html`, too.
      **settings: keywords of `hgad_jax.evaluation.evaluate.evaluate`, such as `protocol`.

    Raises:
      UserError: something in folder or data that the user can mend.
    """
    _settle()
    return evaluation.evaluate(workdir, render=page.render if report else None, **settings)


def decide(workdir: str | Path, **settings: Any) -> decisions.Advice:
    """Tells what each rate of false alarms promises and costs, and keeps a choice.

    Args:
      workdir: the run's folder; gets `decide.html`.
      **settings: keywords of `hgad_jax.evaluation.decide.decide`, such as `false_alarm_rate`, `costs` and
        `write`.

    Raises:
      UserError: something that the user can mend.
    """
    _settle()
    return decisions.decide(workdir, render=decide_page.render, **settings)


def predict(
    workdir: str | Path, inputs: Sequence[str | Path], out: str | Path, **settings: Any
) -> prediction.Done:
    """Scores files, folders and patterns into `out/scores.csv`; images that are in it are not scored again.

    Args:
      workdir: the run's folder.
      inputs: files, folders, patterns.
      out: folder for the results.
      **settings: keywords of `hgad_jax.inference.predict.predict`, such as `outputs` (heat maps, raw maps,
        contours) and `false_alarm_rate`.

    Raises:
      UserError: something that the user can mend; rows written so far are kept.
    """
    _settle()
    return prediction.predict(workdir, list(map(str, inputs)), out, **settings)


def export(workdir: str | Path, out: str | Path, **settings: Any) -> compare.Difference:
    """Exports a run to a folder or file that `hgad_jax.load` reads, and compares the two.

    Args:
      workdir: the run's folder.
      out: folder, or file with `zipped=True`, to make.
      **settings: keywords of `hgad_jax.exporting.export.export`, such as `platforms`.

    Returns:
      The largest difference between what the run and what the export says of some images.

    Raises:
      UserError: something that the user can mend, or they differ; nothing is left then.
    """
    host.keep_compiled()  # and not each core a device: an artefact computes on one
    return exporting.export(workdir, out, **settings)


def export_onnx(workdir: str | Path, out: str | Path, **settings: Any) -> onnx_export.Difference:
    """Exports a run as ONNX, for ONNX Runtime and its like, and compares the two.

    Args:
      workdir: the run's folder.
      out: folder to make.
      **settings: keywords of `hgad_jax.exporting.onnx_export.export_onnx`, such as `images_at_once`.

    Returns:
      The largest difference between what the run and what ONNX Runtime says of some images.

    Raises:
      UserError: something that the user can mend, or they differ; nothing is left then.
    """
    host.keep_compiled()
    return onnx_export.export_onnx(workdir, out, **settings)


def _settle(batch_size: int | None = None) -> None:
    host.keep_compiled()
    host.use_cores(batch_size)
