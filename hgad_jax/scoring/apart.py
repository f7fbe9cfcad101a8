"""Good images that stand apart from all others of their class: who looks at them, finds bad labels."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hgad_jax.scoring.decision import Decision
from hgad_jax.scoring.good import Good

_SHOWN = 5  # of a class, on the terminal


class Odd(NamedTuple):
    """A good image that stands apart."""

    name: str
    score: float
    next: float  # the highest score of a good image that does not


def odd_ones(classes: Sequence[str], decision: Decision, names: Sequence[str]) -> list[str]:
    """Lines that name the images which stand apart, for the user.

    Args:
      classes: names.
      decision: of the model.
      names: of the held-out images, as `GoodScores.number` counts them.
    """
    lines = []
    for class_name, good in zip(classes, decision.good, strict=True):
        found = list(standing_apart(good, names))
        if not found:
            continue
        shown = "".join(f"\n  {one.name}: {one.score:.4g}" for one in found[:_SHOWN])
        more = f"\n  and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        lines.append(
            f"{class_name}: of {len(good.scores)} good images held out {len(found)} "
            f"score{'s' if len(found) == 1 else ''} far above all others (the highest of these: "
            f"{found[0].next:.4g}). Look whether {'it is' if len(found) == 1 else 'they are'} good:"
            f"{shown}{more}"
        )
    return lines


def standing_apart(good: Good, names: Sequence[str]) -> Iterator[Odd]:
    """The images of a class that stand apart, the highest first."""
    if good.apart.all() or not good.apart.any():
        return
    following = float(good.scores[~good.apart].max())
    for i in reversed(good.apart.nonzero()[0].tolist()):
        yield Odd(names[int(good.images[i])], float(good.scores[i]), following)
