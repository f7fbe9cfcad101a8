"""Models that several papers' tables have in common, and how they are evaluated while they train."""

from hgad_jax.reproducing.tables import Column

BACKBONES = {"r18": "resnet18", "wrn50": "wide_resnet50_2", "deit": "deit", "cait": "cait"}
# Evaluated in training as the released codes do: CFLOW-AD after each 8 passes, FastFlow after each 10.
CFLOW = {"eval.window": "(8,200)", "eval.every": "8"}
FASTFLOW = {"eval.window": "(10,500)", "eval.every": "10"}
HGAD = {"eval.window": "(1,200)", "eval.every": "1"}


def costs(columns: dict[str, tuple[str, str]], figures: str, **settings: str) -> tuple[Column, ...]:
    """Columns of a table of costs: name → (experiment, words)."""
    changed = dotted(settings)
    return tuple(
        Column(name, experiment, words, changed, figures=figures, row=name)
        for name, (experiment, words) in columns.items()
    )


def dotted(settings: dict[str, str]) -> dict[str, str]:
    """Keys of a config, of names that have "__" for the dot."""
    return {key.replace("__", "."): value for key, value in settings.items()}
