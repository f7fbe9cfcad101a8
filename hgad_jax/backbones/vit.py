"""What the vision transformers share: patches, positions, attention, and taps of their tokens as maps.

"An Image is Worth 16x16 Words" (Dosovitskiy et al., 2021). Images whose sides are no multiples of the patch
are padded with zeros at the bottom and the right. Position embeddings for other sizes than the native one
are interpolated bicubically (antialiased when they shrink), as timm does.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import linen as nn

from hgad_jax.backbones.layers import convolve, dense
from hgad_jax.backbones.spec import Tap
from hgad_jax.backbones.weights import Biased, Copied, Part, layer_norm
from hgad_jax.precision import EXACT

PATCH = 16  # pixels along a side

Grid = tuple[int, int]  # patches along height and width


class Patches(nn.Module):
    """Images [B, H, W, 3] -> one vector per patch, [B, ceil(H / size), ceil(W / size), channels]."""

    channels: int
    size: int = PATCH

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Cut and project."""
        shape = (self.size, self.size, images.shape[-1], self.channels)
        kernel = self.param("kernel", nn.initializers.zeros, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        _, height, width, _ = images.shape
        missing = ((0, -height % self.size), (0, -width % self.size))
        return convolve(images, kernel, stride=self.size, padding=missing) + bias[None, None, None]


def positions_for(embedding: jax.Array, grid: Grid, prefix: int) -> jax.Array:
    """Interpolate position embeddings to a grid of another size.

    Args:
      embedding: [1, prefix + n · n, C], those of the native, square grid after those of the prefix tokens.
      grid: (h, w) patches.
      prefix: how many tokens at the start have no place in the grid; theirs stay as they are.

    Returns:
      [1, prefix + h · w, C].
    """
    special, native = embedding[:, :prefix], embedding[:, prefix:]
    side, channels = round(native.shape[1] ** 0.5), native.shape[2]
    if grid == (side, side):
        return embedding
    maps = native.reshape(1, side, side, channels)
    # Keys' kernel with a = −1/2 and half-pixel centres, which is what PyTorch has where it antialiases.
    maps = jax.image.resize(maps, (1, *grid, channels), "cubic", antialias=True, precision=EXACT)
    return jnp.concatenate([special, maps.reshape(1, -1, channels)], axis=1)


class LayerNorm(nn.Module):
    """Layer normalisation over the channels."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., C] -> [..., C]."""
        return nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, name="norm")(x)


class Mlp(nn.Module):
    """Two layers with a GELU between them, four times as wide inside."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, N, C] -> [B, N, C]."""
        channels = x.shape[-1]
        return dense(channels, "fc2")(jax.nn.gelu(dense(4 * channels, "fc1")(x), approximate=False))


class Attention(nn.Module):
    """Self-attention of several heads; with `talking`, heads are mixed before and after the softmax
    ("Talking-Heads Attention", Shazeer et al., 2020).
    """  # noqa: D205

    heads: int
    talking: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, N, C] -> [B, N, C]."""
        batch, tokens, channels = x.shape
        qkv = dense(3 * channels, "qkv")(x).reshape(batch, tokens, 3, self.heads, -1)
        query, key, value = (qkv[:, :, index] for index in range(3))
        weights = attention_logits(query, key)
        if self.talking:
            weights = _mix_heads(dense(self.heads, "mix_logits"), weights)
        weights = jax.nn.softmax(weights)
        if self.talking:
            weights = _mix_heads(dense(self.heads, "mix_weights"), weights)
        return dense(channels, "proj")(attend(weights, value))


def attention_logits(query: jax.Array, key: jax.Array) -> jax.Array:
    """[B, M, H, D] and [B, N, H, D] -> scaled products [B, H, M, N]."""
    query = query * query.shape[-1] ** -0.5
    return jnp.einsum("bmhd,bnhd->bhmn", query, key, precision=EXACT, preferred_element_type=jnp.float32)


def attend(weights: jax.Array, value: jax.Array) -> jax.Array:
    """[B, H, M, N] and [B, N, H, D] -> [B, M, H · D]."""
    attended = jnp.einsum("bhmn,bnhd->bmhd", weights, value, precision=EXACT)
    return attended.reshape(*attended.shape[:2], -1)


def _mix_heads(layer: nn.Module, weights: jax.Array) -> jax.Array:
    return layer(weights.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def to_map(tokens: jax.Array, grid: Grid, prefix: int) -> jax.Array:
    """[B, prefix + h · w, C] -> [B, h, w, C], without the prefix tokens."""
    return tokens[:, prefix:].reshape(tokens.shape[0], *grid, tokens.shape[-1])


def channel_scale(module: nn.Module, name: str, x: jax.Array) -> jax.Array:
    """A factor for every channel of tokens [B, N, C], by which a branch is scaled before it is added."""
    return module.param(name, nn.initializers.zeros, x.shape[-1:])[None, None]


def block_taps(depth: int, channels: int, patch: int = PATCH) -> dict[str, Tap]:
    """List "blocks.0", "blocks.0.norm" (the model's final normalisation applied to it), "blocks.1", ..."""
    tap = Tap(channels, patch)
    return {f"blocks.{index}{norm}": tap for index in range(depth) for norm in ("", ".norm")}


def embedding_names() -> Iterator[Part]:
    """timm's names of patches, positions and class token."""
    yield Biased(("patches",), "patch_embed.proj", rank=4)
    yield Copied(("positions",), "pos_embed")
    yield Copied(("class_token",), "cls_token")


def block_names(path: str, name: str) -> Iterator[Part]:
    """timm's names of a block with self-attention."""
    for norm in ("norm1", "norm2"):
        yield from layer_norm((path, norm, "norm"), f"{name}.{norm}")
    for layer in ("qkv", "proj"):
        yield Biased((path, "attention", layer), f"{name}.attn.{layer}")
    yield from mlp_names(path, name)


def mlp_names(path: str, name: str) -> Iterator[Part]:
    """timm's names of a block's two-layer network."""
    for layer in ("fc1", "fc2"):
        yield Biased((path, "mlp", layer), f"{name}.mlp.{layer}")
