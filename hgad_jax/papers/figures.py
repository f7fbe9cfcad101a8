"""Published figures, read from the files in `figures/`, one for each paper."""

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any, NamedTuple

FILES = ("hgad", "cflow", "altub", "others")  # those of the papers before those of other implementations


class Figures(NamedTuple):
    """A table, or one method's part of one, as its source prints it.

    Attributes:
      name: of the block, such as "cflow_table3_wrn50".
      title: of the source.
      where: in it.
      origin: "the paper", "the authors' README", "another implementation", or "another paper, as cited".
      method: as `detectors.method` says; "" where rows are methods or backbones.
      dataset: as `config.data.name`; "" likewise.
      backbone: timm's name without a tag.
      settings: what the figures were made with; the files say what each word means.
      columns: metrics by the names of `results.json`, others, or with "_std" their deviation.
      rows: name, as a rule of a class → figures as printed, None where there is none.
      mean: the row that the source prints; () where it prints none.
      note: what a reader should know.
      misaligned: columns whose figures are not those of their row's class.
    """

    name: str
    title: str
    where: str
    origin: str
    method: str
    dataset: str
    backbone: str
    settings: Mapping[str, Any]
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float | None, ...]]
    mean: tuple[float | None, ...]
    note: str
    misaligned: tuple[str, ...]

    @property
    def source(self) -> str:
        """Whose figures these are, for a reader."""
        note = f"; {self.note}" if self.note else ""
        return f"{self.title}, {self.where} ({self.origin}){note}"


@functools.cache
def every() -> Mapping[str, Figures]:
    """All blocks by name, in the order of `FILES` and, within one, as they stand there."""
    folder = resources.files("hgad_jax.papers") / "figures"
    found: dict[str, Figures] = {}
    for name in FILES:
        content = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
        for block in content["figures"]:
            figures = _figures(content["title"], block, content.get("settings", {}))
            if figures.name in found:
                raise ValueError(f"{name}.toml: two blocks are named {figures.name}")
            found[figures.name] = figures
    return MappingProxyType(found)


def fractions(columns: tuple[str, ...], row: tuple[float | None, ...]) -> dict[str, float]:
    """The figures of a row that are given, percent as numbers between 0 and 1."""
    return {
        name: round(value / 100, 6) for name, value in zip(columns, row, strict=True) if value is not None
    }


def _figures(title: str, block: Mapping[str, Any], shared: Mapping[str, Any]) -> Figures:
    columns = tuple(block["columns"])
    rows = {}
    for line in block["rows"].strip().splitlines():
        name, *cells = line.split()
        rows[name] = _cells(cells, columns, f"{block['name']}: {line}")
    mean = block.get("mean", "").split()
    return Figures(
        name=block["name"],
        title=title,
        where=block["where"],
        origin=block.get("origin", "the paper"),
        **{key: block.get(key, "") for key in ("method", "dataset", "backbone", "note")},
        settings=_settings([shared[name] for name in block["settings"]] + [block.get("set", {})]),
        columns=columns,
        rows=MappingProxyType(rows),
        mean=_cells(mean, columns, f"{block['name']}: mean") if mean else (),
        misaligned=tuple(block.get("misaligned", ())),
    )


def _cells(cells: list[str], columns: tuple[str, ...], where: str) -> tuple[float | None, ...]:
    if len(cells) != len(columns):
        raise ValueError(f"{where}: {len(cells)} figures, expected {len(columns)}")
    return tuple(None if cell == "-" else float(cell) for cell in cells)


def _settings(parts: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One after the other, later ones replacing; `keys` key by key."""
    merged: dict[str, Any] = {}
    for part in parts:
        keys = {**merged.get("keys", {}), **part.get("keys", {})}
        merged |= {**part, "keys": keys}
    return MappingProxyType(merged)
