"""What is wrong with a dataset, collected so that all of it can be told at once."""

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hgad_jax.errors import UserError
from hgad_jax.files import expanded, write_atomically

SHOWN = 3  # names in a message about one problem
_SHOWN_PROBLEMS = 20  # in an error that ends a program

ERROR = "error"  # training refuses it, or leaves the file out
WARNING = "warning"  # worth mending, but one may go on
NOTE = "note"  # worth knowing; nothing need be mended


class Problem(NamedTuple):
    """One kind of trouble at one place.

    Attributes:
        summary: what was found and what was expected.
        names: of the files or folders concerned.
        remedy: how to mend it; "" if the summary says it all, the name included.
        level: `ERROR`, `WARNING` or `NOTE`.
    """

    summary: str
    names: tuple[str, ...]
    remedy: str
    level: str = ERROR

    def text(self, shown: int | None = SHOWN) -> str:
        """What to tell the user; at most `shown` names (all of them if None)."""
        names = f": {listed(self.names, shown)}" if self.names else ""
        return f"{self.summary}{names}. {self.remedy}" if self.remedy else self.summary

    def lines(self, shown: int | None = SHOWN) -> list[str]:
        """The same with each name on a line of its own."""
        if not self.remedy or not self.names:
            return [self.text()]
        named = self.names[:shown]
        more = [f"  and {len(self.names) - len(named)} more"] if len(self.names) > len(named) else []
        return [f"{self.summary}:", *(f"  '{printable(name)}'" for name in named), *more, self.remedy]


def printable(name: str) -> str:
    """A name that does not break a line, nor whatever reads the line: line ends and the like escaped."""
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return "".join(escaped)


def listed(names: Iterable[str], shown: int | None = SHOWN) -> str:
    """Names in quotes, those beyond `shown` counted."""
    names = list(names)
    shown = len(names) if shown is None else shown
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(f"'{printable(name)}'" for name in names[:shown]) + more


def merged(problems: Iterable[Problem]) -> list[Problem]:
    """Problems of the same kind as one, with all their names; in the order of their first.

    Of one kind are those that say the same; and messages about single files that differ in names and numbers
    only, if there are so many that nobody would read them all.
    """
    groups: dict[Problem, list[Problem]] = {}
    for problem in problems:
        summary = problem.summary if problem.remedy else re.sub(r"'[^']*'|\d+", "", problem.summary)
        groups.setdefault(problem._replace(summary=summary, names=()), []).append(problem)
    return [one for group in groups.values() for one in _as_one(group)]


def _as_one(group: Sequence[Problem]) -> Sequence[Problem]:
    first, names = group[0], tuple(name for problem in group for name in problem.names)
    if first.remedy:
        return [first._replace(names=names)]
    if len(group) <= SHOWN:
        return group
    return [first._replace(summary=f"{len(group)} files are of one kind", names=names, remedy=first.summary)]


def raise_all(problems: Sequence[Problem], *, hint: str) -> None:
    """Raise one error that tells of every problem that is more than a warning, if there is any.

    Args:
        problems: of a dataset.
        hint: what else can be done.

    Raises:
        UserError: there is a problem.
    """
    errors = [problem for problem in merged(problems) if problem.level == ERROR]
    if not errors:
        return
    lines = [problem.text() for problem in errors[:_SHOWN_PROBLEMS]]
    if len(errors) > _SHOWN_PROBLEMS:
        lines.append(f"... and {len(errors) - _SHOWN_PROBLEMS} problems more.")
    raise UserError("\n".join(filter(None, [*lines, hint])))


def report(problems: Sequence[Problem]) -> str:
    """Every problem with all its names, as the text of a file."""
    blocks = []
    for number, problem in enumerate(problems, 1):
        first, *rest = problem.lines(shown=None)
        blocks.append("\n".join([f"{number}. ({problem.level}) {first}", *(f"   {line}" for line in rest)]))
    return "\n\n".join(blocks) + "\n"


def write_whole(path: str | os.PathLike, text: str) -> None:
    """Write a file, and the folder it lies in; whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path = expanded(path)
    os.makedirs(path.parent, exist_ok=True)
    write_atomically(path, text)
