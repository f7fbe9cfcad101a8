"""timm's networks as the reference: filled by the rule, run on the fixed images, their taps returned.

timm imports torchvision when it is imported, though the networks here need nothing of it. Where torchvision
is absent, empty modules stand in for it.
"""

import enum
import importlib.machinery
import importlib.util
import sys
import types

from parity import rule


class _Interpolation(enum.Enum):
    NEAREST, BILINEAR, BICUBIC, BOX, HAMMING, LANCZOS = (
        "nearest",
        "bilinear",
        "bicubic",
        "box",
        "hamming",
        "lanczos",
    )


def _stand_in_for_torchvision():
    for name in ("", ".transforms", ".transforms.functional", ".ops", ".ops.misc", ".datasets", ".models"):
        module = types.ModuleType(f"torchvision{name}")
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        module.__path__ = []
        module.InterpolationMode = _Interpolation
        module.__getattr__ = _anything
        sys.modules[module.__name__] = module
        parent, _, child = module.__name__.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def _anything(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


if importlib.util.find_spec("torchvision") is None:
    _stand_in_for_torchvision()

import timm  # noqa: E402
import torch  # noqa: E402
from timm.layers import resample_abs_pos_embed  # noqa: E402

MODULES = {"stem": "bn1", "head": "bn2"}  # taps whose timm modules have other names


def _patch(name):
    return 14 if "dinov2" in name else 16


def create(name, size):
    """The network for images of a size; transformers are made with the grid of that size."""
    if name.startswith("cait"):
        # Of one size when created: the size, rounded up to whole patches.
        patch = _patch(name)
        return timm.create_model(name, img_size=tuple(-(-side // patch) * patch for side in size)).eval()
    if "dinov2" in name:
        return timm.create_model(name, img_size=size).eval()
    if name.startswith("deit"):
        return timm.create_model(name, dynamic_img_size=True, dynamic_img_pad=True).eval()
    return timm.create_model(name).eval()


def tensors(name):
    """Name and shape of every tensor of the network's state dict, counters of batches aside."""
    state = timm.create_model(name).state_dict()
    return {
        key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")
    }


def fill(model, shapes):
    """Fill the network by the rule, its position embeddings interpolated as timm does for another size."""
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key not in shapes:
                continue
            ours = torch.from_numpy(rule.tensor(key, shapes[key]))
            if ours.shape != value.shape:
                ours = _resampled(ours, model)
            value.copy_(ours)


def _resampled(embedding, model):
    """As timm does; of DINOv2 without registers, as its authors do in that case, and timm does not."""
    grid = model.patch_embed.grid_size
    if embedding.shape[1] != 1 + 37**2:
        return resample_abs_pos_embed(embedding, grid, num_prefix_tokens=0)
    maps = offset_positions(embedding[:, 1:], grid)
    return torch.cat([embedding[:, :1], maps.reshape(1, grid[0] * grid[1], -1)], 1)


def offset_positions(embedding, grid):
    """Position embeddings of 37 × 37 patches interpolated to a grid by that rule: [h, w, C]."""
    maps = embedding.reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    scales = tuple((length + 0.1) / 37 for length in grid)
    maps = torch.nn.functional.interpolate(maps, scale_factor=scales, mode="bicubic")
    assert maps.shape[2:] == tuple(grid)
    return maps[0].permute(1, 2, 0)


def run(model, name, size, taps):
    """The taps of the fixed image, each [h, w, C] or [classes], as NumPy arrays."""
    pixels = torch.from_numpy(rule.image(size)).permute(2, 0, 1)[None]
    patch = _patch(name)
    grid = tuple(-(-side // patch) for side in size)
    if name.startswith("cait"):
        pixels = torch.nn.functional.pad(pixels, (0, grid[1] * patch - size[1], 0, grid[0] * patch - size[0]))
    outputs, hooks = {}, []
    for tap in set(taps) - {"logits"}:
        module = model.get_submodule(MODULES.get(tap, tap.removesuffix(".norm")))
        hooks.append(module.register_forward_hook(_keep(outputs, tap, model, grid)))
    with torch.no_grad():
        outputs["logits"] = model(pixels)[0].numpy()
    for hook in hooks:
        hook.remove()
    return {tap: outputs[tap] for tap in taps}


def _keep(outputs, tap, model, grid):
    def hook(_module, _inputs, output):
        with torch.no_grad():
            if output.ndim == 4:
                outputs[tap] = output[0].permute(1, 2, 0).numpy().copy()
                return
            output = model.norm(output) if tap.endswith(".norm") else output
            patches = output[0, -grid[0] * grid[1] :]
            outputs[tap] = patches.reshape(*grid, -1).numpy().copy()

    return hook
