"""Scores any number of images with a trained run: batched, in constant memory, going on after a kill."""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hgad_jax import files
from hgad_jax.artefact.served import Served
from hgad_jax.data.pipeline import threaded
from hgad_jax.data.transforms import load
from hgad_jax.data.white_level import beyond
from hgad_jax.errors import UserError
from hgad_jax.inference import prediction_files
from hgad_jax.inference.inputs import InputImage, Inputs, State, list_images, state_of
from hgad_jax.inference.labelled import f1_max_thresholds
from hgad_jax.inference.plain_names import plain, plain_json
from hgad_jax.inference.prediction_files import PNG16_SCALE, SCORES, UNREADABLE, Outputs
from hgad_jax.inference.predictor import Predictor
from hgad_jax.inference.score_table import Row, ScoreTable
from hgad_jax.progress_bar import progress_bar
from hgad_jax.runs import workdir
from hgad_jax.scoring.decision import TAIL, Setting, describe_thresholds

F1_MAX = "f1_max"
SCORES_ONLY = Outputs()
_LOCK = ".predict.lock"
_SHOWN = 20  # unreadable files on the terminal; the file has all


class Done(NamedTuple):
    """What a run of predictions did."""

    scored: int  # images, in this run
    skipped: int  # scored by earlier runs and not changed since
    changed: int  # of those scored in this run, scored by earlier runs when they were others
    anomalous: int  # likewise
    unknown: int  # of those scored in this run, of no known class
    unreadable: int
    clipped: int  # likewise, with values above white (or below black) that were taken for it


class _Image(NamedTuple):
    image: InputImage
    state: State | None
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
    threshold: Setting = None,
    false_alarm_rate: Setting = None,
    root: str | Path = "",
    log: Callable[[str], None] = print,
) -> Done:
    """Scores images and writes `scores.csv`, and what else is asked for, to a folder.

    Args:
      directory: of the trained run, or of what was exported of it.
      inputs: files, folders, patterns.
      out: folder for the results; images that are in its `scores.csv` already and have not changed since are
        not scored again.
      outputs: what to write besides scores.
      classes: "inferred", "mixture" or "given"; None for the config's.
      class_name: of all images, where it is known.
      threshold: "f1_max" (from the labelled test images of the run's dataset), or as `Predictor.load` takes
        it; None for the config's.
      false_alarm_rate: as `Predictor.load` takes it.
      root: with "f1_max", where the run's dataset is now, if not where it was trained on.
      log: gets the lines meant for the user.

    Raises:
      UserError: something that the user can mend; rows written so far are kept.
    """
    directory, out = workdir.local_path(directory), files.expanded(out)
    listed = list_images(inputs)
    best_f1 = threshold == F1_MAX
    predictor = Predictor.load(
        directory,
        classes=classes if class_name is None else "given",
        threshold=TAIL if best_f1 else threshold,  # for classes without labelled images
        false_alarm_rate=false_alarm_rate,
    )
    class_id = predictor.class_id(class_name)
    if best_f1:
        if isinstance(predictor.scorer, Served):
            raise UserError(
                f"--threshold={F1_MAX} needs the run and its dataset; {directory} is what was exported of "
                "one. Give the run, or a number."
            )
        thresholds = f1_max_thresholds(predictor.scorer, directory, log, root=root)
        predictor = predictor._replace(decision=predictor.decision._replace(thresholds=thresholds))
    _announce(predictor, listed, log)
    with prediction_files.disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with files.locked(out / _LOCK, wait=False) as held:
            if not held:
                raise UserError(
                    f"Another predict.py writes to {out}: wait for it, end it, or choose another --out."
                )
            table = ScoreTable(out, _settings(predictor, outputs, class_name))
            prediction_files.prepare(out, outputs)
            with contextlib.closing(table):
                done = _score_all(predictor, listed, table, out, outputs, class_id)
    _report(done, out, predictor, log)
    return done


def _announce(predictor: Predictor, inputs: Inputs, log: Callable[[str], None]) -> None:
    for line in describe_thresholds(predictor.scorer.classes, predictor.decision):
        log(line)
    if inputs.others:
        log(f"{inputs.others} files in the folders given are no images by their names: left out")
    if inputs.written:
        log(f"{inputs.written} images that predict.py wrote, results of earlier predictions: left out")


