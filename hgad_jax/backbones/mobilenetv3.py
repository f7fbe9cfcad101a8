"""MobileNetV3, small and large, at width 1 ("Searching for MobileNetV3", Howard et al., 2019).

CFLOW-AD taps the projections of the last blocks of three stages before their batch normalisation and before
the residual is added: those taps have timm's names of the convolutions, `blocks.2.2.conv_pwl`. The outputs
of whole stages are `blocks.2` and so on. Projections are therefore not folded here.

timm's own weights and torchvision's differ in the names and in the epsilon of the batch normalisation.
"""

from collections.abc import Iterator
from functools import partial

import jax

from hgad_jax.backbones.efficientnet import round_channels
from hgad_jax.backbones.inverted import Architecture, Block, InvertedNet, feature_taps
from hgad_jax.backbones.layers import hard_sigmoid, hard_swish, symmetric_padding
from hgad_jax.backbones.spec import Spec
from hgad_jax.backbones.weights import Biased, Folded, Kernel, Norm, Part

_TIMM_EPSILON, _TORCHVISION_EPSILON = 1e-5, 1e-3

# Stage by stage, (kernel, width, channels, whether it squeezes, whether its activation is hard-swish); the
# first block of a stage has the stride of its row.
_Row = tuple[int, int, int, bool, bool]
_LARGE: tuple[tuple[int, tuple[_Row, ...]], ...] = (
    (1, ((3, 0, 16, False, False),)),
    (2, ((3, 64, 24, False, False), (3, 72, 24, False, False))),
    (2, ((5, 72, 40, True, False), (5, 120, 40, True, False), (5, 120, 40, True, False))),
    (
        2,
        (
            (3, 240, 80, False, True),
            (3, 200, 80, False, True),
            (3, 184, 80, False, True),
            (3, 184, 80, False, True),
        ),
    ),
    (1, ((3, 480, 112, True, True), (3, 672, 112, True, True))),
    (2, ((5, 672, 160, True, True), (5, 960, 160, True, True), (5, 960, 160, True, True))),
)
_SMALL: tuple[tuple[int, tuple[_Row, ...]], ...] = (
    (2, ((3, 0, 16, True, False),)),
    (2, ((3, 72, 24, False, False), (3, 88, 24, False, False))),
    (2, ((5, 96, 40, True, True), (5, 240, 40, True, True), (5, 240, 40, True, True))),
    (1, ((5, 120, 48, True, True), (5, 144, 48, True, True))),
    (2, ((5, 288, 96, True, True), (5, 576, 96, True, True), (5, 576, 96, True, True))),
)


def mobilenetv3(*, large: bool) -> Spec:
    """Make the large or the small member of the family."""
    rows = _LARGE if large else _SMALL
    architecture = Architecture(
        stem=16,
        stages=tuple(_stage(stride, blocks) for stride, blocks in rows),
        head=960 if large else 576,
        head_tap=f"blocks.{len(rows)}",
        hidden=1280 if large else 1024,
        activation=hard_swish,
        gate=hard_sigmoid,
        squeeze_activation=jax.nn.relu,
        padding=symmetric_padding,
        raw=True,
    )
    return Spec(
        network=partial(InvertedNet, architecture),
        taps=feature_taps(architecture),
        dialects={
            "timm": lambda: list(_timm(architecture)),
            "torchvision": lambda: list(_torchvision(architecture)),
        },
        image_by_image=True,
    )


def _stage(stride: int, rows: tuple[_Row, ...]) -> tuple[Block, ...]:
    return tuple(
        Block(
            kernel=kernel,
            stride=stride if index == 0 else 1,
            width=width,
            channels=channels,
            squeeze=round_channels((width or channels) / 4) if squeeze else 0,
            activation=hard_swish if swish else jax.nn.relu,
        )
        for index, (kernel, width, channels, squeeze, swish) in enumerate(rows)
    )


def _timm(architecture: Architecture) -> Iterator[Part]:
    """timm's names: `conv_stem`, `blocks.2.0.bn1`, ..."""
    fold, norm = partial(Folded, epsilon=_TIMM_EPSILON), partial(Norm, epsilon=_TIMM_EPSILON)
    yield fold(("stem",), "conv_stem", "bn1")
    for index, blocks in enumerate(architecture.stages):
        for repeat, block in enumerate(blocks):
            path, name = f"blocks_{index}_{repeat}", f"blocks.{index}.{repeat}"
            if block.width:
                yield fold((path, "expand"), f"{name}.conv_pw", f"{name}.bn1")
            depthwise, project = ("bn2", "bn3") if block.width else ("bn1", "bn2")
            yield fold((path, "depthwise"), f"{name}.conv_dw", f"{name}.{depthwise}")
            if block.squeeze:
                yield Biased((path, "squeeze", "reduce"), f"{name}.se.conv_reduce", rank=4)
                yield Biased((path, "squeeze", "expand"), f"{name}.se.conv_expand", rank=4)
            yield Kernel((path, "project"), f"{name}.{'conv_pwl' if block.width else 'conv_pw'}")
            yield norm((path, "project_norm"), f"{name}.{project}")
    last = f"blocks.{len(architecture.stages)}.0"
    yield fold(("head",), f"{last}.conv", f"{last}.bn1")
    yield Biased(("hidden",), "conv_head", rank=4)
    yield Biased(("logits",), "classifier")


def _torchvision(architecture: Architecture) -> Iterator[Part]:
    """torchvision's names, which count blocks and the layers within them: `features.4.block.1.0`, ..."""
    fold, norm = partial(Folded, epsilon=_TORCHVISION_EPSILON), partial(Norm, epsilon=_TORCHVISION_EPSILON)
    yield fold(("stem",), "features.0.0", "features.0.1")
    number = 1
    for index, blocks in enumerate(architecture.stages):
        for repeat, block in enumerate(blocks):
            path, name, layer = f"blocks_{index}_{repeat}", f"features.{number}.block", 0
            if block.width:
                yield fold((path, "expand"), f"{name}.0.0", f"{name}.0.1")
                layer += 1
            yield fold((path, "depthwise"), f"{name}.{layer}.0", f"{name}.{layer}.1")
            if block.squeeze:
                layer += 1
                yield Biased((path, "squeeze", "reduce"), f"{name}.{layer}.fc1", rank=4)
                yield Biased((path, "squeeze", "expand"), f"{name}.{layer}.fc2", rank=4)
            yield Kernel((path, "project"), f"{name}.{layer + 1}.0")
            yield norm((path, "project_norm"), f"{name}.{layer + 1}.1")
            number += 1
    yield fold(("head",), f"features.{number}.0", f"features.{number}.1")
    yield Biased(("hidden",), "classifier.0")
    yield Biased(("logits",), "classifier.3")
