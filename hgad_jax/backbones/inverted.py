"""Networks of inverted-residual blocks, which EfficientNet and MobileNetV3 both are.

An architecture is a table (`Architecture`): another member of a family is another table.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
from flax import linen as nn

from hgad_jax.backbones.layers import (
    Activation,
    Conv,
    DepthwiseConv,
    PaddingRule,
    Scale,
    SqueezeExcite,
    dense,
    same_padding,
)
from hgad_jax.backbones.spec import Tap


class Block(NamedTuple):
    """One inverted-residual block."""

    kernel: int
    stride: int
    width: int  # channels that are filtered; 0: those of the input, and no layer that expands them
    channels: int
    squeeze: int  # channels within squeeze-and-excitation; 0: none
    activation: Activation


class Architecture(NamedTuple):
    """What distinguishes one network from another."""

    stem: int  # channels after the stem, whose kernel is 3 and whose stride is 2
    stages: tuple[tuple[Block, ...], ...]
    head: int  # channels after the last convolution
    head_tap: str  # its name
    hidden: int  # channels of a layer between the pooling and the classifier; 0: there is none
    activation: Activation  # of stem, head and hidden layer
    gate: Activation = jax.nn.sigmoid  # of squeeze-and-excitation
    squeeze_activation: Activation = jax.nn.silu
    padding: PaddingRule = same_padding
    raw: bool = False  # whether the projections can be tapped before their normalisation
    classes: int = 1000


def raw_tap(stage: int, blocks: tuple[Block, ...]) -> str:
    """Name the last projection of a stage as timm names the convolution."""
    return f"blocks.{stage}.{len(blocks) - 1}.{'conv_pwl' if blocks[-1].width else 'conv_pw'}"


def feature_taps(architecture: Architecture) -> dict[str, Tap]:
    """All feature maps, first to last: "stem", "blocks.0", "blocks.1", ..., and the head."""
    stride = 2
    taps = {"stem": Tap(architecture.stem, stride)}
    for index, blocks in enumerate(architecture.stages):
        for block in blocks:
            stride *= block.stride
        if architecture.raw:
            taps[raw_tap(index, blocks)] = Tap(blocks[-1].channels, stride)
        taps[f"blocks.{index}"] = Tap(blocks[-1].channels, stride)
    return taps | {architecture.head_tap: Tap(architecture.head, stride)}


class InvertedResidual(nn.Module):
    """Expands the channels, filters each of them, projects; added to its input where the shapes agree.

    The convolutions of kernel 1 are matrix products, which are a little faster than convolutions on CPU.
    """

    block: Block
    architecture: Architecture

    @nn.compact
    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, H, W, I] -> the output [B, ceil(H / stride), ceil(W / stride), O], and the projection before
        its normalisation (which is the one after it, where that is folded in).
        """  # noqa: D205
        block, x = self.block, inputs
        if block.width:
            x = block.activation(dense(block.width, "expand")(x))
        depthwise = DepthwiseConv(block.kernel, block.stride, self.architecture.padding, name="depthwise")
        x = block.activation(depthwise(x))
        if block.squeeze:
            activation, gate = self.architecture.squeeze_activation, self.architecture.gate
            x = SqueezeExcite(block.squeeze, activation, gate, name="squeeze")(x)
        raw = dense(block.channels, "project", use_bias=not self.architecture.raw)(x)
        x = Scale(name="project_norm")(raw) if self.architecture.raw else raw
        return (x + inputs if x.shape == inputs.shape else x), raw


class InvertedNet(nn.Module):
    """Normalised images to the requested taps; layers after the last of these do not exist.

    Attributes:
      architecture: the table of its layers.
      taps: names from `feature_taps`, or "logits".
    """

    architecture: Architecture
    taps: tuple[str, ...]

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """[B, H, W, 3] -> one [B, h, w, C] per tap, in the order of `taps`; "logits" are [B, classes]."""
        x, outputs = images, {}
        for layer in _layers(self.architecture):
            named = layer(x)
            outputs |= named
            x = list(named.values())[-1]
            if outputs.keys() >= set(self.taps):
                break
        return tuple(outputs[tap] for tap in self.taps)


Layer = Callable[[jax.Array], dict[str, jax.Array]]  # input -> taps by name, the last one being the output


def _layers(architecture: Architecture) -> Iterator[Layer]:
    """List the layers; their modules are made when they are called."""
    yield partial(_stem, architecture)
    for index in range(len(architecture.stages)):
        yield partial(_stage, architecture, index)
    yield partial(_head, architecture)
    yield partial(_classifier, architecture)


def _stem(architecture: Architecture, x: jax.Array) -> dict[str, jax.Array]:
    x = Conv(architecture.stem, 3, 2, architecture.padding, name="stem")(x)
    return {"stem": architecture.activation(x)}


def _stage(architecture: Architecture, index: int, x: jax.Array) -> dict[str, jax.Array]:
    blocks = architecture.stages[index]
    raws = {}
    for repeat, block in enumerate(blocks):
        x, raw = InvertedResidual(block, architecture, name=f"blocks_{index}_{repeat}")(x)
        raws = {raw_tap(index, blocks): raw} if architecture.raw else {}
    return raws | {f"blocks.{index}": x}


def _head(architecture: Architecture, x: jax.Array) -> dict[str, jax.Array]:
    return {architecture.head_tap: architecture.activation(dense(architecture.head, "head")(x))}


def _classifier(architecture: Architecture, x: jax.Array) -> dict[str, jax.Array]:
    x = x.mean(axis=(1, 2))
    if architecture.hidden:
        x = architecture.activation(dense(architecture.hidden, "hidden")(x))
    return {"logits": dense(architecture.classes, "logits")(x)}
