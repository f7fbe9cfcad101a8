"""Pieces of evidence as a config has them, and how their scores are combined."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from hgad_jax.config import get_config, validate
from hgad_jax.errors import UserError
from hgad_jax.scoring.evidence import IMAGE_SCORES, Piece, parse_piece, pieces_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", Piece((1,), False)),
        ("0+1+12", Piece((0, 1, 12), False)),
        ("2@position", Piece((2,), True)),
        ("0+2@position", Piece((0, 2), True)),
    ],
)
def test_a_piece_by_its_text(text, expected):
    assert parse_piece(text) == expected


@pytest.mark.parametrize("text", ["", "a", "-1", "1+", "+1", "1.0", "1@level", "1 + 2", 1])
def test_another_text_is_refused_with_the_key(text):
    config = get_config("hgad_folder")
    config.scoring.evidence = (text,)
    with pytest.raises(UserError, match=r"scoring\.evidence"):
        validate(config, num_devices=1)


def scoring(*evidence, score="sum"):
    return SimpleNamespace(image_score=score, evidence=evidence)


def test_pieces_of_a_config():
    assert pieces_of(scoring(score="map"), 3) == ()
    assert pieces_of(scoring(), 2) == (Piece((0,), False), Piece((1,), False))
    assert pieces_of(scoring("2", "0+1"), 3) == (Piece((2,), False), Piece((0, 1), False))
    with pytest.raises(UserError, match=r"evidence has '0\+3', expected numbers below 3"):
        pieces_of(scoring("1", "0+3"), 3)


def test_the_two_highest_of_three():
    found = IMAGE_SCORES["two_highest"](jnp.asarray([[1.0, -2.0, 5.0], [0.0, 0.0, -1.0]]))
    np.testing.assert_array_equal(found, [6, 0])
