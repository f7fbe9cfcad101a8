"""EfficientNet-Lite as Linen modules, batch normalisation already folded into the convolutions.

An architecture is a table (`Architecture`): another member of the family is another table. The layers
follow "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (Tan and Le, 2019) in its
Lite variant: ReLU6, no squeeze-and-excitation, and TensorFlow's "SAME" padding, asymmetric at stride 2.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
from flax import linen as nn
from jax import lax

from hgad_jax.backbones.depthwise import Padding, depthwise_conv

# TPUs and recent GPUs round float32 products to fewer bits unless told otherwise. A detector trained on
# one device must see the same features on another, and these networks are small.
_PRECISION = lax.Precision.HIGHEST


class Stage(NamedTuple):
    """A run of inverted-residual blocks; the first has the stride, the others have stride 1."""

    kernel: int
    expansion: int
    channels: int
    repeats: int
    stride: int


class Architecture(NamedTuple):
    """What distinguishes one member of the family from another."""

    stem: int  # channels after the stem, whose kernel is 3 and whose stride is 2
    stages: tuple[Stage, ...]
    head: int  # channels before the classifier
    classes: int
    activation: Callable[[jax.Array], jax.Array]


class Tap(NamedTuple):
    """A place in a backbone where a feature map can be taken."""

    channels: int
    stride: int  # input pixels per map position: a map has ceil(input / stride) positions along a side


LITE0 = Architecture(
    stem=32,
    stages=(
        Stage(kernel=3, expansion=1, channels=16, repeats=1, stride=1),
        Stage(kernel=3, expansion=6, channels=24, repeats=2, stride=2),
        Stage(kernel=5, expansion=6, channels=40, repeats=2, stride=2),
        Stage(kernel=3, expansion=6, channels=80, repeats=3, stride=2),
        Stage(kernel=5, expansion=6, channels=112, repeats=3, stride=1),
        Stage(kernel=5, expansion=6, channels=192, repeats=4, stride=2),
        Stage(kernel=3, expansion=6, channels=320, repeats=1, stride=1),
    ),
    head=1280,
    classes=1000,
    activation=jax.nn.relu6,
)


def feature_taps(architecture: Architecture) -> dict[str, Tap]:
    """All feature maps of an architecture, first to last: "stem", "blocks.0", "blocks.1", ..., "head"."""
    stride = 2
    taps = {"stem": Tap(architecture.stem, stride)}
    for index, stage in enumerate(architecture.stages):
        stride *= stage.stride
        taps[f"blocks.{index}"] = Tap(stage.channels, stride)
    return taps | {"head": Tap(architecture.head, stride)}


def same_padding(size: tuple[int, int], *, kernel: int, stride: int) -> Padding:
    """TensorFlow's "SAME" padding: ceil(size / stride) outputs, the odd zero at the bottom and the right.

    Args:
      size: (height, width) of a map, any positive numbers of pixels.
      kernel: side of the kernel in pixels.
      stride: step in pixels.

    Returns:
      ((top, bottom), (left, right)) in pixels.
    """

    def along(pixels: int) -> tuple[int, int]:
        total = max((-(-pixels // stride) - 1) * stride + kernel - pixels, 0)
        return total // 2, total - total // 2

    return along(size[0]), along(size[1])


class DepthwiseConv(nn.Module):
    """A depthwise convolution with a bias and "SAME" padding."""

    kernel: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), C]."""
        channels = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.he_normal(), (self.kernel, self.kernel, channels))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        padding = same_padding(x.shape[1:3], kernel=self.kernel, stride=self.stride)
        return depthwise_conv(x, kernel, stride=self.stride, padding=padding) + bias[None, None, None]


class InvertedResidual(nn.Module):
    """Expands the channels, filters each of them, projects; added to its input where the shapes agree.

    The convolutions of kernel 1 are matrix products, which are a little faster than convolutions on CPU.
    """

    stage: Stage
    stride: int
    activation: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """[B, H, W, I] -> [B, ceil(H / stride), ceil(W / stride), stage.channels]."""
        x = inputs
        if self.stage.expansion > 1:
            width = inputs.shape[-1] * self.stage.expansion
            x = self.activation(nn.Dense(width, precision=_PRECISION, name="expand")(x))
        x = self.activation(DepthwiseConv(self.stage.kernel, self.stride, name="depthwise")(x))
        x = nn.Dense(self.stage.channels, precision=_PRECISION, name="project")(x)
        return x + inputs if x.shape == inputs.shape else x


class EfficientNet(nn.Module):
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
        for name, layer in _layers(self.architecture):
            x = outputs[name] = layer(x)
            if outputs.keys() >= set(self.taps):
                break
        return tuple(outputs[tap] for tap in self.taps)


def _layers(architecture: Architecture) -> Iterator[tuple[str, Callable[[jax.Array], jax.Array]]]:
    """List the tap after each layer, and the layer; its modules are made when it is called."""
    yield "stem", partial(_stem, architecture)
    for index, stage in enumerate(architecture.stages):
        yield f"blocks.{index}", partial(_stage, architecture, index, stage)
    yield "head", partial(_head, architecture)
    yield "logits", partial(_classifier, architecture)


def _stem(architecture: Architecture, x: jax.Array) -> jax.Array:
    padding = same_padding(x.shape[1:3], kernel=3, stride=2)
    conv = nn.Conv(architecture.stem, (3, 3), 2, padding=padding, precision=_PRECISION, name="stem")
    return architecture.activation(conv(x))


def _stage(architecture: Architecture, index: int, stage: Stage, x: jax.Array) -> jax.Array:
    for repeat in range(stage.repeats):
        stride = stage.stride if repeat == 0 else 1
        x = InvertedResidual(stage, stride, architecture.activation, name=f"blocks_{index}_{repeat}")(x)
    return x


def _head(architecture: Architecture, x: jax.Array) -> jax.Array:
    return architecture.activation(nn.Dense(architecture.head, precision=_PRECISION, name="head")(x))


def _classifier(architecture: Architecture, x: jax.Array) -> jax.Array:
    return nn.Dense(architecture.classes, precision=_PRECISION, name="logits")(x.mean(axis=(1, 2)))
