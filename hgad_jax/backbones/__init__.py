"""Pretrained backbones by timm's names: images in, feature maps out, nothing to train.

backbone = load("tf_efficientnet_lite0", taps=("blocks.2", "blocks.4", "blocks.6"))
maps = backbone.apply(backbone.variables, images)

`python -m hgad_jax.backbones list` prints every name; docs/backbones.md has the same table.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util
from jax import lax

from hgad_jax.backbones.catalogue import Constants, choose, warn_if_ambiguous
from hgad_jax.backbones.sources import is_file, read_weights
from hgad_jax.backbones.spec import Spec, Tap
from hgad_jax.backbones.weights import Params, abstract_params, convert, flat_params, random_params
from hgad_jax.backbones.winograd import with_ready_kernels
from hgad_jax.errors import UserError
from hgad_jax.platforms import by_platform

__all__ = ["Backbone", "Tap", "load"]

Maps = tuple[jax.Array, ...]
Apply = Callable[[Any, jax.Array], Maps]


class Backbone(NamedTuple):
    """A frozen network and what belongs to its weights.

    `apply(variables, images)` takes RGB images [B, H, W, 3] on the scale 0..255, uint8 or float, of any
    size, normalises them and returns float32 maps [B, h, w, C] in the order of the requested taps, with
    h = ceil(H / stride). It is pure, and jitted; it may be called inside other transformations. No gradient
    flows into the variables.
    """

    name: str  # timm's
    taps: dict[str, Tap]  # every feature map there is, first to last, not only the requested ones
    mean: tuple[float, float, float]  # of the normalisation (image − mean) / std, on the scale 0..255
    std: tuple[float, float, float]
    weights_hash: str  # SHA-256 of the weights file in hexadecimal, or "random:<seed>"
    variables: dict[str, Any]  # the parameters of the layers up to the last requested tap
    apply: Apply


def load(
    name: str,
    *,
    taps: Sequence[str],
    source: str | Path = "auto",
    seed: int = 0,
    dtype: str = "float32",
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
) -> Backbone:
    """Load a backbone with its weights; nothing is downloaded and nothing in the weights file is run.

    Args:
      name: timm's name, such as "tf_efficientnet_lite0" or "wide_resnet50_2.tv_in1k".
      taps: the maps to return, such as ("blocks.2", "blocks.4", "blocks.6"); highest resolution first by
        convention. "logits" is allowed too and gives [B, classes] before the softmax.
      source: "package" for the ImageNet weights of the Python package that carries them, verified by their
        SHA-256; "cache" for what `python -m hgad_jax.backbones fetch NAME` has stored; "auto" for the
        package where there is one and the cache elsewhere; the path of a state dict, `.safetensors` or
        `.pth`, with timm's or torchvision's names, or a training script's checkpoint that holds one; or
        "random", for tests.
      seed: of the random weights, not used otherwise.
      dtype: of the kernels and of what is multiplied by them, "float32" or "bfloat16"; all else, the maps
        included, is float32.
      mean: of the normalisation, on the scale 0..255, in place of what the weights were trained with.
      std: likewise.

    Returns:
      The backbone, with its parameters on the default device.

    Raises:
      UserError: unknown backbone, tap or dtype; weights missing, damaged, altered or of another network.

    Warns:
      UserWarning: the name has no tag, no file was given, and it means other weights than the papers used; or
        a file holds tensors that are not used.
    """
    choice = choose(name)
    spec = choice.entry.build()
    _check_taps(name, taps, spec)
    if dtype not in ("float32", "bfloat16"):
        raise UserError(f"unknown dtype {dtype!r} for the backbone {name}; expected 'float32' or 'bfloat16'")
    needed = abstract_params(spec, tuple(taps))
    if source == "random":
        params, weights_hash = random_params(needed, seed), f"random:{seed}"
    else:
        if not is_file(source):
            warn_if_ambiguous(choice)
        weights = read_weights(choice, source)
        params = convert(weights.state, spec, needed, name=name, file=str(weights.path))
        weights_hash = weights.sha256
    mean, std = mean or choice.constants[0], std or choice.constants[1]
    return Backbone(
        name=name,
        taps=spec.taps,
        mean=mean,
        std=std,
        weights_hash=weights_hash,
        variables={"params": on_device(params, dtype)},
        apply=apply_function(spec, tuple(taps), (mean, std)),
    )


def _check_taps(name: str, taps: Sequence[str], spec: Spec) -> None:
    unknown = [tap for tap in taps if tap != "logits" and spec.tap(tap) is None]
    if unknown or not taps:
        found = f"unknown taps {', '.join(map(repr, unknown))}" if unknown else "no taps"
        means = "; and the mean of blocks in ascending order, such as blocks.2+3+4" if spec.means else ""
        known = ", ".join([*spec.taps, "logits"])
        raise UserError(f"{found} for backbone {name}; possible taps: {known}{means}")


def on_device(params: Params, dtype: str) -> Params:
    """Put parameters on the default device, kernels in the given dtype and others in float32."""

    def put(path: tuple[str, ...], leaf: Any) -> jax.Array:
        return jnp.asarray(leaf, dtype if path[-1] == "kernel" else jnp.float32)

    flat = flat_params(params)
    return traverse_util.unflatten_dict({path: put(path, leaf) for path, leaf in flat.items()})


def apply_function(spec: Spec, taps: tuple[str, ...], constants: Constants) -> Apply:
    """Make normalisation and network one jitted function, on CPU image by image where that is faster."""
    network = spec.network(taps)

    def apply(variables: Any, images: jax.Array) -> Maps:
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"expected RGB images [B, H, W, 3], got an array of shape {images.shape}")
        shift, scale = (jnp.asarray(value, jnp.float32)[None, None, None] for value in constants)
        normalised = (images.astype(jnp.float32) - shift) / scale
        # A cast, here and below, since Flax has the type of modules that change their variables, too.
        at_once = cast(Apply, network.apply)
        on_cpu = on_cpu_in_turn if spec.image_by_image else at_once
        variables = lax.stop_gradient(variables)
        return by_platform(variables, normalised, cpu=on_cpu, default=at_once)

    def one_by_one(network: nn.Module, variables: Any, images: jax.Array) -> Maps:
        # The maps of one image stay in the processor's cache from layer to layer, those of a batch do not.
        maps = lax.map(lambda image: network.apply(variables, image[None]), images)
        return tuple(each.squeeze(1) for each in maps)

    def on_cpu_in_turn(variables: Any, images: jax.Array) -> Maps:
        variables = with_ready_kernels(variables)
        names, until = list(spec.taps), spec.until
        first = names[: names.index(until) + 1] if until else [*names, "logits"]
        late = tuple(tap for tap in taps if tap not in first)
        if not until or not late:
            return one_by_one(network, variables, images)
        early = tuple(dict.fromkeys([*(tap for tap in taps if tap in first), until]))
        found = dict(zip(early, one_by_one(spec.network(early), variables, images), strict=True))
        rest = cast(Apply, spec.network(late, until).apply)(variables, found[until])
        found |= zip(late, rest, strict=True)
        return tuple(found[tap] for tap in taps)

    return jax.jit(apply)
