"""Records what CFLOW-AD's and FastFlow's blocks, losses and score maps are in PyTorch + FrEIA 0.2.

    python -m venv venv && venv/bin/pip install torch==2.13.0 FrEIA==0.2 scipy
    venv/bin/python tests/parity/record_normal_flows.py tests/fixtures/normal_flows.npz

Two small levels; all parameters are moved off their initial values. The losses and maps are written down
from the papers' released or best known code in plain PyTorch; only the blocks are FrEIA's.
"""

import math
import sys
import warnings

import numpy as np
import torch
from torch.nn import functional

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import AllInOneBlock

LEVELS = ((4, 5, 8), (2, 3, 6))  # h, w, C
IMAGES, SIZE, CONDITION = 3, 12, 8
CFLOW_BLOCKS, FASTFLOW_KERNELS, HIDDEN_RATIO = 3, (3, 1, 3, 1), 0.8


def dense_subnet(channels_in, channels_out):
    """CFLOW-AD's: the hidden layer is twice as wide as the input, condition included."""
    return torch.nn.Sequential(
        torch.nn.Linear(channels_in, 2 * channels_in),
        torch.nn.ReLU(),
        torch.nn.Linear(2 * channels_in, channels_out),
    )


def conv_subnet(kernel):
    """FastFlow's."""

    def build(channels_in, channels_out):
        hidden = int(channels_in * HIDDEN_RATIO)
        return torch.nn.Sequential(
            torch.nn.Conv2d(channels_in, hidden, kernel, padding="same"),
            torch.nn.ReLU(),
            torch.nn.Conv2d(hidden, channels_out, kernel, padding="same"),
        )

    return build


def perturb(inn):
    """Moves scales and offsets off the identity."""
    with torch.no_grad():
        for block in inn:
            block.global_scale += 0.5 * torch.randn_like(block.global_scale)
            block.global_offset += 0.1 * torch.randn_like(block.global_offset)


def position_code(h, w):
    """Sines and cosines of the column in the first half, of the row in the second: [P, h, w]."""
    half = CONDITION // 2
    frequency = torch.exp(torch.arange(0, half, 2) * -(math.log(10_000.0) / half))
    code = torch.zeros(CONDITION, h, w)
    x, y = torch.arange(w).float(), torch.arange(h).float()
    code[0:half:2] = torch.sin(x[None, :] * frequency[:, None])[:, None, :].repeat(1, h, 1)
    code[1:half:2] = torch.cos(x[None, :] * frequency[:, None])[:, None, :].repeat(1, h, 1)
    code[half::2] = torch.sin(y[None, :] * frequency[:, None])[:, :, None].repeat(1, 1, w)
    code[half + 1 :: 2] = torch.cos(y[None, :] * frequency[:, None])[:, :, None].repeat(1, 1, w)
    return code


def store_blocks(data, prefix, inn):
    """Weights as PyTorch has them, gradients beside them."""
    for k, block in enumerate(inn):
        parameters = {
            "hidden/weight": block.subnet[0].weight,
            "hidden/bias": block.subnet[0].bias,
            "out/weight": block.subnet[2].weight,
            "out/bias": block.subnet[2].bias,
            "gamma": block.global_scale,
            "offset": block.global_offset,
        }
        for name, parameter in parameters.items():
            data[f"{prefix}/block{k}/{name}"] = parameter.detach().numpy()
            data[f"{prefix}/block{k}/grad/{name}"] = parameter.grad.numpy()
        data[f"{prefix}/block{k}/mix"] = block.w_perm.numpy()


def record_cflow(data, features):
    """One flow per level on vectors; −log sigmoid of the likelihood per dimension; maps as released."""
    upsampled = []
    for index, x in enumerate(features):
        h, w, channels = LEVELS[index]
        inn = SequenceINN(channels)
        for _ in range(CFLOW_BLOCKS):
            inn.append(
                AllInOneBlock,
                cond=0,
                cond_shape=(CONDITION,),
                subnet_constructor=dense_subnet,
                affine_clamping=1.9,
                global_affine_type="SOFTPLUS",
                permute_soft=True,
            )
        perturb(inn)
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        code = position_code(h, w).permute(1, 2, 0).reshape(-1, CONDITION).repeat(IMAGES, 1)
        z, log_det = inn(rows, [code])
        log_prob = -0.5 * channels * math.log(2 * math.pi) - 0.5 * (z**2).sum(1) + log_det
        loss = -functional.logsigmoid(log_prob / channels).mean()
        loss.backward()
        prefix = f"cflow/level{index}"
        store_blocks(data, prefix, inn)
        data[f"{prefix}/latent"] = z.detach().reshape(IMAGES, h, w, channels).numpy()
        data[f"{prefix}/log_det"] = log_det.detach().reshape(IMAGES, h, w).numpy()
        data[f"{prefix}/loss"] = loss.detach().numpy()
        value = (log_prob / channels).detach().double()
        normed = torch.exp(value - value.max()).reshape(IMAGES, 1, h, w)
        upsampled.append(functional.interpolate(normed, SIZE, mode="bilinear", align_corners=True)[:, 0])
    total = sum(upsampled)
    data["cflow/map"] = (total.max() - total).numpy()


def record_fastflow(data, features):
    """Convolutional flows after a layer norm; maps as in the best known code."""
    total, maps = 0.0, []
    for index, x in enumerate(features):
        h, w, channels = LEVELS[index]
        norm = torch.nn.LayerNorm([channels, h, w])
        inn = SequenceINN(channels, h, w)
        for kernel in FASTFLOW_KERNELS:
            inn.append(
                AllInOneBlock,
                subnet_constructor=conv_subnet(kernel),
                affine_clamping=2.0,
                permute_soft=False,
            )
        perturb(inn)
        with torch.no_grad():
            norm.weight += 0.2 * torch.randn_like(norm.weight)
            norm.bias += 0.2 * torch.randn_like(norm.bias)
        z, log_det = inn(norm(x))
        loss = torch.mean(0.5 * torch.sum(z**2, dim=(1, 2, 3)) - log_det)
        loss.backward()
        total = total + loss.detach()
        prefix = f"fastflow/level{index}"
        store_blocks(data, prefix, inn)
        for name, parameter in (("scale", norm.weight), ("offset", norm.bias)):
            data[f"{prefix}/norm/{name}"] = parameter.detach().permute(1, 2, 0).numpy()
            data[f"{prefix}/norm/grad/{name}"] = parameter.grad.permute(1, 2, 0).numpy()
        data[f"{prefix}/latent"] = z.detach().permute(0, 2, 3, 1).numpy()
        data[f"{prefix}/log_det"] = log_det.detach().numpy()
        score = -torch.exp(-0.5 * torch.mean(z.detach() ** 2, dim=1, keepdim=True))
        maps.append(functional.interpolate(score, SIZE, mode="bilinear", align_corners=False)[:, 0])
    data["fastflow/loss"] = total.numpy()
    data["fastflow/map"] = torch.stack(maps).mean(0).numpy()


def main(path):
    """Writes the file."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (FrEIA draws rotations and permutations from it)
    features = [torch.randn(IMAGES, c, h, w) for h, w, c in LEVELS]
    data = {f"features{i}": x.permute(0, 2, 3, 1).numpy() for i, x in enumerate(features)}
    record_cflow(data, features)
    record_fastflow(data, features)
    data["versions"] = np.array([f"torch {torch.__version__}", "FrEIA 0.2", f"numpy {np.__version__}"])
    np.savez_compressed(path, **data)


if __name__ == "__main__":
    main(sys.argv[1])
