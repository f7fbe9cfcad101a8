"""Speeds that `time_to_auroc.py` reports beside its curves: of a training step, and of a whole pass."""

import argparse
import math
import sys
import time
from types import ModuleType

import flow
import numpy as np
from auroc_judge import Problem
from auroc_sides import JaxSide, Side, TorchSide

_MICRO_BATCHES = 8
_BATCHES = 6  # timed, after one that is not
_LONG = 100.0  # epochs: a schedule that these are no end of


def throughput(published: ModuleType, threads: int, rounds: int) -> dict[str, float]:
    """Time over that of our step: of PyTorch (`flow.py`), and of a matrix product (`flow.py --levels`)."""
    args = argparse.Namespace(rounds=rounds, micro_batches=_MICRO_BATCHES, torch_micro_batches=1)
    of_published = flow.summary(*flow.measure(published, published.Size(), args), threads)
    found = [flow.measure(published, size, args) for size in flow.levels(published)]
    of_levels = flow.summary(*flow.total(found), threads)
    return {
        "throughput_ratio": of_published["train_ratio"],
        "matmul_fraction": of_levels["train_matmul_fraction"],
    }


def seconds_per_batch(side: Side) -> float:
    """Median of some batches, after one more, in the state that the side is in."""
    return float(np.median(_seconds(side, _BATCHES)))


def seconds_per_pass(side: Side) -> float:
    """Seconds of a whole pass, with what is done once in it, such as the looking at held-out images."""
    return float(np.mean(_seconds(side, math.ceil(side.per_pass)))) * side.per_pass


def _seconds(side: Side, batches: int) -> list[float]:
    """Of so many batches, after one more; fewer if the side's schedule is over before."""
    ticks: list[float] = []
    while len(ticks) <= batches and not side.finished:
        side.advance(side.seconds + 1e-9, ticks.append)  # one batch
    return ticks[1:] or ticks


def timm_is_there() -> bool:
    """Whether PyTorch's backbone can be had; stderr tells why not."""
    try:
        import timm  # noqa: F401
    except (ImportError, RuntimeError) as error:  # the latter where torchvision is for another PyTorch
        print(f"No pass_ratio: the backbone in PyTorch is timm's, which fails: {error}.", file=sys.stderr)
        return False
    return True


def pass_ratio(paper: Problem, default: Problem, seed: int) -> dict[str, float]:
    """How many times as long a pass of the published loop takes, which runs the backbone at every batch.

    That is PyTorch's backbone and steps over the default preset's pass from the cache, with its look at
    held-out images; per image, all in the second stage of their training, where most of it is.

    Returns:
      `pass_ratio`, and the milliseconds per image that it is made of.
    """
    torch_side, side = TorchSide(paper, seed), JaxSide(default, seed, epochs=_LONG)
    for each in (torch_side, side):
        each.begin()
        each.batches = math.ceil(each.config.train.stage_two_epoch * each.per_pass)
    seconds = {
        "torch_backbone": backbone_seconds(paper),
        "torch_steps": seconds_per_batch(torch_side) / torch_side.batch_size,
        "pass": seconds_per_pass(side) / (side.per_pass * side.batch_size),
    }
    ratio = (seconds["torch_backbone"] + seconds["torch_steps"]) / seconds["pass"]
    return {"pass_ratio": round(ratio, 2)} | {f"{k}_ms": round(1e3 * v, 2) for k, v in seconds.items()}


def backbone_seconds(paper: Problem) -> float:
    """Seconds per image of timm's backbone at the preset's scales, up to its tap, eager, no gradients."""
    import timm
    import torch

    config, sizes = paper.config, paper.model.levels.sizes
    (tap,) = config.backbone.taps
    network = timm.create_model(config.backbone.name, pretrained=False).eval()  # as fast with any weights
    last = int(tap.removeprefix("blocks."))
    stages = torch.nn.Sequential(network.conv_stem, network.bn1, *network.blocks[: last + 1])
    side, count = config.data.image_size, config.train.batch_size
    images = torch.rand(count, 3, side, side)

    def levels():
        for scale in config.backbone.scales:
            size = (side // scale, side // scale)
            scaled = images
            if scale > 1:
                scaled = torch.nn.functional.interpolate(images, size, mode="bilinear", align_corners=True)
            yield stages(scaled)

    times = []
    with torch.no_grad():
        for _ in range(_BATCHES + 1):
            start = time.perf_counter()
            found = list(levels())
            times.append(time.perf_counter() - start)
    shapes = [(*maps.shape[2:], maps.shape[1]) for maps in found]
    if shapes != [tuple(size) for size in sizes]:
        sys.exit(
            f"timm's {config.backbone.name} gives levels {shapes}, ours {sizes}: their times do not compare."
        )
    return float(np.median(times[1:])) / count
