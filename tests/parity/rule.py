"""Weights for any network by a rule from each tensor's name and shape, with NumPy alone.

The recorded reference outputs and the tests fill their networks by this rule: no weights file is needed.
"""

import hashlib
import math

import numpy as np

SIZES = {"even": (64, 64), "odd": (75, 53)}  # pixels, height and width
WHOLE_PATCHES = {"even": (70, 70), "odd": (98, 56)}  # for DINOv2, which takes multiples of 14 alone
SAMPLES = 400  # numbers kept of each tap


def tensor(name, shape):
    """The float32 tensor of a name and shape: uniform around values at which signals stay of order one."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    centre, spread = _range(name, shape)
    noise = np.random.default_rng(seed).random(shape, np.float32)
    return (noise * np.float32(2 * spread) + np.float32(centre - spread)).astype(np.float32)


def _range(name, shape):
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        return 1.0, 0.3
    if leaf in ("gamma_1", "gamma_2", "gamma"):
        return 0.3, 0.1
    if leaf == "weight" and len(shape) == 1:
        return 1.0, 0.2
    if leaf == "weight":
        # Depthwise filters make up for what gates and activations around them take away.
        gain = 1.9 if len(shape) == 4 and shape[1] == 1 else 1.2
        return 0.0, gain * math.sqrt(3 / math.prod(shape[1:]))  # a standard deviation of gain / sqrt(fan in)
    if leaf in ("pos_embed", "cls_token", "dist_token", "reg_token"):
        return 0.0, 0.5
    return 0.0, 0.05  # biases and running means


def state_dict(shapes):
    """All tensors of a dict of names and shapes."""
    return {name: tensor(name, tuple(shape)) for name, shape in shapes.items()}


def names_hash(shapes):
    """A hash of the names and shapes, in any order."""
    lines = sorted(f"{name} {list(shape)}" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def image(size):
    """A fixed normalised image, [H, W, 3] float32: waves and noise."""
    rows, columns = np.meshgrid(*map(np.arange, size), indexing="ij")
    waves = [np.sin(rows / 7 + columns / (5 + c)) for c in range(3)]
    noise = np.random.default_rng(0).normal(size=(*size, 3))
    return (np.stack(waves, -1) + 0.5 * noise).astype(np.float32)


def sizes(name):
    """The sizes of the fixed image that a network is recorded at."""
    return WHOLE_PATCHES if "dinov2" in name else SIZES


def recorded_taps(taps):
    """Which of a network's taps are recorded: of a transformer's blocks a few, else all; and the logits."""
    blocks = [tap for tap in taps if tap.endswith(".norm")]
    if blocks:
        kept = [blocks[0], *blocks[7:8], *blocks[40:41], blocks[-1]]
        taps = dict.fromkeys(name for tap in kept for name in (tap.removesuffix(".norm"), tap))
    return (*taps, "logits")


def sample(values):
    """At most SAMPLES numbers, evenly spaced over the array of one image in [h, w, C] order."""
    flat = np.asarray(values, np.float32).reshape(-1)
    return flat[np.linspace(0, flat.size - 1, min(SAMPLES, flat.size)).astype(int)]


def summary(values):
    """The sample, and mean and root mean square of the whole array."""
    wide = np.asarray(values, np.float64)
    return {
        "sample": sample(values),
        "statistics": np.array([wide.mean(), np.sqrt((wide**2).mean())]),
    }
