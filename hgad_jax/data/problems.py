"""What is wrong with a dataset, collected so that all of it can be told at once."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hgad_jax.errors import UserError

SHOWN = 5  # names in a message about one problem
_SHOWN_PROBLEMS = 20  # in an error that ends a program


class Problem(NamedTuple):
    """One kind of trouble at one place.

    Attributes:
        summary: what was found and what was expected.
        names: of the files or folders concerned.
        remedy: how to mend it; "" if the summary says it all, the name included.
        warning: whether one may go on without mending it.
    """

    summary: str
    names: tuple[str, ...]
    remedy: str
    warning: bool = False

    def text(self, shown: int | None = SHOWN) -> str:
        """What to tell the user; at most `shown` names (all of them if None)."""
        if not self.remedy:
            return self.summary
        return f"{self.summary}: {listed(self.names, shown)}. {self.remedy}"


def listed(names: Iterable[str], shown: int | None = SHOWN) -> str:
    """Names in quotes, those beyond `shown` counted."""
    names = list(names)
    shown = len(names) if shown is None else shown
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(f"'{name}'" for name in names[:shown]) + more


def merged(problems: Iterable[Problem]) -> list[Problem]:
    """Problems of the same kind as one, with all their names; in the order of their first."""
    groups: dict[Problem, list[str]] = {}
    for problem in problems:
        kind = problem._replace(names=()) if problem.remedy else problem
        groups.setdefault(kind, []).extend(problem.names)
    return [kind._replace(names=tuple(names)) for kind, names in groups.items()]


def raise_all(problems: Sequence[Problem], *, hint: str) -> None:
    """Raise one error that tells of every problem that is more than a warning, if there is any.

    Args:
        problems: of a dataset.
        hint: what else can be done.

    Raises:
        UserError: there is a problem.
    """
    errors = [problem for problem in merged(problems) if not problem.warning]
    if not errors:
        return
    lines = [problem.text() for problem in errors[:_SHOWN_PROBLEMS]]
    if len(errors) > _SHOWN_PROBLEMS:
        lines.append(f"... and {len(errors) - _SHOWN_PROBLEMS} problems more.")
    raise UserError("\n".join([*lines, hint]))
