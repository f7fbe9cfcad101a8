"""A table from a grid of settings."""

import itertools
from collections.abc import Sequence

from hgad_jax.errors import UserError
from hgad_jax.evaluation.measure import COLUMNS
from hgad_jax.reproducing.tables import Column, Table

_OPEN, _CLOSE = "([{", ")]}"


def table(
    configs: Sequence[str],
    grid: Sequence[str],
    *,
    classes: Sequence[str] = (),
    metrics: Sequence[str] = ("image_auroc", "pixel_auroc"),
) -> Table:
    """The table of a sweep: a column for each combination.

    Args:
      configs: experiments or files, words after a colon.
      grid: keys with their values, such as "train.learning_rate=1e-3,3e-4".
      classes: rows, each a model; none: one model of all classes.
      metrics: names of `results.json`.

    Raises:
      UserError: no values, a key that is there twice, or no such metric.
    """
    unknown = [metric for metric in metrics if metric not in COLUMNS]
    if unknown or not metrics:
        raise UserError(f"--metrics: no metric {', '.join(unknown)}; there are {', '.join(COLUMNS)}")
    keys = [_key(text) for text in grid]
    names = [name for name, _ in keys]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--grid: {', '.join(twice)} is there twice; give all values of a key at once")
    if len(set(configs)) < len(configs):
        raise UserError("--config: one is there twice")
    columns = []
    for config in configs:
        experiment, _, words = config.partition(":")
        for values in itertools.product(*(values for _, values in keys)):
            settings = dict(zip(names, values, strict=True))
            label = [config] if len(configs) > 1 or not settings else []
            label += [f"{name.rpartition('.')[2]}={value}" for name, value in settings.items()]
            columns.append(Column(" ".join(label), experiment, words, settings, together=not classes))
    name = ", ".join(configs)
    return Table(
        "sweep",
        f"A sweep of {name}",
        tuple(columns),
        "folder",
        tuple(classes),
        tuple(metrics),
        command="sweep",
    )


def _key(text: str) -> tuple[str, list[str]]:
    name, separator, values = text.partition("=")
    found = _split(values)
    if not separator or "." not in name or not all(found):
        raise UserError(f"--grid={text}: expected SECTION.KEY=VALUE,VALUE such as train.epochs=8,16")
    if len(set(found)) < len(found):
        raise UserError(f"--grid={text}: a value is there twice")
    return name, found


def _split(text: str) -> list[str]:
    """At commas that are in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
