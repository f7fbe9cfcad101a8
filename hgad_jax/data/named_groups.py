"""The key `calibration.groups`: which images show one part, as the user says it."""

import csv
import io
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from hgad_jax.data.problems import listed
from hgad_jax.data.records import Record, image_name
from hgad_jax.errors import UserError
from hgad_jax.files import expanded, read_text

AUTO, NONE, NAME, CSV = "auto", "none", "name", "csv"
EXPECTED = (
    "'auto', 'none', 'name:REGEX' with one group in brackets for what names the part in a file's name, such "
    "as 'name:(tile\\d+)', or 'csv:FILE'"
)
_COLUMNS = ["path", "group"]


class Setting(NamedTuple):
    """What the key says: one of `AUTO`, `NONE`, `NAME` and `CSV`, and the pattern or the file."""

    kind: str
    argument: str = ""


def of_a_kind(value: str) -> bool:
    """Whether the key is one of the four, whatever pattern or file it names."""
    kind, colon, argument = value.partition(":")
    return bool(argument) if kind in (NAME, CSV) else not colon and kind in (AUTO, NONE)


def parse(value: str) -> Setting:
    """Read the key.

    Raises:
        UserError: it is none of the four, or the pattern cannot be read or has not one group.
    """
    if not of_a_kind(value):
        raise UserError(f"config.calibration.groups is '{value}', expected {EXPECTED}")
    kind, _, argument = value.partition(":")
    if kind != NAME:
        return Setting(kind, argument)
    try:
        groups = re.compile(argument).groups
    except re.error as error:
        raise UserError(
            f"config.calibration.groups: the pattern '{argument}' cannot be read ({error}), expected a "
            "regular expression of Python with one group, such as 'name:(tile\\d+)'"
        ) from error
    if groups != 1:
        raise UserError(
            f"config.calibration.groups: the pattern '{argument}' has {groups} groups in brackets, expected "
            "one, for what names the part; (?:...) are brackets that do not count"
        )
    return Setting(kind, argument)


def absolute(value: str) -> str:
    """The key with an absolute path of the CSV, so that a run goes on from any folder."""
    setting = parse(value)
    return f"{CSV}:{expanded(setting.argument)}" if setting.kind == CSV else value


def given(value: str, records: Sequence[Record], root: str) -> list[str] | None:
    """Which group each image is of, as the user says.

    Args:
        value: the key.
        records: good training images.
        root: of the dataset: paths of a CSV may be relative to it, or to the CSV's own folder.

    Returns:
        Names of groups, each for its class alone; None where they are to be found, or there are none.

    Raises:
        UserError: the pattern matches no image's name, or the CSV cannot be read, contradicts itself or lacks
            an image.
    """
    kind, argument = parse(value)
    if kind == NAME:
        return _by_name(re.compile(argument), records)
    return _by_csv(argument, records, root) if kind == CSV else None


def _by_name(pattern: re.Pattern, records: Sequence[Record]) -> list[str]:
    names = [os.path.basename(image_name(record.path)) for record in records]
    found = [pattern.search(name) for name in names]
    if not any(found):
        raise UserError(
            f"config.calibration.groups: the pattern '{pattern.pattern}' matches no name of the {len(names)} "
            f"good images ({listed(names)}). It is searched for in the file's name, without its folder."
        )
    # Others are each of a group of their own: no group is called by a path.
    return [
        match[1] if match and match[1] else image_name(record.path)
        for match, record in zip(found, records, strict=True)
    ]


def _by_csv(file: str, records: Sequence[Record], root: str) -> list[str]:
    file = str(expanded(file))
    groups = _rows(file)
    places = [os.path.dirname(file), *([str(expanded(root))] if root else [])]
    by_path: dict[str, str] = {}
    for path, group in groups.items():
        for place in places:  # an absolute path stays as it is
            by_path.setdefault(os.path.normpath(os.path.join(place, os.path.expanduser(path))), group)
    found = [
        groups.get(name) or by_path.get(os.path.normpath(name), "")
        for name in (image_name(record.path) for record in records)
    ]
    lacking = [image_name(record.path) for record, group in zip(records, found, strict=True) if not group]
    if lacking:
        raise UserError(
            f"'{file}' (config.calibration.groups) says nothing of {len(lacking)} of {len(records)} good "
            f"images: {listed(lacking)}. It needs a row for each, with the path absolute or relative to the "
            "dataset or to the file; an image that is like no other has a group of its own."
        )
    return found


def _rows(file: str) -> dict[str, str]:
    """Group by path, as the file spells it."""
    try:
        reader = csv.reader(io.StringIO(read_text(file).removeprefix("\ufeff"), newline=""), strict=True)
        rows = [[cell.strip() for cell in row] for row in reader if any(row)]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"'{file}' (config.calibration.groups) cannot be read ({error}), expected a CSV with the columns "
            "path,group"
        ) from error
    head = rows[0] if rows else []
    if any(column not in head for column in _COLUMNS):
        raise UserError(
            f"'{file}' (config.calibration.groups) begins with '{','.join(head)}', expected a row that "
            "names the columns path,group"
        )
    at = [head.index(column) for column in _COLUMNS]
    groups: dict[str, str] = {}
    for number, row in enumerate(rows[1:], 2):
        path, group = (row[i] if i < len(row) else "" for i in at)
        if not path or not group:
            raise UserError(
                f"'{file}' (config.calibration.groups), row {number}: expected a path and a group, found "
                f"'{','.join(row)}'"
            )
        if groups.setdefault(path, group) != group:
            raise UserError(
                f"'{file}' (config.calibration.groups), row {number}: '{path}' is in '{group}' here and in "
                f"'{groups[path]}' above, expected one group"
            )
    return groups
