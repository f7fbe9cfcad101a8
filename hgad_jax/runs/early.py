"""What a list of images and a config say of a run before anything is decoded or computed.

`train.py` refuses by it, and `python -m hgad_jax.data check` tells it.
"""

import collections
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hgad_jax import backbones, detectors
from hgad_jax.data import named_groups
from hgad_jax.data.class_names import name_problems
from hgad_jax.data.clusters import num_clusters
from hgad_jax.data.problems import ERROR, NOTE, Problem
from hgad_jax.data.records import Record
from hgad_jax.data.split import FEWEST, num_held_out, too_few
from hgad_jax.errors import UserError
from hgad_jax.scoring.decision import CONFORMAL, TAIL, parse_threshold
from hgad_jax.scoring.per_class import rates, refuse_unknown_classes
from hgad_jax.scoring.threshold import FEWEST as FEWEST_IN_TAIL
from hgad_jax.scoring.threshold import images_needed

_SHOWN = 3  # classes in a line
_ROUNDING = 1e-9  # of quotients: 0.3 / 0.1 is less than 3


def problems(config: Any, classes: Sequence[str], records: Sequence[Record]) -> list[Problem]:
    """All that keeps a run from starting, and what is worth knowing of it.

    Args:
        config: of the run, valid by itself.
        classes: of the dataset.
        records: of both splits.
    """
    counts = collections.Counter(record.class_name for record in records if record.split == "train")
    groups = num_clusters(config.data.classes)
    found = [*_of_classes(config, groups or len(classes)), *_of_keys(config, groups or len(classes))]
    found += _of_groups(config, [record for record in records if record.split == "train"], not groups)
    found += [*_of_window(config), *([] if groups else name_problems(classes))]
    if config.eval.window and all(record.split == "train" for record in records):
        found.append(
            _refusal(
                f"config.eval.window is {tuple(config.eval.window)}, expected (): there are no test images"
            )
        )
    if groups:
        if counts.total() < FEWEST * groups:
            found.append(
                _refusal(
                    f"{counts.total()} good images for the {groups} groups of config.data.classes, expected "
                    f"{FEWEST} for each",
                    "Ask for fewer groups or add images.",
                )
            )
        return found
    found += too_few(counts)
    if not any(problem.level == ERROR for problem in found):
        found += [*_false_alarms(config, counts), *_steps(config, counts)]
    return found


def refuse(
    config: Any,
    classes: Sequence[str],
    records: Sequence[Record],
    log: Callable[[str], None] = lambda line: None,
) -> None:
    """Refuse a run that cannot start.

    Args:
        config: as of `problems`.
        classes: likewise.
        records: likewise.
        log: gets what is worth knowing.

    Raises:
        UserError: with everything that keeps it from starting.
    """
    found = problems(config, classes, records)
    errors = [problem.text() for problem in found if problem.level == ERROR]
    if errors:
        raise UserError("\n".join(errors))
    for problem in found:
        log(f"Note: {problem.text()}")


def _refusal(summary: str, remedy: str = "") -> Problem:
    return Problem(summary if remedy else f"{summary}.", (), remedy)


def _of_classes(config: Any, num_classes: int) -> Iterator[Problem]:
    """Too many classes for the detector."""
    least = detectors.create(config.detector, num_classes).least_channels
    if least > 1:  # each class has its place in the latent space
        entry = backbones.choose(config.backbone.name).entry
        taps = {tap: entry.build().tap(tap) for tap in tuple(config.backbone.taps) or entry.taps}
        known = {name: tap.channels for name, tap in taps.items() if tap}
        if known and least > min(known.values()):
            tap = min(known, key=lambda tap: known[tap])
            yield _refusal(
                f"{num_classes} classes, but the tap '{tap}' of {config.backbone.name} has only {known[tap]} "
                "channels: classes cannot be told apart there",
                "Choose config.backbone.taps with more channels, or train on fewer classes.",
            )
    gallery = config.detector.get("gallery", num_classes)
    if gallery < num_classes:
        yield _refusal(
            f"config.detector.gallery is {gallery}, too few for {num_classes} classes: none would be kept of "
            "some",
            "Raise it.",
        )


def _of_keys(config: Any, num_classes: int) -> Iterator[Problem]:
    """Keys that do not go with the detector."""
    detector, name = detectors.create(config.detector, num_classes), config.detector.name
    if config.train.positions and not detector.samples_positions:  # a convolution needs neighbours
        yield _refusal(
            f"config.train.positions is {config.train.positions}, expected 0: the detector {name} trains on "
            "all positions of an image"
        )
    if config.scoring.terms == "entropy" and num_classes == 1:
        yield _refusal(
            "config.scoring.terms is 'entropy', expected 'both' or 'likelihood': with a single class its "
            "entropy is zero everywhere"
        )
    if config.train.keep == "best" and detector.log_likelihood is None:
        yield _refusal(
            f"config.train.keep is 'best', expected 'last': the detector {name} has no likelihood of levels "
            "to choose by"
        )


