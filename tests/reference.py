"""The recorded published model (fixtures/README.md) in the structures of this package."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from hgad_jax import detectors
from hgad_jax.detectors.compose import LevelConstants, LevelParams
from hgad_jax.distributions.mixture import MixtureParams
from hgad_jax.flows.conditioning import identity_affine
from hgad_jax.flows.coupling import CouplingParams

LEVELS, BLOCKS, CHANNELS, CONDITION = 3, 5, 16, 8
CLAMP, SMOOTHING = 1.9, 0.02
STAGES = {
    1: {"likelihood": 1.0, "mutual_information": 100.0, "entropy": 1.0, "intra": 0.0, "log_sigmoid": 0.0},
    2: {"likelihood": 1.0, "mutual_information": 100.0, "entropy": 1.0, "intra": 1.0, "log_sigmoid": 1.0},
}

with np.load(Path(__file__).parent / "fixtures" / "hgad_reference.npz") as archive:
    DATA = dict(archive)

LABELS = jnp.asarray(DATA["labels"], jnp.int32)


def level(index: int, name: str) -> np.ndarray:
    return DATA[f"level{index}/{name}"]


def _blocks(index, name):
    return jnp.asarray(np.stack([level(index, f"block{k}/{name}") for k in range(BLOCKS)]))


def flow_params(index: int) -> CouplingParams:
    first, passive = _blocks(index, "dense1/kernel"), CHANNELS - CHANNELS // 2
    return CouplingParams(
        passive_kernel=first[:, :passive],
        condition_kernel=first[:, passive:],
        hidden_bias=_blocks(index, "dense1/bias"),
        out_kernel=_blocks(index, "dense2/kernel"),
        out_bias=_blocks(index, "dense2/bias"),
        gamma=_blocks(index, "gamma"),
        offset=_blocks(index, "offset"),
    )


def mixture_params(index: int) -> MixtureParams:
    names = ("mu", "delta", "phi_inter", "phi_intra")
    return MixtureParams(*(jnp.asarray(level(index, f"mixture/{n}")) for n in names))


def params() -> tuple[LevelParams, ...]:
    return tuple(LevelParams(flow_params(i), mixture_params(i)) for i in range(LEVELS))


def constants() -> tuple[LevelConstants, ...]:
    return tuple(LevelConstants(identity_affine(CHANNELS), None, _blocks(i, "mix")) for i in range(LEVELS))


def flow_gradient(index: int, stage: int, name: str) -> np.ndarray:
    """Gradient of a stage's total; the recording of stage 2 was added to that of stage 1."""
    gradient = level(index, f"stage{stage}/grad_{name}")
    return gradient if stage == 1 else gradient - level(index, f"stage1/grad_{name}")


def per_level(name: str) -> tuple:
    return tuple(jnp.asarray(level(i, name)) for i in range(LEVELS))


def detector():
    keys = {
        "name": "hgad",
        "num_blocks": BLOCKS,
        "condition_channels": CONDITION,
        "hidden_ratio": 2.0,
        "clamp": CLAMP,
        "identity_init": False,
        "conditioning": "none",
        "per_class": False,
        "regions": 0,
        "shrinkage": 0.0,
        "num_centres": 4,
        "centre_distance": 5.0,
        "delta_scale": 1.0,
        "label_smoothing": SMOOTHING,
    }
    return detectors.create(keys, num_classes=3)


def assert_close_to_largest(actual, expected, tolerance: float):
    """Equal to within `tolerance` of the largest entry: the right measure for gradients, sums of ± terms."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())
