"""DINOv2 ("Learning robust visual features without supervision", Oquab et al., 2023).

Vision transformers of patches of 14 pixels, learnt without labels; some with four registers, tokens of no
patch, by which maps are smoother ("Vision transformers need registers", Darcet et al., 2024). Position
embeddings were learnt for 37 × 37 patches. For other sizes they are interpolated as the authors' code does,
in two ways: without registers by a bicubic kernel that is not antialiased, and as if there were a tenth of a
patch more; with registers antialiased, to the size that there is. timm does the latter for both.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from hgad_jax.backbones.spec import Spec, blocks_of
from hgad_jax.backbones.state_dict import Shape, State
from hgad_jax.backbones.vit import (
    Attention,
    Grid,
    LayerNorm,
    Mlp,
    Patches,
    block_names,
    block_taps,
    channel_scale,
    positions_for,
    to_map,
)
from hgad_jax.backbones.weights import Biased, Copied, Part, Path, layer_norm
from hgad_jax.errors import UserError
from hgad_jax.precision import EXACT

_PATCH = 14  # pixels along a side
_NATIVE = 37  # patches along a side of the images that the position embeddings are for, 518 pixels
_REGISTERS = frozenset({"reg_token", "register_tokens"})  # timm's name and the authors'


class Architecture(NamedTuple):
    """What distinguishes one network from another."""

    channels: int
    depth: int
    registers: int

    @property
    def heads(self) -> int:
        """Heads of 64 channels each."""
        return self.channels // 64


def dinov2(channels: int, depth: int, registers: int) -> Spec:
    """Make the member of the family with the given width, depth and number of registers."""
    architecture = Architecture(channels, depth, registers)
    dialects = {"timm": partial(_names, architecture, timm=True)}
    if registers:
        dialects["authors"] = partial(_names, architecture, timm=False)
    return Spec(
        network=partial(DINOv2, architecture),
        taps=block_taps(depth, channels, _PATCH),
        dialects={name: lambda parts=parts: list(parts()) for name, parts in dialects.items()},
        image_by_image=True,  # for memory: attention of 1,374 tokens is 45 MB an image in ViT-S
        means=True,
        multiple=_PATCH,
        unused=frozenset({"mask_token"}),  # of the training
        strange=frozenset() if registers else _REGISTERS,
    )


class Block(nn.Module):
    """Self-attention and a two-layer network, each normalised before, scaled after, added to its input."""

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, N, C] -> [B, N, C]."""
        gamma1, gamma2 = (channel_scale(self, name, x) for name in ("gamma1", "gamma2"))
        x = x + gamma1 * Attention(self.heads, name="attention")(LayerNorm(name="norm1")(x))
        return x + gamma2 * Mlp(name="mlp")(LayerNorm(name="norm2")(x))


class DINOv2(nn.Module):
    """Normalised images to the requested taps; layers after the last of these do not exist.

    Attributes:
      architecture: its width, depth and registers.
      taps: "blocks.<i>", "blocks.<i>.norm", the mean of several as "blocks.<i>+<j>" or "blocks.<i>+<j>.norm",
        or "logits": there is no classifier, and these are the class token after the final normalisation.
    """

    architecture: Architecture
    taps: tuple[str, ...]

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """[B, H, W, 3] -> one [B, h, w, C] per tap, in the order of `taps`; "logits" are [B, C].

        Raises:
          UserError: a side of the images is no multiple of 14 pixels.
        """
        x, grid = self._embed(images)
        means = {tap: blocks_of(tap) for tap in self.taps if tap != "logits"}
        depth = self.architecture.depth
        until = depth if "logits" in self.taps else 1 + max(blocks[-1] for blocks, _ in means.values())
        norm, maps, prefix = LayerNorm(name="norm"), {}, 1 + self.architecture.registers
        for index in range(until):
            x = Block(self.architecture.heads, name=f"blocks_{index}")(x)
            for ending in {ending for blocks, ending in means.values() if index in blocks}:
                maps[index, ending] = to_map(norm(x) if ending else x, grid, prefix)
        outputs = {
            tap: _mean([maps[index, ending] for index in blocks]) for tap, (blocks, ending) in means.items()
        }
        if "logits" in self.taps:
            outputs["logits"] = norm(x)[:, 0]
        return tuple(outputs[tap] for tap in self.taps)

    def _embed(self, images: jax.Array) -> tuple[jax.Array, Grid]:
        _check_size(images.shape[1], images.shape[2])
        channels, registers = self.architecture.channels, self.architecture.registers
        patches = Patches(channels, _PATCH, name="patches")(images)
        (batch, h, w, _), zeros = patches.shape, nn.initializers.zeros
        shapes = {"class_token": (1, 1, channels)}
        shapes |= {"registers": (1, registers, channels)} if registers else {}
        tokens = [self.param(name, zeros, shape) for name, shape in shapes.items()]
        tokens = [jnp.broadcast_to(token, (batch, *token.shape[1:])) for token in tokens]
        positions = self.param("positions", zeros, (1, _NATIVE**2, channels))
        at = positions_for(positions, (h, w), 0) if registers else offset_positions(positions, (h, w))
        return jnp.concatenate([*tokens, patches.reshape(batch, -1, channels) + at], axis=1), (h, w)


