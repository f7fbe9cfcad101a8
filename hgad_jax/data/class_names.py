"""Names that no class may have: they are those of other rows in tables and of other labels in scores.csv."""

from collections.abc import Iterable

from hgad_jax.data.problems import Problem

RESERVED = ("mean", "pooled", "published", "unknown")


def name_problems(classes: Iterable[str]) -> list[Problem]:
    """What is wrong with the names of classes."""
    taken = tuple(name for name in classes if name in RESERVED)
    if not taken:
        return []
    summary = "Names of classes that have another meaning in the tables of results"
    return [Problem(summary, taken, f"Rename their folders: no class can be called {' or '.join(RESERVED)}.")]
