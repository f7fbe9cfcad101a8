"""The published flow in PyTorch: FrEIA 0.2's all-in-one blocks, the condition beside every vector."""

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import torch

with warnings.catch_warnings():
    # FrEIA 0.2 (2021) has docstrings with invalid escapes, of which Python warns when it compiles them.
    warnings.simplefilter("ignore")
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import AllInOneBlock

from hgad_jax.flows.coupling import CouplingParams
from hgad_jax.flows.position import axis_codes, position_map


class Size(NamedTuple):
    """Size of the flow and of one batch."""

    blocks: int = 12
    channels: int = 112
    condition: int = 256
    hidden_ratio: int = 2
    images: int = 32
    height: int = 16
    width: int = 16
    clamp: float = 1.9

    @property
    def vectors(self) -> int:
        """Vectors in one batch."""
        return self.images * self.height * self.width


def build_flow(size: Size, seed: int, *, published: bool = False) -> SequenceINN:
    """The flow with PyTorch's default weights.

    Its scales and offsets start off their identity, so that a comparison sees them, but as it if `published`.
    `seed` also sets NumPy's global generator, from which FrEIA draws its rotations through SciPy.
    """
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002

    def subnet(channels_in: int, channels_out: int) -> torch.nn.Module:
        hidden = size.hidden_ratio * channels_in
        return torch.nn.Sequential(
            torch.nn.Linear(channels_in, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, channels_out)
        )

    inn = SequenceINN(size.channels)
    for _ in range(size.blocks):
        inn.append(
            AllInOneBlock,
            cond=0,
            cond_shape=(size.condition,),
            subnet_constructor=subnet,
            affine_clamping=size.clamp,
            global_affine_type="SOFTPLUS",
            permute_soft=True,
        )
    if published:
        return inn
    with torch.no_grad():
        for block in inn:
            block.global_scale += 0.5 * torch.randn_like(block.global_scale)
            block.global_offset += 0.1 * torch.randn_like(block.global_offset)
    return inn


def _values(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().numpy()


def gradients(parameter: torch.Tensor) -> np.ndarray:
    """What `to_params` reads to map gradients in place of weights."""
    return parameter.grad.numpy()


def to_params(inn: SequenceINN, read: Callable[[torch.Tensor], np.ndarray] = _values) -> CouplingParams:
    """The flow's trainable parameters (or, with `read=gradients`, their gradients) as ours, stacked."""

    def of_block(block):
        first, last = block.subnet[0], block.subnet[2]
        kernel = read(first.weight).T  # PyTorch keeps [out, in]
        passive = block.splits[0]
        return CouplingParams(
            passive_kernel=kernel[:passive],
            condition_kernel=kernel[passive:],
            hidden_bias=read(first.bias),
            out_kernel=read(last.weight).T,
            out_bias=read(last.bias),
            gamma=read(block.global_scale)[0],
            offset=read(block.global_offset)[0],
        )

    stacked = (np.stack(leaves) for leaves in zip(*map(of_block, inn), strict=True))
    return CouplingParams(*map(jnp.asarray, stacked))


def to_rotations(inn: SequenceINN) -> jnp.ndarray:
    """The fixed rotations, `[blocks, channels, channels]`."""
    return jnp.asarray(np.stack([_values(block.w_perm) for block in inn]))


def condition_vectors(size: Size) -> torch.Tensor:
    """The position code of every vector of a batch, `[vectors, condition]`, image by image."""
    code = position_map(axis_codes(size.height, size.width, size.condition))
    rows = np.asarray(code).reshape(-1, size.condition)
    return torch.from_numpy(np.tile(rows, (size.images, 1)))


def loss(inn: SequenceINN, features: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood under a standard normal, per vector and dimension, in nats.

    Args:
      inn: the flow.
      features: `[vectors, channels]`.
      condition: `[vectors, condition]`.
    """
    latents, log_det = inn(features, [condition])
    energy = 0.5 * (latents**2).sum(1) - log_det
    return energy.mean() / features.shape[1] + 0.5 * math.log(2 * math.pi)


def make_train_step(
    inn: SequenceINN, parts: list[tuple[torch.Tensor, torch.Tensor]], learning_rate: float
) -> Callable[[], None]:
    """A function that does one step of Adam on a batch, given as equal parts (features, condition)."""
    optimizer = torch.optim.Adam(inn.parameters(), lr=learning_rate)

    def step():
        optimizer.zero_grad()
        for features, condition in parts:
            (loss(inn, features, condition) / len(parts)).backward()
        optimizer.step()

    return step
