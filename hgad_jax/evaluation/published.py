"""The published figures that a run can be compared with, and what was different about it."""

from typing import Any

from hgad_jax import detectors
from hgad_jax.evaluation.published_tables import TABLES, Table


def published(config: Any) -> dict[str, Any] | None:
    """The figures of the paper for a run's detector, dataset and backbone.

    Args:
      config: of the run.

    Returns:
      `{"method": …, "source": …, "classes": {name: {metric: value}}, "mean": {metric: value}}`, values
      between 0 and 1 under the names of `results.json`; of one class alone if the run is, the mean then
      being its own. None if nothing was published.
    """
    table = _table(config)
    if table is None:
        return None
    classes = {name: _fractions(table.columns, row) for name, row in table.rows.items()}
    mean = _fractions(table.columns, table.mean)
    chosen = config.data.class_name
    if chosen:
        if chosen not in classes:
            return None
        classes = {chosen: classes[chosen]}
        mean = classes[chosen]
    return {"method": table.method, "source": table.source, "classes": classes, "mean": mean}


def comparison(config: Any) -> dict[str, Any] | None:
    """`published(config)` with the list `differences` of its settings; None if nothing was published."""
    figures = published(config)
    return figures and figures | {"differences": differences(config)}


def differences(config: Any) -> list[str]:
    """How a run's settings differ from those behind the published figures: one sentence each.

    Empty also where nothing was published.
    """
    table = _table(config)
    if table is None:
        return []
    found = [(key, _get(config, key), expected) for key, expected in table.settings.items()]
    return [
        f"config.{key} is {value!r}, published with {expected!r}"
        for key, value, expected in found
        if _plain(value) != _plain(expected)
    ]


def _table(config: Any) -> Table | None:
    key = (detectors.method(config.detector), config.data.name, config.backbone.name.split(".")[0])
    return next((t for t in TABLES if (t.method, t.dataset, t.backbone) == key), None)


def _fractions(columns, row) -> dict[str, float]:
    return {
        name: round(value / 100, 6) for name, value in zip(columns, row, strict=True) if value is not None
    }


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part, None)
        if config is None:
            return None
    return config


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