def _settings(predictor: Predictor, outputs: Outputs, class_name: str | None) -> dict[str, Any]:
    scorer, decision = predictor.scorer, predictor.decision
    settings = {
        "step": scorer.step,
        "classes": scorer.mode,
        "class": class_name,
        "thresholds": {
            name: t._asdict() for name, t in zip(scorer.classes, decision.thresholds, strict=True)
        },
        "pixel_thresholds": {
            name: t._asdict() for name, t in zip(scorer.classes, decision.pixel_thresholds, strict=True)
        },
        "unknown": decision.unknown,
        "min_area": scorer.config.scoring.min_area,
        "outputs": outputs._asdict(),
    }
    return plain_json(settings | ({"png16": PNG16_SCALE} if outputs.maps == "png16" else {}))


def _score_all(
    predictor: Predictor, inputs: Inputs, table: ScoreTable, out: Path, outputs: Outputs, class_id
) -> Done:
    config, transform = predictor.scorer.config, predictor.scorer.transform
    todo = [image for image in inputs.images if not _is_scored(table, image)]
    changed = {image for image in todo if table.state(image)}
    table.remove(changed)
    batch_size = max(1, config.scoring.batch_size // transform.num_tiles)
    scored = again = anomalous = unknown = unreadable = clipped = 0
    decoded = _decoded(todo, transform, config.data.workers, ahead=2 * batch_size)
    skipped = len(inputs.images) - len(todo)
    bar = progress_bar(total=len(inputs.images), initial=skipped, desc="scoring", unit="image")
    with bar, contextlib.closing(decoded), _open_list(out) as problems:
        for batch in _batches(decoded, batch_size):
            good = [image for image in batch if image.square is not None]
            for image in batch:
                if image.square is None:
                    unreadable += 1
                    problems.write(f"{image.problem}\n")
            if good:
                found = predictor.decide(
                    [image.square for image in good if image.square is not None],
                    [image.size for image in good],
                    class_id,
                    batch_size=batch_size,
                    names=[image.image.path for image in good],
                )
                for one, decided in zip(good, found, strict=True):
                    prediction_files.write_outputs(out, outputs, *one.image, one.size, decided, transform)
                # After an image's other files, so that a row stands for all of them.
                table.append(
                    [
                        Row(one.image, one.state, decided.prediction)
                        for one, decided in zip(good, found, strict=True)
                        if one.state is not None  # as it is of all that were read
                    ]
                )
                scored += len(good)
                again += sum(one.image in changed for one in good)
                clipped += sum(one.clipped for one in good)
                anomalous += sum(d.prediction.anomalous for d in found)
                unknown += sum(d.prediction.unknown for d in found)
            bar.update(len(batch))
    if not unreadable:
        (out / UNREADABLE).unlink()
    return Done(scored, skipped, again, anomalous, unknown, unreadable, clipped)


def _is_scored(table: ScoreTable, image: InputImage) -> bool:
    """Whether an image has a row, and is still what it then was."""
    try:
        return table.state(image) == state_of(image.file)
    except OSError:  # it is no longer there, or may not be looked at: reading it tells why
        return False


def _decoded(images: list[InputImage], transform, num_workers: int, *, ahead: int) -> Generator[_Image]:
    """Images in order; one that cannot be read comes with what is wrong with it."""

    def decoded(index: int) -> _Image:
        image = images[index]
        try:
            state = state_of(image.file)  # before it is read: what changes it later is noticed
            loaded = load(image.path, transform)
            return _Image(image, state, loaded.size, loaded.pixels, "", clipped=loaded.clipped > 0)
        except UserError as error:
            return _Image(image, None, (0, 0), None, plain(str(error)))
        except OSError as error:
            return _Image(image, None, (0, 0), None, plain(f"'{image.path}': {error.strerror}."))

    return threaded(decoded, range(len(images)), num_workers=num_workers, ahead=ahead)


def _open_list(out: Path):
    return (out / UNREADABLE).open("w", encoding="utf-8")


def _batches(images: Iterator[_Image], size: int) -> Iterator[list[_Image]]:
    batch: list[_Image] = []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _report(done: Done, out: Path, predictor: Predictor, log: Callable[[str], None]) -> None:
    changed = f" ({done.changed} of them again, since they have changed)" if done.changed else ""
    earlier = f", {done.skipped} scored before" if done.skipped else ""
    log(
        f"{done.scored} images scored{changed}{earlier}: {done.anomalous} anomalous"
        + (f", {done.unknown} unlike any class of the model" if done.unknown else "")
        + f". Written to {out / SCORES}"
    )
    if done.clipped:
        limits = beyond(predictor.scorer.transform)
        log(f"{done.clipped} images have values {limits}, which were taken for it: compare their exposure")
    if done.unreadable:
        log(f"{done.unreadable} files cannot be read and have no row (all of them: {out / UNREADABLE}):")
        with (out / UNREADABLE).open(encoding="utf-8") as file:
            for _, line in zip(range(_SHOWN), file, strict=False):
                log(f"  {line.rstrip()}")
