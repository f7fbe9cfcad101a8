"""EfficientNet B0 to B7 and Lite0 to Lite4, as their authors' TensorFlow weights need them.

"EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (Tan and Le, 2019): one table of
stages, scaled in width and depth. TensorFlow's "SAME" padding is asymmetric at stride 2, and its batch
normalisation has the epsilon 1e-3. The Lite variant has ReLU6 for SiLU, no squeeze-and-excitation, and keeps
stem, head, and the depth of the first and last stage.
"""

import math
from collections.abc import Iterator
from functools import partial

import jax

from hgad_jax.backbones.inverted import Architecture, Block, InvertedNet, feature_taps
from hgad_jax.backbones.spec import Spec
from hgad_jax.backbones.weights import Biased, Folded, Part

_EPSILON = 1e-3  # of the batch normalisations

# (kernel, expansion, channels, repeats, stride)
_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)


def efficientnet(width: float, depth: float, *, lite: bool = False) -> Spec:
    """Make the member of the family with the given multipliers of channels and of repeats."""
    architecture = _architecture(width, depth, lite=lite)
    return Spec(
        network=partial(InvertedNet, architecture),
        taps=feature_taps(architecture),
        dialects={
            "timm": lambda: list(_timm(architecture)),
            "lukemelas": lambda: list(_lukemelas(architecture)),
        },
        image_by_image=True,
    )


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, but never less than 90 % of the channels."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _architecture(width: float, depth: float, *, lite: bool) -> Architecture:
    activation = jax.nn.relu6 if lite else jax.nn.silu
    stem = 32 if lite else round_channels(32 * width)
    stages, inputs = [], stem
    for index, (kernel, expansion, channels, repeats, stride) in enumerate(_STAGES):
        fixed = lite and index in (0, len(_STAGES) - 1)
        blocks = []
        for repeat in range(repeats if fixed else math.ceil(repeats * depth)):
            outputs = round_channels(channels * width)
            blocks.append(
                Block(
                    kernel=kernel,
                    stride=stride if repeat == 0 else 1,
                    width=inputs * expansion if expansion > 1 else 0,
                    channels=outputs,
                    squeeze=0 if lite else round(inputs / 4),
                    activation=activation,
                )
            )
            inputs = outputs
        stages.append(tuple(blocks))
    head = 1280 if lite else round_channels(1280 * width)
    return Architecture(stem, tuple(stages), head, "head", hidden=0, activation=activation)


def _timm(architecture: Architecture) -> Iterator[Part]:
    """timm's names: `conv_stem`, `blocks.2.0.bn1`, ..."""
    fold = partial(Folded, epsilon=_EPSILON)
    yield fold(("stem",), "conv_stem", "bn1")
    for index, blocks in enumerate(architecture.stages):
        for repeat, block in enumerate(blocks):
            path, name = f"blocks_{index}_{repeat}", f"blocks.{index}.{repeat}"
            if block.width:
                convs = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
            else:
                convs = {"depthwise": "conv_dw", "project": "conv_pw"}
            for number, (layer, conv) in enumerate(convs.items(), start=1):
                yield fold((path, layer), f"{name}.{conv}", f"{name}.bn{number}")
            if block.squeeze:
                for layer in ("reduce", "expand"):
                    yield Biased((path, "squeeze", layer), f"{name}.se.conv_{layer}", rank=4)
    yield fold(("head",), "conv_head", "bn2")
    yield Biased(("logits",), "classifier")


def _lukemelas(architecture: Architecture) -> Iterator[Part]:
    """The names in the PyPI packages' files, which count blocks through: `_blocks.3._bn1`, ..."""
    fold = partial(Folded, epsilon=_EPSILON)
    yield fold(("stem",), "_conv_stem", "_bn0")
    number = 0
    for index, blocks in enumerate(architecture.stages):
        for repeat, block in enumerate(blocks):
            path, name = f"blocks_{index}_{repeat}", f"_blocks.{number}"
            if block.width:
                yield fold((path, "expand"), f"{name}._expand_conv", f"{name}._bn0")
            yield fold((path, "depthwise"), f"{name}._depthwise_conv", f"{name}._bn1")
            if block.squeeze:
                for layer in ("reduce", "expand"):
                    yield Biased((path, "squeeze", layer), f"{name}._se_{layer}", rank=4)
            yield fold((path, "project"), f"{name}._project_conv", f"{name}._bn2")
            number += 1
    yield fold(("head",), "_conv_head", "_bn1")
    yield Biased(("logits",), "_fc")
