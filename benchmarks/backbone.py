"""Times backbones of hgad_jax beside timm's in PyTorch, on the CPU.

    pip install 'hgad_jax[parity]'
    python benchmarks/backbone.py --threads 1

Both get the same weights, drawn by the rule of tests/parity, and the same images, and it is first checked
that they return the same maps. Then rounds alternate, so that whatever slows the machine slows all: ours,
timm's network as it is ("eager"), and timm's with its batch normalisations folded, in channels-last layout.

The last line is JSON. Ratios are PyTorch's time over ours, of medians: above one, hgad_jax is faster.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import jax  # noqa: E402
import numpy as np  # noqa: E402
from flow import use_threads  # noqa: E402

from hgad_jax.backbones import apply_function  # noqa: E402
from hgad_jax.backbones.catalogue import CATALOGUE  # noqa: E402
from hgad_jax.backbones.weights import Folded, abstract_params, convert, expected_tensors  # noqa: E402

TOLERANCE = 1e-3  # relative, in the Euclidean norm
# name -> our taps, and timm's `out_indices` of the same maps
NETWORKS = {
    "tf_efficientnet_lite0": (("blocks.2", "blocks.4", "blocks.6"), (2, 3, 4)),
    "resnet18": (("layer1", "layer2", "layer3"), (1, 2, 3)),
    "wide_resnet50_2": (("layer1", "layer2", "layer3"), (1, 2, 3)),
}


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of either side (default 1)")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default 7)")
    parser.add_argument("--batch", type=int, default=8, help="images at a time (default 8)")
    parser.add_argument("--size", type=int, default=256, help="pixels of their sides (default 256)")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="'cpu' counts this process only: for one thread on a machine that is not idle (default wall)",
    )
    parser.add_argument("--names", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    args = parser.parse_args()
    if args.clock == "cpu" and args.threads > 1:
        parser.error("--clock=cpu adds up the time of all threads: it says something with --threads=1 only")
    try:
        from parity import timm_reference
    except ImportError as error:
        sys.exit(f"{error}. Install the networks to compare with: pip install 'hgad_jax[parity]'")
    pinned = use_threads(args.threads)
    timm_reference.torch.set_num_threads(args.threads)
    print(
        f"{args.batch} images of {args.size} px, float32, {args.threads} thread(s)"
        f"{'' if pinned else ', not pinned'}, {args.clock} clock, load average {os.getloadavg()[0]:.1f}"
    )
    ratios = {}
    for name in args.names:
        contenders = build(timm_reference, name, args.batch, args.size)
        seconds = time_alternating(contenders, args.rounds, CLOCKS[args.clock])
        for label, times in seconds.items():
            print(f"{name:24} {label:24} {args.batch / statistics.median(times):8.2f} images/s")
        ours = statistics.median(seconds["hgad_jax"])
        ratios[name] = {
            f"{label}_ratio": round(statistics.median(seconds[label]) / ours, 3)
            for label in ("eager", "channels_last")
        }
    print(json.dumps(ratios))


def build(reference: Any, name: str, batch: int, size: int) -> dict[str, Any]:
    """The three contenders, name -> function without arguments that waits for its result."""
    torch = reference.torch
    taps, indices = NETWORKS[name]
    spec = CATALOGUE[name].build()
    shapes = expected_tensors(spec, next(iter(spec.dialects)))
    state = reference.rule.state_dict(shapes)
    pixels = np.random.default_rng(0).standard_normal((batch, size, size, 3), np.float32)

    params = convert(state, spec, abstract_params(spec, taps), name=name, file="rule")
    variables = jax.device_put({"params": params})
    apply = apply_function(spec, taps, ((0.0,) * 3, (1.0,) * 3))
    images = jax.device_put(pixels)

    def eager_model():
        model = reference.timm.create_model(name, features_only=True, out_indices=indices).eval()
        reference.fill(model, shapes)
        return model

    eager, folded = eager_model(), fold(reference, eager_model(), spec)
    nchw = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    channels_last = nchw.contiguous(memory_format=torch.channels_last)
    folded = folded.to(memory_format=torch.channels_last)
    contenders = {
        "hgad_jax": lambda: jax.block_until_ready(apply(variables, images)),
        "eager": lambda: run(torch, eager, nchw),
        "channels_last": lambda: run(torch, folded, channels_last),
    }
    check_agreement(name, *(contender() for contender in contenders.values()))
    return contenders


def run(torch: Any, model: Any, images: Any) -> list:
    """Maps of PyTorch."""
    with torch.inference_mode():
        return model(images)


def fold(reference: Any, model: Any, spec: Any) -> Any:
    """The model with its batch normalisations folded into its convolutions."""
    torch = reference.torch
    names = dict(model.named_modules())
    for part in next(iter(spec.dialects.values()))():
        if isinstance(part, Folded) and part.norm in names:
            conv, norm = names[part.weight], names[part.norm]
            weight, bias = torch.nn.utils.fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            conv.weight, conv.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
            parent, _, child = part.norm.rpartition(".")
            activation = getattr(norm, "act", torch.nn.Identity())
            setattr(names[parent], child, activation)
    return model


def check_agreement(name: str, ours: Any, *theirs: Any) -> None:
    """Stop unless all return the same maps."""
    for maps in theirs:
        for found, other in zip(ours, maps, strict=True):
            other = other.permute(0, 2, 3, 1).numpy()
            error = np.linalg.norm(found - other) / np.linalg.norm(other)
            if not error < TOLERANCE:
                sys.exit(f"{name}: the maps disagree, by {error:.1e}; not timed")


def time_alternating(contenders: dict[str, Any], rounds: int, clock: Any) -> dict[str, list[float]]:
    """Seconds of each contender in each round, one after the other within a round."""
    seconds = {label: [] for label in contenders}
    for _ in range(rounds):
        for label, contender in contenders.items():
            start = clock()
            contender()
            seconds[label].append(clock() - start)
    return seconds


if __name__ == "__main__":
    main()
