"""What every family of backbones says about each of its members."""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flax import linen as nn

_BLOCKS = re.compile(r"blocks\.(\d+(?:\+\d+)*)(\.norm)?")


class Tap(NamedTuple):
    """A place in a backbone where a feature map can be taken."""

    channels: int
    stride: int  # input pixels per map position: a map has ceil(input / stride) positions along a side


class Spec(NamedTuple):
    """One architecture: how to build it, where to tap it, and how its published weights are named.

    `network(taps)` is a Linen module that takes normalised images [B, H, W, 3] to one array per tap, in
    their order: maps [B, h, w, C], and for the tap "logits" [B, classes]. Layers after the last of the
    taps do not exist.
    """

    network: Callable[..., nn.Module]
    taps: dict[str, Tap]  # every feature map there is, first to last
    dialects: dict[
        str, Callable[[], Sequence[Any]]
    ]  # publisher of state dicts -> the `weights.Part`s in them
    image_by_image: bool = False  # whether a CPU is faster with one image at a time
    until: str | None = (
        None  # the last tap for which that is so; then `network(taps, until)` goes on from its map
    )
    means: bool = False  # whether "blocks.2+3+4" is a tap too, the mean of the maps of these blocks
    multiple: int = 1  # sides of images have to be multiples of so many pixels
    unused: frozenset[str] = frozenset()  # tensors of published files that no tap needs
    strange: frozenset[str] = frozenset()  # tensors by which a file is known to be another network's

    def tap(self, name: str) -> Tap | None:
        """The tap of a name; None if there is none."""
        blocks, norm = blocks_of(name) if self.means else ((), "")
        of_each = [self.taps.get(f"blocks.{index}{norm}") for index in blocks]
        ascending = all(a < b for a, b in itertools.pairwise(blocks))
        return self.taps.get(name) or (of_each[0] if all(of_each) and of_each and ascending else None)


def blocks_of(tap: str) -> tuple[tuple[int, ...], str]:
    """Which blocks of a transformer a tap is the mean of, and ".norm" if they are normalised before.

    "blocks.2+3.norm" -> (2, 3) and ".norm"; what is no tap of blocks has none.
    """
    found = _BLOCKS.fullmatch(tap)
    return (tuple(map(int, found[1].split("+"))), found[2] or "") if found else ((), "")
