"""The table of keys as a page: what `hgad-jax config` prints and docs/config.md holds."""

from collections.abc import Iterator
from typing import Any

from hgad_jax.config.common import COMMON, SEED
from hgad_jax.config.experiments import RECIPES
from hgad_jax.config.key import Key
from hgad_jax.config.recipe import Sections

_HEAD = "| key | default | expected | |\n| --- | --- | --- | --- |"


def page() -> str:
    """All keys in Markdown, those of each detector in a section of its own."""
    parts = ["## Every detector", _table({"": {"seed": SEED}, **COMMON})]
    for name, recipe in RECIPES.items():
        changed = [f"`{key}={_shown(value)}`" for key, value in recipe.defaults.items()]
        parts.append(f"## Detector {name}")
        if changed:
            parts.append(f"Other defaults than above: {', '.join(changed)}.")
        parts.append(_table(recipe.sections))
    return "\n\n".join(parts) + "\n"


def _table(sections: Sections) -> str:
    return "\n".join([_HEAD, *_rows(sections)])


def _rows(sections: Sections) -> Iterator[str]:
    for section, of_section in sections.items():
        for name, key in of_section.items():
            full = f"{section}.{name}" if section else name
            yield f"| `{full}` | `{_shown(key.default)}` | {_expected(key)} | {key.doc} |"


def _expected(key: Key) -> str:
    expected = key.check.expected.replace("|", "\\|")
    if isinstance(key.default, bool):
        expected = "True or False"
    return f"{expected}, {key.unit}" if expected and key.unit else expected or key.unit


def _shown(value: Any) -> str:
    return str(value) if value != "" else '""'
