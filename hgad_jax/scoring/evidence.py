"""Pieces of evidence that decide on an image, and ways to combine their scores, by name.

A piece is one level, or the sum of several, standardised on held-out good images. Which piece speaks differs
from product to product and from defect to defect; a sum of all maps drowns it in the noise of the others. So
each piece scores the image by itself, in deviations from the scores of good images, and these are combined.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from hgad_jax.errors import UserError

OF_MAP = "map"  # image scores are of the map `scoring.image_map`, and there are no pieces
_PIECE = re.compile(r"(\d+(?:\+\d+)*)(@position)?")
EXPECTED = "numbers of levels from 0 on, such as '1' or '0+1+2' for their sum, or with '@position' after them"


class Piece(NamedTuple):
    """A piece of evidence."""

    levels: tuple[int, ...]  # that are added
    by_position: bool  # standardised position by position, or by level


def parse_piece(text: Any) -> Piece:
    """Reads a piece as a config has it: "0+1+2", or "0+1+2@position".

    Raises:
      UserError: it is not of that form.
    """
    found = _PIECE.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise UserError(f"'{text}' is no piece of evidence, expected {EXPECTED}.")
    return Piece(tuple(map(int, found[1].split("+"))), bool(found[2]))


def pieces_of(scoring: Any, num_levels: int) -> tuple[Piece, ...]:
    """The pieces of a config's section `scoring`; none where image scores are a map's.

    Raises:
      UserError: a level that is not there.
    """
    if scoring.image_score == OF_MAP:
        return ()
    pieces = tuple(map(parse_piece, scoring.evidence)) or tuple(Piece((i,), False) for i in range(num_levels))
    for text, piece in zip(scoring.evidence, pieces, strict=False):
        if max(piece.levels) >= num_levels:
            raise UserError(
                f"config.scoring.evidence has '{text}', expected numbers below {num_levels}: so many levels "
                'give evidence, the first one being 0, those of a bank last. --config.scoring.evidence="()" '
                "takes each by itself."
            )
    return pieces


def names_of(scoring: Any, levels: Sequence[str], num_maps: int) -> tuple[str, ...]:
    """What the pieces are, for the user.

    Args:
      scoring: the config's section.
      levels: what each level is of.
      num_maps: of the evidence; where that is not the number of levels, they are one map together.
    """
    known = levels if len(levels) == num_maps else [f"map {i}" for i in range(num_maps)]
    return tuple(
        " + ".join(known[i] for i in piece.levels) + (", by position" if piece.by_position else "")
        for piece in pieces_of(scoring, num_maps)
    )


def two_highest(scores: jax.Array) -> jax.Array:
    """The sum of the two highest: which of the pieces speak depends on the defect, and the rest is noise."""
    return jax.lax.top_k(scores, min(2, scores.shape[-1]))[0].sum(-1)


# Ways to combine standardised image scores of pieces `[B, P]` to one, `[B]`.
IMAGE_SCORES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "two_highest": two_highest,
    "highest": lambda scores: scores.max(-1),
    "sum": lambda scores: scores.sum(-1),
    "logsumexp": lambda scores: jax.nn.logsumexp(scores, axis=-1),
}
