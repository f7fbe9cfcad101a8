"""Scores any number of images with a trained run: batched, in constant memory, going on after a kill."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from hgad_jax.data.pipeline import threaded
from hgad_jax.data.transforms import load
from hgad_jax.data.white_level import beyond
from hgad_jax.errors import UserError
from hgad_jax.evaluation import prediction_files
from hgad_jax.evaluation.inputs import list_images
from hgad_jax.evaluation.labelled import f1_max_thresholds
from hgad_jax.evaluation.prediction_files import PNG16_SCALE, Outputs
from hgad_jax.evaluation.predictor import Predictor
from hgad_jax.evaluation.score_table import ScoreTable, listed_path
from hgad_jax.scoring.decision import CONFORMAL, describe_thresholds

UNREADABLE = "unreadable.txt"
F1_MAX = "f1_max"
SCORES_ONLY = Outputs()
_SHOWN = 20  # unreadable files on the terminal; the file has all


class Done(NamedTuple):
    """What a run of predictions did."""

    scored: int  # images, in this run
    skipped: int  # scored by earlier runs
    anomalous: int  # of those scored in this run
    unknown: int  # likewise, of no known class
    unreadable: int
    clipped: int  # likewise, with values above white (or below black) that were taken for it


class _Image(NamedTuple):
    path: str
    size: tuple[int, int]
    square: np.ndarray | None
    problem: str
    clipped: bool = False


def predict(
    directory: str | Path,
    inputs: Sequence[str],
    out: str | Path,
    *,
    outputs: Outputs = SCORES_ONLY,
    classes: str | None = None,
    class_name: str | None = None,
    threshold: str | float | None = None,
    false_alarm_rate: float | None = None,
    log: Callable[[str], None] = print,
) -> Done:
    """Scores images and writes `scores.csv`, and what else is asked for, to a folder.

    Args:
      directory: of the trained run.
      inputs: files, folders, patterns.
      out: folder for the results; images that are in its `scores.csv` already are not scored again.
      outputs: what to write besides scores.
      classes: "inferred", "mixture" or "given"; None for the config's.
      class_name: of all images, where it is known.
      threshold: "conformal", "f1_max" (from the labelled test images of the run's dataset), or a number; None
        for the config's.
      false_alarm_rate: that conformal thresholds are set for; None for the config's.
      log: gets the lines meant for the user.

    Raises:
      UserError: something that the user can mend; rows written so far are kept.
    """
    out = Path(out)
    paths, ignored = list_images(inputs, leave_out=out)
    if class_name is not None:
        classes = "given"
    best_f1 = threshold == F1_MAX
    predictor = Predictor.load(
        directory,
        classes=classes,
        threshold=CONFORMAL if best_f1 else threshold,  # for classes without labelled images
        false_alarm_rate=false_alarm_rate,
    )
    class_id = predictor.class_id(class_name)
    if best_f1:
        thresholds = f1_max_thresholds(predictor.scorer, Path(directory), log)
        predictor = predictor._replace(thresholds=thresholds)
    config = predictor.scorer.config
    for line in describe_thresholds(
        predictor.scorer.classes, predictor.thresholds, config.calibration.false_alarm_rate
    ):
        log(line)
    if ignored:
        log(f"{ignored} files in the folders given are no images by their names: left out")
    with prediction_files.disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        table = ScoreTable(out, _settings(predictor, outputs, class_name))
        prediction_files.prepare(out, outputs)
        with contextlib.closing(table):
            done = _score_all(predictor, paths, table, out, outputs, class_id)
    _report(done, out, log)
    if done.clipped:
        limits = beyond(predictor.scorer.transform)
        log(f"{done.clipped} images have values {limits}, which were taken for it: compare their exposure")
    return done


def _settings(predictor: Predictor, outputs: Outputs, class_name: str | None) -> dict[str, Any]:
    scorer = predictor.scorer
    settings = {
        "step": scorer.step,
        "classes": scorer.mode,
        "class": class_name,
        "thresholds": {
            name: t._asdict() for name, t in zip(scorer.classes, predictor.thresholds, strict=True)
        },
        "pixel_thresholds": {
            name: t._asdict() for name, t in zip(scorer.classes, scorer.pixel_thresholds, strict=True)
        },
        "outputs": outputs._asdict(),
    }
    return settings | ({"png16": PNG16_SCALE} if outputs.maps == "png16" else {})


def _score_all(
    predictor: Predictor, paths: list[str], table: ScoreTable, out: Path, outputs: Outputs, class_id
) -> Done:
    config, transform = predictor.scorer.config, predictor.scorer.transform
    todo = [path for path in paths if listed_path(path) not in table.done]
    batch_size = max(1, config.scoring.batch_size // transform.num_tiles)
    scored = anomalous = unknown = unreadable = clipped = 0
    decoded = _decoded(todo, transform, config.data.workers, ahead=2 * batch_size)
    bar = tqdm(
        total=len(paths),
        initial=len(paths) - len(todo),
        desc="scoring",
        unit="image",
        dynamic_ncols=True,
    )
    with bar, contextlib.closing(decoded), _open_list(out) as problems:
        for batch in _batches(decoded, batch_size):
            good = [image for image in batch if image.square is not None]
            for image in batch:
                if image.square is None:
                    unreadable += 1
                    problems.write(f"{image.problem}\n")
            if good:
                found = predictor.decide(
                    [image.square for image in good],
                    [image.size for image in good],
                    class_id,
                    batch_size=batch_size,
                    names=[image.path for image in good],
                )
                for image, decided in zip(good, found, strict=True):
                    prediction_files.write_outputs(out, outputs, image.path, image.size, decided, transform)
                # After an image's other files, so that a row stands for all of them.
                table.append([(image.path, d.prediction) for image, d in zip(good, found, strict=True)])
                scored += len(good)
                clipped += sum(image.clipped for image in good)
                anomalous += sum(d.prediction.anomalous for d in found)
                unknown += sum(d.prediction.class_name != d.prediction.nearest_class for d in found)
            bar.update(len(batch))
    if not unreadable:
        (out / UNREADABLE).unlink()
    return Done(scored, len(paths) - len(todo), anomalous, unknown, unreadable, clipped)


def _decoded(paths: list[str], transform, num_workers: int, *, ahead: int) -> Iterator[_Image]:
    """Images in order; one that cannot be read comes with what is wrong with it."""

    def decoded(index: int) -> _Image:
        path = paths[index]
        if "\n" in path or "\r" in path:
            return _Image(path, (0, 0), None, f"{path!r} has a line break in its name. Rename it.")
        try:
            loaded = load(path, transform)
            return _Image(path, loaded.size, loaded.pixels, "", clipped=loaded.clipped > 0)
        except UserError as error:
            return _Image(path, (0, 0), None, " ".join(str(error).split()))

    return threaded(decoded, range(len(paths)), num_workers=num_workers, ahead=ahead)


def _open_list(out: Path):
    # Names that are not UTF-8 are shown escaped.
    return (out / UNREADABLE).open("w", encoding="utf-8", errors="backslashreplace")


def _batches(images: Iterator[_Image], size: int) -> Iterator[list[_Image]]:
    batch: list[_Image] = []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _report(done: Done, out: Path, log: Callable[[str], None]) -> None:
    earlier = f", {done.skipped} scored before" if done.skipped else ""
    log(
        f"{done.scored} images scored{earlier}: {done.anomalous} anomalous"
        + (f", {done.unknown} of them unlike any class of the model" if done.unknown else "")
        + f". Written to {out / 'scores.csv'}"
    )
    if not done.unreadable:
        return
    log(f"{done.unreadable} files cannot be read and have no row (all of them: {out / UNREADABLE}):")
    with (out / UNREADABLE).open(encoding="utf-8") as file:
        for _, line in zip(range(_SHOWN), file, strict=False):
            log(f"  {line.rstrip()}")
