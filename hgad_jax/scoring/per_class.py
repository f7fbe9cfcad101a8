"""Values for each class, as a user writes them: "0.02", "screw=0.02", "screw=0.02,bolt=0.01,0.005"."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hgad_jax.errors import UserError

LEAST_RATE, MOST_RATE = 1e-9, 0.5  # of false alarms
EXPECTED_RATE = f"a number from {LEAST_RATE:g} to {MOST_RATE}, such as 0.02"


def parse(value: Any, *, name: str) -> dict[str, str]:
    """What is given for each class, and under "" for all others.

    Args:
      value: a number, a text of parts with a comma between them, each CLASS=VALUE or a VALUE for all other
        classes, or a mapping of such.
      name: of the setting, for messages.

    Raises:
      UserError: a class, or all others, twice; a part without a value.
    """
    if isinstance(value, Mapping):
        return {str(key): str(item).strip() for key, item in value.items()}
    found: dict[str, str] = {}
    for part in str(value).split(","):
        class_name, _, given = (text.strip() for text in part.rpartition("="))
        if not given:
            raise UserError(
                f"{name} is '{value}', expected VALUE or CLASS=VALUE, several with a comma between"
            )
        if class_name in found:
            raise UserError(
                f"{name} is '{value}': {class_name or 'what is for all other classes'} is there twice"
            )
        found[class_name] = given
    return found


def refuse_unknown_classes(given: Mapping[str, Any], classes: Sequence[str], *, name: str) -> None:
    """Raises a `UserError` that names a class which the model does not know."""
    for class_name in given:
        if class_name and class_name not in classes:
            raise UserError(
                f"{name} names the class '{class_name}', the model knows {', '.join(classes)}. Name one of "
                "these."
            )


def rate_of(text: Any, *, name: str) -> float:
    """A rate of false alarms.

    Raises:
      UserError: it is none.
    """
    try:
        rate = float(text)
    except (TypeError, ValueError):
        rate = math.nan
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise UserError(f"{name} is '{text}', expected {EXPECTED_RATE}")
    return rate


def class_rate(text: Any) -> tuple[str, float]:
    """Reads "CLASS=RATE".

    Raises:
      UserError: it is not of that form.
    """
    name, _, value = str(text).rpartition("=")
    if not name.strip():
        raise UserError(f"'{text}' is no CLASS=RATE, such as screw=0.02")
    return name.strip(), rate_of(value, name=f"The false-alarm rate of {name.strip()}")


def rates(given: Sequence[str], classes: Sequence[str], default: float) -> tuple[float, ...]:
    """The rate of each class.

    Args:
      given: "CLASS=RATE" of some, the last of a class counts.
      classes: all.
      default: of the others.

    Raises:
      UserError: no rate, or no such class.
    """
    found = dict(map(class_rate, given))
    refuse_unknown_classes(found, classes, name="The false-alarm rate")
    return tuple(found.get(k, default) for k in classes)