def _of_groups(config: Any, records: Sequence[Record], given_classes: bool) -> Iterator[Problem]:
    """Groups of near-duplicates, as the user says them, that images lack or that are too few."""
    try:
        names = named_groups.given(config.calibration.groups, records, config.data.root)
    except UserError as error:
        yield Problem(str(error), (), "")
        return
    pairs = {(record.class_name, name) for record, name in zip(records, names or (), strict=bool(names))}
    counts = collections.Counter(class_name for class_name, _ in pairs)
    for class_name, count in counts.items() if given_classes else ():
        images = sum(record.class_name == class_name for record in records)
        if count < FEWEST <= images:
            yield _refusal(
                f"Class '{class_name}' has {images} good images in {count} groups of near-duplicates "
                f"(config.calibration.groups), expected at least {FEWEST} groups: whole ones are held out",
                "Add images of other parts, or correct the groups.",
            )


def _of_window(config: Any) -> Iterator[Problem]:
    """A stability report in which nothing would be measured, or not all of its window."""
    window, every, epochs = tuple(config.eval.window), config.eval.every, config.train.epochs
    if not window:
        return
    last = int(min(window[1], epochs) / every + _ROUNDING)  # evaluations are counted from 1 on
    if last < 1 or last * every < window[0] - _ROUNDING:
        yield _refusal(
            f"config.eval.window is {window}, but no evaluation falls into it: there is one every {every:g} "
            f"epochs (config.eval.every), up to epoch {epochs:g} (config.train.epochs)",
            "Choose a window that training gets to, or () for none.",
        )
    elif window[1] > epochs + _ROUNDING:
        yield _refusal(
            f"config.eval.window is {window}, but training ends at epoch {epochs:g} (config.train.epochs): "
            "the report would be of a shorter window than it says",
            "Choose a window that ends by then, or () for none.",
        )


def _held_out(config: Any, count: int) -> int:
    return num_held_out(count, fraction=config.calibration.fraction, min_images=config.calibration.min_images)


def _false_alarms(config: Any, counts: dict[str, int]) -> Iterator[Problem]:
    """A rate of false alarms that so few held-out images cannot promise."""
    if not config.calibration.fraction:  # no thresholds, and nothing is promised
        return
    kinds, rate = parse_threshold(config.scoring.threshold), config.calibration.false_alarm_rate
    refuse_unknown_classes(kinds, tuple(counts), name="config.scoring.threshold")
    asked = dict(zip(counts, rates(config.calibration.class_rates, tuple(counts), rate), strict=True))
    held_out = {name: _held_out(config, count) for name, count in counts.items()}
    if config.calibration.threshold_per == "model":
        held_out, asked = {"all classes": sum(held_out.values())}, {"all classes": min(asked.values())}
    short = {}
    for name, held in held_out.items():
        kind = kinds.get(name, kinds.get("", TAIL))
        by_scores = kind == CONFORMAL or (kind == TAIL and held < FEWEST_IN_TAIL)
        if by_scores and held < images_needed(asked[name]):
            short[name] = held
    if not short:
        return
    shown = [
        f"{1 / (held + 1):.1%} instead of {asked[name]:.1%} for {name} ({held} held out)"
        for name, held in list(short.items())[:_SHOWN]
    ]
    more = f"; {len(short) - _SHOWN} classes more" if len(short) > _SHOWN else ""
    needed = max(images_needed(asked[name]) for name in short)
    summary = (
        "False alarms: with so few good images held out, the best rate that can be promised "
        f"(config.calibration.false_alarm_rate) is {'; '.join(shown)}{more}. By the scores themselves "
        f"{needed} images of a class must be held out; the fitted tail (config.scoring.threshold=tail) takes "
        f"{FEWEST_IN_TAIL}."
    )
    yield Problem(f"{summary}{_more_images(config, needed)}", (), "", NOTE)


def _more_images(config: Any, needed: int) -> str:
    """How many good images would do."""
    if config.calibration.threshold_per == "model":
        return ""
    enough = next((n for n in range(2 * needed, 200 * needed) if _held_out(config, n) >= needed), None)
    half = f"{2 * needed} with --config.calibration.fraction=0.5"
    return f" {f'{enough} good images of a class would do, or ' if enough else 'Enough would be '}{half}."


def _steps(config: Any, counts: dict[str, int]) -> Iterator[Problem]:
    """A batch that is larger than all there is to train on: then there are hardly any steps."""
    images = sum(count - _held_out(config, count) for count in counts.values())
    examples = images * config.data.tiles**2
    if config.train.epochs and config.train.batch_size > examples:
        steps = math.ceil(config.train.epochs * examples / config.train.batch_size)
        summary = (
            f"config.train.batch_size is {config.train.batch_size}, more than the {examples} images to train "
            f"on: {config.train.epochs:g} epochs are {steps} steps. A smaller batch makes more of them."
        )
        yield Problem(summary, (), "", NOTE)