def _mean(maps: list[jax.Array]) -> jax.Array:
    return sum(maps[1:], maps[0]) / len(maps)


def _check_size(height: int, width: int) -> None:
    if height % _PATCH or width % _PATCH:
        below, above = (
            " × ".join(
                str(max(1, side // _PATCH + more * (side % _PATCH > 0)) * _PATCH) for side in (height, width)
            )
            for more in (0, 1)
        )
        raise UserError(
            f"DINOv2 got images of {height} × {width} pixels, expected sides that are multiples of {_PATCH}, "
            f"its patches: {below} or {above} are the nearest. The side is config.data.image_size, divided "
            "by each of config.backbone.scales, and for the bank times config.data.detail."
        )


def offset_positions(positions: jax.Array, grid: Grid) -> jax.Array:
    """Interpolate position embeddings as the authors' code does for the networks without registers.

    Args:
      positions: [1, n · n, C], of the native, square grid.
      grid: (h, w) patches.

    Returns:
      [1, h · w, C].
    """
    side, channels = round(positions.shape[1] ** 0.5), positions.shape[2]
    if grid == (side, side):
        return positions
    rows, columns = (jnp.asarray(_bicubic(length, side), jnp.float32) for length in grid)
    maps = positions.reshape(side, side, channels)
    maps = jnp.einsum("hi,ijc->hjc", rows, maps, precision=EXACT)
    return jnp.einsum("wj,hjc->hwc", columns, maps, precision=EXACT).reshape(1, -1, channels)


def _bicubic(length: int, native: int) -> np.ndarray:
    """Weights [length, native] of Keys' kernel with a = −3/4, borders repeated: PyTorch's, not antialiased.

    Positions are scaled by (length + 0.1) / native, which the authors' code has against rounding, and which
    its weights have seen.
    """
    source = (np.arange(length) + 0.5) * native / (length + 0.1) - 0.5
    below, weights = np.floor(source).astype(int), np.zeros((length, native))
    for step in (-1, 0, 1, 2):
        distance = np.abs(source - below - step)
        near = (1.25 * distance - 2.25) * distance**2 + 1
        far = -0.75 * (((distance - 5) * distance + 8) * distance - 4)
        neighbour = np.clip(below + step, 0, native - 1)
        np.add.at(weights, (np.arange(length), neighbour), np.where(distance <= 1, near, far))
    return weights


class Embeddings(NamedTuple):
    """Positions whose first belongs to the class token -> those of the patches, the token with its own."""

    @property
    def leaves(self) -> tuple[Path, ...]:  # noqa: D102
        return ("positions",), ("class_token",)

    def tensors(self, shapes: Mapping[Path, Shape]) -> dict[str, Shape]:  # noqa: D102
        one, patches, *channels = shapes["positions",]
        return {"pos_embed": (one, 1 + patches, *channels), "cls_token": shapes["class_token",]}

    def convert(self, state: State) -> tuple[np.ndarray, ...]:  # noqa: D102
        positions, token = (state[name].astype(np.float32) for name in ("pos_embed", "cls_token"))
        return positions[:, 1:], token + positions[:, :1]


def _names(architecture: Architecture, *, timm: bool) -> Iterator[Part]:
    """timm's names, or the authors', which differ where there are registers."""
    yield Biased(("patches",), "patch_embed.proj", rank=4)
    if timm and architecture.registers:
        yield Copied(("positions",), "pos_embed")
        yield Copied(("class_token",), "cls_token")
    else:
        yield Embeddings()
    if architecture.registers:
        yield Copied(("registers",), "reg_token" if timm else "register_tokens")
    for index in range(architecture.depth):
        path, name = f"blocks_{index}", f"blocks.{index}"
        yield from block_names(path, name)
        yield Copied((path, "gamma1"), f"{name}.ls1.gamma")
        yield Copied((path, "gamma2"), f"{name}.ls2.gamma")
    yield from layer_norm(("norm", "norm"), "norm")
