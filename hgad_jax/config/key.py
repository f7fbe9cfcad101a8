"""A key of a config: default, meaning, unit and range, said once; and the ranges that there are."""

import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from hgad_jax.errors import UserError

LARGEST = 1e9  # of numbers that have no smaller bound: schedules and sizes have no infinity


class Check(NamedTuple):
    """What a value has to be."""

    expected: str  # as it ends the sentence "... expected"
    holds: Callable[[Any], bool]  # of a value of the right type


class Key(NamedTuple):
    """One key.

    Attributes:
      default: its type is the key's.
      doc: what it is, in a line.
      check: of values.
      unit: of numbers; "" where the sentence says it or there is none.
      before: what a run did that is older than the key; None: as the default.
    """

    default: Any
    doc: str
    check: Check
    unit: str = ""
    before: Any = None

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, as "is ..., expected ..."; None if nothing is."""
        expected = _type_problem(self.default, value)
        if expected is None and not self.check.holds(value):
            expected = self.check.expected
        return None if expected is None else f"is {_shown(value)}, expected {expected}"


def at_least(low: float, high: float = LARGEST) -> Check:
    """A finite number from `low` on; up to `high`, where that is a bound that matters."""
    upper = "" if high == LARGEST else f" and at most {_number(high)}"
    return Check(f"at least {_number(low)}{upper}", lambda value: low <= value <= high)


def above(low: float, below: float = LARGEST) -> Check:
    """A finite number above `low`, and below `below`."""
    upper = "" if below == LARGEST else f" and below {below}"
    return Check(f"a number above {low}{upper}", lambda value: low < value < below)


def share(low: float = 0, below: float = 1) -> Check:
    """From `low` up to, but not, `below`."""
    return Check(f"at least {low} and below {below}", lambda value: low <= value < below)


def multiple_of(factor: int, low: int) -> Check:
    """A multiple of `factor` from `low` on."""
    return Check(
        f"a multiple of {factor} from {low} on",
        lambda value: low <= value <= LARGEST and value % factor == 0,
    )


def one_of(values: Collection[str]) -> Check:
    """One of some words."""
    return Check(f"one of {', '.join(map(repr, values))}", lambda value: value in values)


def each(check: Check, *, empty: bool = True) -> Check:
    """Some values of which each fulfils `check`."""
    none = "() or " if empty else ""
    return Check(
        f"{none}values of which each is {check.expected}",
        lambda values: (empty or len(values) > 0) and all(check.holds(value) for value in values),
    )


def passes(expected: str, holds: Callable[[Any], bool]) -> Check:
    """What no other check says."""
    return Check(expected, holds)


def accepted(parse: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """A check of texts that another part of the package reads: whether it raises no `UserError`."""

    def holds(value):
        try:
            parse(value)
        except UserError:
            return False
        return True

    return holds


def anything() -> Check:
    """Any value of the type: a path, a name that is checked where it is looked up, yes or no."""
    return Check("", lambda value: True)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _type_problem(default: Any, value: Any) -> str | None:
    """What the type should have been; None if it is right. NaN and infinities are no numbers."""
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "True or False"
    if isinstance(default, int):
        right = isinstance(value, int) and not isinstance(value, bool)
        return None if right else "a whole number"
    if isinstance(default, float):
        right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return None if right else "a finite number"
    if isinstance(default, str):
        return None if isinstance(value, str) else "a text"
    right = isinstance(value, list | tuple)
    return None if right else "some values in brackets, such as (1, 2)"


def _shown(value: Any) -> str:
    return repr(tuple(value) if isinstance(value, list) else value)
