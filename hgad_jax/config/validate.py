"""Checks of a config's values, before anything long starts."""

from collections.abc import Iterable, Iterator
from typing import Any

from hgad_jax import detectors
from hgad_jax.config.common import SEED
from hgad_jax.config.experiments import RECIPES
from hgad_jax.config.recipe import Sections, keys
from hgad_jax.data import named_groups
from hgad_jax.errors import UserError


def validate(config: Any, num_devices: int) -> None:
    """Checks every key's type and range, and what several keys have to be together.

    Raises:
      UserError: with every value that is wrong, what it is and what was expected.
    """
    validate_keys(config)
    _refuse(_together(config, num_devices))


def validate_keys(config: Any) -> None:
    """Checks that a config has all keys of its detector and no others, and each key's type and range.

    Raises:
      UserError: with every key that is wrong.
    """
    detector = config.get("detector")
    name = detector.get("name") if hasattr(detector, "get") else None
    if name not in RECIPES:
        raise UserError(f"config.detector.name is {name!r}, expected one of {', '.join(map(repr, RECIPES))}")
    sections = keys(RECIPES[name])
    _refuse(_missing_or_unknown(config, sections, name))
    _refuse(_wrong_values(config, sections))


def _refuse(problems: Iterable[str]) -> None:
    lines = [f"config.{problem}" for problem in problems]
    if lines:
        raise UserError("\n".join(lines))


def _missing_or_unknown(config: Any, sections: Sections, name: str) -> Iterator[str]:
    """Keys that a config of this detector does not have, or lacks."""
    given = set(config.detector.keys())
    known = set(sections["detector"])
    if given != known:  # then other sections differ as well
        example = ", ".join(sorted(given - known or known - given)[:3])
        yield (
            f"detector.name is {name!r}, but other keys of this config are of another detector ({example}). "
            f"Start from a config of its own: --config={name}_folder or another {name}_…"
        )
        return
    if "seed" not in config:
        yield f"seed is missing: {SEED.doc}"
    for section in sorted(sections.keys() | set(config.keys()) - {"seed"}):
        values = config.get(section, {})
        if not hasattr(values, "keys"):
            yield f"{section} is {values!r}, expected a section of keys"
            continue
        known = sections.get(section, {})
        yield from (
            f"{section}.{key} is no key of a config for {name}" for key in sorted(set(values) - set(known))
        )
        yield from (
            f"{section}.{key} is missing: {known[key].doc}" for key in sorted(set(known) - set(values))
        )


def _wrong_values(config: Any, sections: Sections) -> Iterator[str]:
    """Values of another type or out of range, NaN and infinities among them."""
    of_all = {"seed": (SEED, config.seed)} | {
        f"{section}.{name}": (key, config[section][name])
        for section, of_section in sections.items()
        for name, key in of_section.items()
    }
    for name, (key, value) in of_all.items():
        problem = key.problem(value)
        if problem:
            yield f"{name} {problem}"


def _together(config: Any, num_devices: int) -> Iterator[str]:
    """What no key alone can tell."""
    train = config.train
    yield from _of_detector(config, num_devices)
    yield from _of_groups(config)
    if train.patience and train.keep != "best":
        yield (
            f"train.patience is {train.patience}, expected 0 with train.keep={train.keep!r}: "
            "only train.keep='best' looks for a better state"
        )
    yield from _without_calibration(config)
    window = tuple(config.eval.window)
    if window and (config.data.tiles > 1 or config.data.classes != "given"):
        yield f"eval.window is {window}, expected (): it needs data.tiles=1 and data.classes='given'"
    if config.eval.keep == "best" and (not window or config.calibration.fraction):
        yield (
            "eval.keep is 'best', expected 'none' without eval.window, in which the test set is measured, "
            "and with calibration.fraction above 0: states that are chosen on the test set are for published "
            "figures alone"
        )
    if train.batch_size % num_devices:
        yield (
            f"train.batch_size is {train.batch_size}, expected a multiple of the {num_devices} devices that "
            "it is split over"
        )


def _without_calibration(config: Any) -> Iterator[str]:
    """What needs good images that are held out, where all are trained on."""
    if config.calibration.fraction:
        return
    if config.scoring.protocol == "calibrated":
        yield (
            "calibration.fraction is 0, expected above 0 with scoring.protocol='calibrated': thresholds come "
            "from good images that are held out of training. The published protocol has none: "
            "scoring.protocol='paper'"
        )
    if config.train.keep == "best":
        yield (
            "calibration.fraction is 0, expected above 0 with train.keep='best': the state is chosen on good "
            "images that are held out of training"
        )


def _of_groups(config: Any) -> Iterator[str]:
    """A pattern that cannot be read, with what is wrong with it."""
    try:
        named_groups.parse(config.calibration.groups)
    except UserError as error:
        yield str(error).removeprefix("config.")


def _of_detector(config: Any, num_devices: int) -> Iterator[str]:
    """What the detector's parts have to be together, and what it needs of other sections."""
    section, epochs = config.detector, config.train.epochs
    found = detectors.problems(section, num_devices)
    yield from found
    if found:
        return
    detector, base = detectors.create(section, num_classes=1), section.get("base")
    made = f"{section.name} with detector.base={base!r}" if base else section.name
    if config.scoring.classes == "mixture" and not detector.mixes_classes:
        yield (
            f"scoring.classes is 'mixture', expected 'inferred' or 'given': {made} has no model of the "
            "mixture"
        )
    if config.eval.normality and detector.latents is None:
        yield f"eval.normality is True, expected False: {made} has no latents under a normal distribution"
    if detector.fitted and epochs:
        yield f"train.epochs is {epochs}, expected 0: {section.name} is fitted, not trained"
    for term, weight in config.loss.items():
        if weight and term not in detector.terms:
            yield (
                f"loss.{term} is {weight}, expected 0: {made} has no such term, only "
                f"{', '.join(detector.terms)}"
            )
    if config.scoring.terms != "both" and not detector.published.entropy:
        yield (
            f"scoring.terms is {config.scoring.terms!r}, expected 'both': the published score of "
            f"{section.name} has no entropy beside the likelihood"
        )
