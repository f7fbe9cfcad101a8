"""DeiT with a distillation token ("Training data-efficient image transformers", Touvron et al., 2021).

FastFlow takes the tokens after blocks 0 to 7, normalised by the model's final layer: `blocks.7.norm`.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from hgad_jax.backbones.layers import dense
from hgad_jax.backbones.spec import Spec
from hgad_jax.backbones.vit import (
    PATCH,
    Attention,
    LayerNorm,
    Mlp,
    Patches,
    block_names,
    block_taps,
    embedding_names,
    positions_for,
    to_map,
)
from hgad_jax.backbones.weights import Biased, Copied, Part, layer_norm

_DEPTH = 12
_PREFIX = 2  # class and distillation token


class Architecture(NamedTuple):
    """What distinguishes one network from another."""

    channels: int
    image_size: int  # pixels; of the images whose position embeddings the weights have
    classes: int = 1000

    @property
    def heads(self) -> int:
        """Heads of 64 channels each."""
        return self.channels // 64


def deit(channels: int, image_size: int) -> Spec:
    """Make the member of the family with the given width and native size."""
    architecture = Architecture(channels, image_size)
    return Spec(
        network=partial(DeiT, architecture),
        taps=block_taps(_DEPTH, channels),
        dialects={"timm": lambda: list(_names(architecture))},
    )


class Block(nn.Module):
    """Self-attention and a two-layer network, each normalised before and added to its input."""

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, N, C] -> [B, N, C]."""
        x = x + Attention(self.heads, name="attention")(LayerNorm(name="norm1")(x))
        return x + Mlp(name="mlp")(LayerNorm(name="norm2")(x))


class DeiT(nn.Module):
    """Normalised images to the requested taps; layers after the last of these do not exist.

    Attributes:
      architecture: its width and native size.
      taps: "blocks.<i>", "blocks.<i>.norm" or "logits" (the mean of both heads').
    """

    architecture: Architecture
    taps: tuple[str, ...]

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """[B, H, W, 3] -> one [B, h, w, C] per tap, in the order of `taps`; "logits" are [B, classes]."""
        x, grid = self._embed(images)
        norm, outputs = LayerNorm(name="norm"), {}
        for index in range(_DEPTH):
            x = Block(self.architecture.heads, name=f"blocks_{index}")(x)
            outputs[f"blocks.{index}"] = to_map(x, grid, _PREFIX)
            if f"blocks.{index}.norm" in self.taps:
                outputs[f"blocks.{index}.norm"] = to_map(norm(x), grid, _PREFIX)
            if outputs.keys() >= set(self.taps):
                break
        if "logits" in self.taps:
            x = norm(x)
            heads = [dense(self.architecture.classes, name) for name in ("logits", "logits_distilled")]
            outputs["logits"] = (heads[0](x[:, 0]) + heads[1](x[:, 1])) / 2
        return tuple(outputs[tap] for tap in self.taps)

    def _embed(self, images: jax.Array) -> tuple[jax.Array, tuple[int, int]]:
        channels, native = self.architecture.channels, self.architecture.image_size // PATCH
        patches = Patches(channels, name="patches")(images)
        (batch, h, w, _), zeros = patches.shape, nn.initializers.zeros
        tokens = [self.param(name, zeros, (1, 1, channels)) for name in ("class_token", "distilled_token")]
        tokens = [jnp.broadcast_to(token, (batch, 1, channels)) for token in tokens]
        positions = self.param("positions", zeros, (1, _PREFIX + native**2, channels))
        x = jnp.concatenate([*tokens, patches.reshape(batch, -1, channels)], axis=1)
        return x + positions_for(positions, (h, w), _PREFIX), (h, w)


def _names(architecture: Architecture) -> Iterator[Part]:
    """timm's names, which are the authors'."""
    yield from embedding_names()
    yield Copied(("distilled_token",), "dist_token")
    for index in range(_DEPTH):
        yield from block_names(f"blocks_{index}", f"blocks.{index}")
    yield from layer_norm(("norm", "norm"), "norm")
    yield Biased(("logits",), "head")
    yield Biased(("logits_distilled",), "head_dist")
