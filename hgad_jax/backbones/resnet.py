"""ResNet and Wide ResNet ("Deep Residual Learning for Image Recognition", He et al., 2016).

The stride of a bottleneck is in its 3 × 3 convolution, as in torchvision, timm and every weights file here;
"wide" (Zagoruyko and Komodakis, 2016) doubles the channels of that convolution.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from hgad_jax.backbones.layers import Conv, dense
from hgad_jax.backbones.spec import Spec, Tap
from hgad_jax.backbones.weights import Biased, Folded, Part

_EPSILON = 1e-5  # of the batch normalisations
_STEM = 64


class Architecture(NamedTuple):
    """What distinguishes one network from another."""

    repeats: tuple[int, ...]  # blocks of layer1 to layer4
    bottleneck: bool
    widening: int = 1  # of the 3 × 3 convolutions of bottlenecks
    classes: int = 1000

    def channels(self, stage: int) -> int:
        """Channels after `layer<stage + 1>`."""
        return _STEM * 2**stage * (4 if self.bottleneck else 1)


def resnet(*repeats: int, bottleneck: bool, widening: int = 1) -> Spec:
    """Make the member of the family with the given numbers of blocks."""
    architecture = Architecture(repeats, bottleneck, widening)
    stages = {f"layer{stage + 1}": Tap(architecture.channels(stage), 4 * 2**stage) for stage in range(4)}
    return Spec(
        network=partial(ResNet, architecture),
        taps={"act1": Tap(_STEM, 2)} | stages,
        dialects={"timm and torchvision": lambda: list(_names(architecture))},
        image_by_image=True,
        until="layer2",  # later kernels are larger than an image's maps: images share what is read of them
    )


class Residual(nn.Module):
    """Two convolutions of kernel 3, or a bottleneck: 1, 3, 1; added to the input, which is projected if its
    shape differs.
    """  # noqa: D205

    kernels: tuple[int, ...]
    channels: tuple[int, ...]
    stride: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """[B, H, W, I] -> [B, ceil(H / stride), ceil(W / stride), channels[-1]]."""
        strided, last = self.kernels.index(3), len(self.kernels) - 1
        x = inputs
        for index, (kernel, channels) in enumerate(zip(self.kernels, self.channels, strict=True)):
            stride = self.stride if index == strided else 1
            x = Conv(channels, kernel, stride, name=f"conv{index + 1}")(x)
            x = jax.nn.relu(x) if index < last else x
        if x.shape != inputs.shape:
            inputs = Conv(self.channels[-1], 1, self.stride, name="downsample")(inputs)
        return jax.nn.relu(x + inputs)


class ResNet(nn.Module):
    """Normalised images to the requested taps; layers after the last of these do not exist.

    Attributes:
      architecture: the table of its layers.
      taps: among "act1", "layer1", ..., "layer4" and "logits".
      given: the tap whose map is given instead of images; None for images.
    """

    architecture: Architecture
    taps: tuple[str, ...]
    given: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """[B, H, W, 3] -> one [B, h, w, C] per tap, in the order of `taps`; "logits" are [B, classes]."""
        x, outputs, layers = images, {}, _layers(self.architecture)
        if self.given:
            layers = itertools.islice(
                itertools.dropwhile(lambda layer: layer[0] != self.given, layers), 1, None
            )
        for name, layer in layers:
            x = outputs[name] = layer(x)
            if outputs.keys() >= set(self.taps):
                break
        return tuple(outputs[tap] for tap in self.taps)


def _layers(architecture: Architecture) -> Iterator[tuple[str, Callable[[jax.Array], jax.Array]]]:
    """List the tap after each layer, and the layer; its modules are made when it is called."""
    yield "act1", lambda x: jax.nn.relu(Conv(_STEM, 7, 2, name="stem")(x))
    for stage in range(4):
        yield f"layer{stage + 1}", partial(_stage, architecture, stage)
    yield "logits", lambda x: dense(architecture.classes, "logits")(x.mean(axis=(1, 2)))


def _stage(architecture: Architecture, stage: int, x: jax.Array) -> jax.Array:
    if stage == 0:
        x = _max_pool(x)
    kernels, channels = _convs(architecture, stage)
    for repeat in range(architecture.repeats[stage]):
        stride = 2 if stage and repeat == 0 else 1
        x = Residual(kernels, channels, stride, name=f"layer{stage + 1}_{repeat}")(x)
    return x


def _convs(architecture: Architecture, stage: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Kernels and channels of the convolutions of a block."""
    outputs = architecture.channels(stage)
    if not architecture.bottleneck:
        return (3, 3), (outputs, outputs)
    inner = _STEM * 2**stage * architecture.widening
    return (1, 3, 1), (inner, inner, outputs)


def _max_pool(x: jax.Array) -> jax.Array:
    """The maximum over 3 × 3 positions at stride 2, padded by one on every side."""
    for axis in (1, 2):  # one after the other, and no `reduce_window`: twice as fast on a CPU
        padding = [(1, 1) if a == axis else (0, 0) for a in range(4)]
        padded = jnp.pad(x, padding, constant_values=-jnp.inf)
        last = padded.shape[axis] - 3
        x = functools.reduce(
            jnp.maximum, [lax.slice_in_dim(padded, i, last + i + 1, 2, axis) for i in range(3)]
        )
    return x


def _names(architecture: Architecture) -> Iterator[Part]:
    """The names that timm and torchvision share."""
    fold = partial(Folded, epsilon=_EPSILON)
    yield fold(("stem",), "conv1", "bn1")
    inputs = _STEM
    for stage in range(4):
        kernels, channels = _convs(architecture, stage)
        for repeat in range(architecture.repeats[stage]):
            path, name = f"layer{stage + 1}_{repeat}", f"layer{stage + 1}.{repeat}"
            for number in range(1, len(kernels) + 1):
                yield fold((path, f"conv{number}"), f"{name}.conv{number}", f"{name}.bn{number}")
            if repeat == 0 and (stage or inputs != channels[-1]):
                yield fold((path, "downsample"), f"{name}.downsample.0", f"{name}.downsample.1")
            inputs = channels[-1]
    yield Biased(("logits",), "fc")
