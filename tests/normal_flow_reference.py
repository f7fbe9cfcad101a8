"""The recorded blocks, losses and maps of `tests/fixtures/normal_flows.npz` in our structures."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from hgad_jax import detectors
from hgad_jax.detectors import class_finder
from hgad_jax.detectors.compose import LevelConstants, LevelParams
from hgad_jax.flows.conditioning import identity_affine
from hgad_jax.flows.conv_coupling import ConvCouplingParams
from hgad_jax.flows.convolution import ConvolutionParams, NormParams
from hgad_jax.flows.coupling import CouplingParams

LEVELS = ((4, 5, 8), (2, 3, 6))
CONDITION, CFLOW_BLOCKS, KERNELS, SIZE = 8, 3, (3, 1, 3, 1), 12

with np.load(Path(__file__).parent / "fixtures" / "normal_flows.npz") as archive:
    DATA = dict(archive)

FEATURES = tuple(jnp.asarray(DATA[f"features{i}"]) for i in range(len(LEVELS)))
PLAIN = {
    "identity_init": False,
    "conditioning": "none",
    "per_class": False,
    "regions": 0,
    "shrinkage": 0.0,
}


def cflow_detector(num_classes=1, **changes):
    keys = {
        "name": "cflow",
        "base": "standard",
        "fibre": 0,
        "zero_grad": "none",
        "condition_channels": CONDITION,
    }
    keys |= PLAIN | {"num_blocks": CFLOW_BLOCKS, "hidden_ratio": 2.0, "clamp": 1.9}
    return detectors.create(keys | changes, num_classes)


def fastflow_detector(num_classes=1, **changes):
    keys = {"name": "fastflow", "base": "standard", "norm": "trainable", "score_log_det": False, "clamp": 2.0}
    keys |= PLAIN | {"num_blocks": len(KERNELS), "kernel_sizes": (3, 1), "hidden_ratio": 0.8}
    return detectors.create(keys | changes, num_classes)


def _read(method, index, block, field, grad=False):
    return DATA[f"{method}/level{index}/block{block}/{'grad/' if grad else ''}{field}"]


def cflow_flow(index, grad=False):
    passive = LEVELS[index][2] // 2

    def of_block(k):
        hidden = _read("cflow", index, k, "hidden/weight", grad).T
        return CouplingParams(
            passive_kernel=hidden[:passive],
            condition_kernel=hidden[passive:],
            hidden_bias=_read("cflow", index, k, "hidden/bias", grad),
            out_kernel=_read("cflow", index, k, "out/weight", grad).T,
            out_bias=_read("cflow", index, k, "out/bias", grad),
            gamma=_read("cflow", index, k, "gamma", grad)[0],
            offset=_read("cflow", index, k, "offset", grad)[0],
        )

    blocks = [of_block(k) for k in range(CFLOW_BLOCKS)]
    return CouplingParams(*(jnp.asarray(np.stack(leaves)) for leaves in zip(*blocks, strict=True)))


def fastflow_flow(index, grad=False):
    def of_block(k):
        return ConvCouplingParams(
            hidden_kernel=_read("fastflow", index, k, "hidden/weight", grad).transpose(2, 3, 1, 0),
            hidden_bias=_read("fastflow", index, k, "hidden/bias", grad),
            out_kernel=_read("fastflow", index, k, "out/weight", grad).transpose(2, 3, 1, 0),
            out_bias=_read("fastflow", index, k, "out/bias", grad),
            gamma=_read("fastflow", index, k, "gamma", grad).ravel(),
            offset=_read("fastflow", index, k, "offset", grad).ravel(),
        )

    places = [[of_block(k) for k in range(start, len(KERNELS), 2)] for start in range(2)]
    couplings = tuple(
        ConvCouplingParams(*(jnp.asarray(np.stack(leaves)) for leaves in zip(*blocks, strict=True)))
        for blocks in places
    )
    prefix = f"fastflow/level{index}/norm/{'grad/' if grad else ''}"
    norm = NormParams(*(jnp.asarray(DATA[prefix + name]) for name in ("scale", "offset")))
    return ConvolutionParams(norm, couplings)


def params(of_level, grad=False):
    return tuple(LevelParams(of_level(i, grad), None) for i in range(len(LEVELS)))


def constants(method):
    def of_level(index):
        channels = LEVELS[index][2]
        count = CFLOW_BLOCKS if method == "cflow" else len(KERNELS)
        mixing = np.stack([_read(method, index, k, "mix") for k in range(count)])
        if method == "fastflow":  # a matrix with one 1 a row, the channel it is taken from
            mixing = mixing[..., 0, 0].argmax(-1).reshape(-1, 2, channels).astype(np.int32)
        statistics = class_finder.fit(lambda: [(np.asarray(FEATURES[index]), np.zeros(3, int))], 1)
        return LevelConstants(identity_affine(channels), statistics, jnp.asarray(mixing))

    return tuple(of_level(i) for i in range(len(LEVELS)))


def count_parameters(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
