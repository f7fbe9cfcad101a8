"""What is white in the images of a dataset, by what decoding all of them showed, and what is wrong by it."""

from collections.abc import Sequence
from typing import NamedTuple

from hgad_jax.data import white_level
from hgad_jax.data.decode import name_of
from hgad_jax.data.findings import Screening
from hgad_jax.data.problems import NOTE, WARNING, Problem
from hgad_jax.data.records import Record, image_name


class Depth(NamedTuple):
    """What is white.

    Attributes:
        white_level: of images of 16 bits; 0 if it is unknown, and there are none to train on.
        screening: with what cannot be used without it.
        problems: that it makes.
    """

    white_level: int
    screening: Screening
    problems: list[Problem]


def judge(records: Sequence[Record], screening: Screening, given: int, *, find: bool) -> Depth:
    """Find what is white in images of 16 bits, and which images do not fit.

    Args:
        records: that were screened.
        screening: of them.
        given: the white level; 0 if it is not given.
        find: whether to find it then, in the good images to train on.
    """
    train = [high for index, high in screening.highest.items() if records[index].split == "train"]
    white = white_level.found(train) if find and not given else given
    problems = []
    if find and train:
        problems.append(Problem(white_level.describe(white, train, given=given > 0), (), "", NOTE))
    if not white:
        unknown = {index: white_level.unknown(name_of(records[index].path)) for index in screening.highest}
        screening = screening._replace(errors=screening.errors | unknown)
    bright = [index for index, highest in screening.highest.items() if highest > white > 0]
    for indices, found, remedy in (
        (
            bright,
            f"have values above the white level, {white}, which are taken for white",
            "If the camera has more bits, train with its white: --config.data.white_level=4095 for 12 bits.",
        ),
        (
            screening.clipped,
            "have values outside of config.data.value_range, which are taken for black or white",
            "Set a wider range.",
        ),
    ):
        if indices:
            names = tuple(image_name(records[index].path) for index in indices)
            problems.append(Problem(f"{len(indices)} images {found}", names, remedy, WARNING))
    return Depth(white, screening, problems)
