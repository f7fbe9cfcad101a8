"""What every family of backbones says about each of its members."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flax import linen as nn


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
