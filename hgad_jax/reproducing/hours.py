"""An estimate of how long a plan takes here: counted products over what this machine's matrices reach."""

import math
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hgad_jax.backbones.catalogue import choose
from hgad_jax.reproducing.job import Job, Places, config_of
from hgad_jax.reproducing.plan import Plan

# Images that the datasets have for training and for testing, and their classes.
_IMAGES = MappingProxyType(
    {
        "mvtec_ad": (3629, 1725, 15),
        "btad": (1799, 741, 3),
        "mvtec_3d_rgb": (2656, 1197, 10),
        "visa": (8659, 2162, 12),
        "union": (16743, 5825, 40),
        "stc": (274515, 42883, 12),
        "elpv": (1206, 1017, 2),
    }
)
# Thousand million multiplications and additions of a whole network for one image of so many pixels a side.
_BACKBONES: Mapping[str, tuple[float, int]] = MappingProxyType(
    {
        "tf_efficientnet_lite0": (0.41, 224),
        "tf_efficientnet_b6": (19.4, 528),
        "resnet18": (1.82, 224),
        "wide_resnet50_2": (11.4, 224),
        "mobilenetv3_large_100": (0.23, 224),
        "deit_base_distilled_patch16_384": (55.7, 384),
        "cait_m48_448": (329.6, 448),
    }
)
_REACHED = 0.25  # of the speed of a large product, by all there is around products
_BACKWARD = 3  # a step with its gradient, over a pass forward


def hours(plan: Plan, places: Places, speed: float) -> float | None:
    """Of a plan, each model on its own; None where a backbone or a dataset is not known here.

    Args:
      plan: what would be run.
      places: where.
      speed: FLOP per second of one device, such as `speed_here()`.
    """
    by_config: dict[Any, float] = {}
    total = 0.0
    for job in plan.jobs:
        key = job.config, job.settings
        if key not in by_config:
            flop = _flop(job, places)
            if flop is None:
                return None
            by_config[key] = flop
        total += by_config[key]
    return total / (speed * _REACHED) / 3600


def speed_here() -> float:
    """FLOP per second of a large product of matrices on one device."""
    import jax
    import jax.numpy as jnp

    side = 2048
    a = jnp.ones((side, side), jnp.float32)
    product = jax.jit(lambda x: x @ x)
    product(a).block_until_ready()
    start, times = time.perf_counter(), 0
    while time.perf_counter() - start < 0.3:
        product(a).block_until_ready()
        times += 1
    return times * 2 * side**3 / (time.perf_counter() - start)


def _flop(job: Job, places: Places) -> float | None:
    """Of a model's training and its evaluations."""
    config = config_of(job, places)
    backbone = config.backbone.name.partition(".")[0]
    if config.data.name not in _IMAGES or backbone not in _BACKBONES:
        return None
    train, test, classes = _IMAGES[config.data.name]
    if config.data.class_name:
        train, test = train / classes, test / classes
    giga, side = _BACKBONES[backbone]
    scales = sum(1 / scale**2 for scale in config.backbone.scales or (1,))
    extraction = 2e9 * giga * (config.data.image_size / side) ** 2 * scales
    passes = config.train.epochs if config.data.rotation else 1  # turned images are looked at anew
    of_flow = 2 * sum(_of_level(config, h, c) for h, c in _levels(config, backbone))
    window = tuple(config.eval.window)
    measured = 1 + ((window[1] - window[0]) / config.eval.every + 1 if window else 0)
    return (
        extraction * (train * passes + 2 * test)
        + of_flow * _BACKWARD * train * config.train.epochs
        + of_flow * test * measured
    )


def _levels(config: Any, backbone: str) -> list[tuple[float, int]]:
    """(positions, channels) of each level."""
    entry = choose(backbone).entry
    taps, known = tuple(config.backbone.taps) or entry.taps, entry.build().taps
    return [
        (math.ceil(config.data.image_size / scale / known[tap].stride) ** 2, known[tap].channels)
        for scale in config.backbone.scales or (1,)
        for tap in taps
    ]


def _of_level(config: Any, positions: float, channels: int) -> float:
    """Multiplications and additions of one image's level; of a fitted detector, of its distances."""
    section, half = config.detector, channels / 2
    flow = section.get("flow")
    if flow == "dense":
        width = half + section.condition_channels
        return positions * section.num_blocks * (width * width * 2 + 2 * width * channels + channels**2)
    if flow == "convolution":
        hidden, sizes = half * section.hidden_ratio, section.kernel_sizes
        taps = sum(k * k for k in sizes) / len(sizes)
        return positions * section.num_blocks * taps * (half * hidden + hidden * channels)
    return positions * min(channels, section.get("dimensions", 4000)) ** 2
