"""CaiT ("Going deeper with Image Transformers", Touvron et al., 2021).

Patches attend to each other in many blocks with talking heads, whose outputs are scaled per channel; the
class token comes last, in two blocks of its own, which no detector taps. FastFlow takes the tokens after
blocks 0 to 40 of 48, normalised by the model's final layer: `blocks.40.norm`.
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
    attend,
    attention_logits,
    block_names,
    block_taps,
    channel_scale,
    embedding_names,
    mlp_names,
    positions_for,
    to_map,
)
from hgad_jax.backbones.weights import Biased, Copied, Part, layer_norm

_CLASS_BLOCKS = 2


class Architecture(NamedTuple):
    """What distinguishes one network from another."""

    channels: int
    depth: int
    image_size: int  # pixels; of the images whose position embeddings the weights have
    classes: int = 1000

    @property
    def heads(self) -> int:
        """Heads of 48 channels each."""
        return self.channels // 48


def cait(channels: int, depth: int, image_size: int) -> Spec:
    """Make the member of the family with the given width, depth and native size."""
    architecture = Architecture(channels, depth, image_size)
    return Spec(
        network=partial(CaiT, architecture),
        taps=block_taps(depth, channels),
        dialects={"timm": lambda: list(_names(architecture))},
    )


class Block(nn.Module):
    """Self-attention and a two-layer network, each normalised before, scaled after, added to its input."""

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, N, C] -> [B, N, C]."""
        gamma1, gamma2 = (channel_scale(self, name, x) for name in ("gamma1", "gamma2"))
        x = x + gamma1 * Attention(self.heads, talking=True, name="attention")(LayerNorm(name="norm1")(x))
        return x + gamma2 * Mlp(name="mlp")(LayerNorm(name="norm2")(x))


class ClassAttention(nn.Module):
    """Attention of the first token to all of them."""

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, N, C] -> [B, 1, C]."""
        (batch, _, channels), inputs = x.shape, {"query": x[:, :1], "key": x, "value": x}
        query, key, value = (
            dense(channels, name)(tokens).reshape(batch, tokens.shape[1], self.heads, -1)
            for name, tokens in inputs.items()
        )
        weights = jax.nn.softmax(attention_logits(query, key))
        return dense(channels, "proj")(attend(weights, value))


class ClassBlock(nn.Module):
    """A block that changes the class token only."""

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array, token: jax.Array) -> jax.Array:
        """Patches [B, N, C] and class token [B, 1, C] -> class token [B, 1, C]."""
        gamma1, gamma2 = (channel_scale(self, name, x) for name in ("gamma1", "gamma2"))
        everything = LayerNorm(name="norm1")(jnp.concatenate([token, x], axis=1))
        token = token + gamma1 * ClassAttention(self.heads, name="attention")(everything)
        return token + gamma2 * Mlp(name="mlp")(LayerNorm(name="norm2")(token))


class CaiT(nn.Module):
    """Normalised images to the requested taps; layers after the last of these do not exist.

    Attributes:
      architecture: its width, depth and native size.
      taps: "blocks.<i>", "blocks.<i>.norm" or "logits".
    """

    architecture: Architecture
    taps: tuple[str, ...]

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """[B, H, W, 3] -> one [B, h, w, C] per tap, in the order of `taps`; "logits" are [B, classes]."""
        x, grid = self._embed(images)
        norm, outputs = LayerNorm(name="norm"), {}
        for index in range(self.architecture.depth):
            x = Block(self.architecture.heads, name=f"blocks_{index}")(x)
            outputs[f"blocks.{index}"] = to_map(x, grid, 0)
            if f"blocks.{index}.norm" in self.taps:
                outputs[f"blocks.{index}.norm"] = to_map(norm(x), grid, 0)
            if outputs.keys() >= set(self.taps):
                break
        if "logits" in self.taps:
            outputs["logits"] = dense(self.architecture.classes, "logits")(norm(self._classify(x))[:, 0])
        return tuple(outputs[tap] for tap in self.taps)

    def _embed(self, images: jax.Array) -> tuple[jax.Array, tuple[int, int]]:
        channels, native = self.architecture.channels, self.architecture.image_size // PATCH
        patches = Patches(channels, name="patches")(images)
        batch, h, w, _ = patches.shape
        positions = self.param("positions", nn.initializers.zeros, (1, native**2, channels))
        x = patches.reshape(batch, -1, channels) + positions_for(positions, (h, w), 0)
        return x, (h, w)

    def _classify(self, x: jax.Array) -> jax.Array:
        shape = (1, 1, self.architecture.channels)
        token = self.param("class_token", nn.initializers.zeros, shape)
        token = jnp.broadcast_to(token, (x.shape[0], *shape[1:]))
        for index in range(_CLASS_BLOCKS):
            token = ClassBlock(self.architecture.heads, name=f"class_blocks_{index}")(x, token)
        return token


def _names(architecture: Architecture) -> Iterator[Part]:
    """timm's names, which are the authors'."""
    yield from embedding_names()
    for index in range(architecture.depth):
        path, name = f"blocks_{index}", f"blocks.{index}"
        yield from block_names(path, name)
        yield Biased((path, "attention", "mix_logits"), f"{name}.attn.proj_l")
        yield Biased((path, "attention", "mix_weights"), f"{name}.attn.proj_w")
        yield from _gammas(path, name)
    for index in range(_CLASS_BLOCKS):
        path, name = f"class_blocks_{index}", f"blocks_token_only.{index}"
        for norm in ("norm1", "norm2"):
            yield from layer_norm((path, norm, "norm"), f"{name}.{norm}")
        for layer, theirs in {"query": "q", "key": "k", "value": "v", "proj": "proj"}.items():
            yield Biased((path, "attention", layer), f"{name}.attn.{theirs}")
        yield from mlp_names(path, name)
        yield from _gammas(path, name)
    yield from layer_norm(("norm", "norm"), "norm")
    yield Biased(("logits",), "head")


def _gammas(path: str, name: str) -> Iterator[Part]:
    yield Copied((path, "gamma1"), f"{name}.gamma_1")
    yield Copied((path, "gamma2"), f"{name}.gamma_2")
