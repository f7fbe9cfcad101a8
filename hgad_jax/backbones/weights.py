"""PyTorch weights of an EfficientNet -> Flax parameters, batch normalisation folded into convolutions.

Parameters are named after the modules of `efficientnet.py`; weights after the PyTorch implementation that the
published Lite files were saved from (`_conv_stem`, `_blocks.3._bn1`, ...), which counts blocks through.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from hgad_jax.backbones.efficientnet import Architecture, EfficientNet
from hgad_jax.errors import UserError

BATCH_NORM_EPSILON = 1e-3
_BATCH_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")

Params = dict[str, Any]  # a nested dict of arrays, as Flax has it


class Layer(NamedTuple):
    """One convolution or linear layer, by its names on both sides."""

    path: tuple[str, ...]  # in the Flax tree, above "kernel" and "bias"
    weight: str  # in the state dict, before ".weight"
    norm: str | None  # the batch normalisation to fold in; None: the layer has a bias of its own


def layers(architecture: Architecture) -> Iterator[Layer]:
    """List every layer that has weights, first to last."""
    yield Layer(("stem",), "_conv_stem", "_bn0")
    number = 0
    for index, stage in enumerate(architecture.stages):
        for repeat in range(stage.repeats):
            path, block = f"blocks_{index}_{repeat}", f"_blocks.{number}"
            if stage.expansion > 1:
                yield Layer((path, "expand"), f"{block}._expand_conv", f"{block}._bn0")
            yield Layer((path, "depthwise"), f"{block}._depthwise_conv", f"{block}._bn1")
            yield Layer((path, "project"), f"{block}._project_conv", f"{block}._bn2")
            number += 1
    yield Layer(("head",), "_conv_head", "_bn1")
    yield Layer(("logits",), "_fc", None)


def abstract_params(architecture: Architecture, taps: tuple[str, ...]) -> Params:
    """Infer the shapes of the parameters that the taps need, without running anything."""
    network = EfficientNet(architecture, taps)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    return jax.eval_shape(network.init, jax.eval_shape(jax.random.key, 0), image)["params"]


def random_params(abstract: Params, seed: int) -> Params:
    """Draw parameters of the given shapes, for tests: kernels He-normal (by fan-in), biases zero."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
        if path[-1] == "bias":
            return np.zeros(shape, np.float32)
        return (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))).astype(np.float32)

    flat = traverse_util.flatten_dict(abstract)
    return traverse_util.unflatten_dict({path: draw(path, leaf.shape) for path, leaf in flat.items()})


def convert(
    state: Mapping[str, np.ndarray], architecture: Architecture, abstract: Params, *, file: str
) -> Params:
    """Convert a state dict, and check that it is the whole network and nothing else.

    Args:
      state: the state dict, name -> array.
      architecture: what the weights are meant for.
      abstract: the shapes of all its parameters, from `abstract_params` up to the logits.
      file: where the state dict came from, for messages.

    Returns:
      Float32 parameters, NumPy arrays in a tree of the same structure as `abstract`.

    Raises:
      UserError: tensors are missing, left over or of another shape; the message lists all of them.
    """
    kernels = traverse_util.flatten_dict(abstract)
    shapes = {layer: kernels[*layer.path, "kernel"].shape for layer in layers(architecture)}
    _check(state, shapes, file)
    params = {}
    for layer, shape in shapes.items():
        kernel, bias = _folded(state, layer)
        params[*layer.path, "kernel"] = _to_flax(kernel, shape).astype(np.float32)
        params[*layer.path, "bias"] = bias.astype(np.float32)
    return traverse_util.unflatten_dict(params)


def _folded(state: Mapping[str, np.ndarray], layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Fold the normalisation in; returns the weight in PyTorch's layout and the bias, in float64."""
    weight = state[f"{layer.weight}.weight"].astype(np.float64)
    if layer.norm is None:
        return weight, state[f"{layer.weight}.bias"].astype(np.float64)
    gamma, beta, mean, variance = (
        state[f"{layer.norm}.{name}"].astype(np.float64) for name in _BATCH_NORM_TENSORS
    )
    scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    return weight * scale[:, None, None, None], beta - mean * scale


def _to_flax(weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[O, I, k, l] -> [k, l, I, O], and [O, I] -> [I, O]; axes of length 1 that Flax lacks are dropped."""
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T).reshape(shape)


def _expected(shapes: dict[Layer, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor that a complete state dict has (counters of batches aside)."""
    expected = {}
    for layer, shape in shapes.items():
        expected[f"{layer.weight}.weight"] = _torch_shape(layer, shape)
        if layer.norm is None:
            expected[f"{layer.weight}.bias"] = shape[-1:]
        else:
            expected |= {f"{layer.norm}.{name}": shape[-1:] for name in _BATCH_NORM_TENSORS}
    return expected


def _torch_shape(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    match shape:
        case (height, width, inputs, outputs):
            return (outputs, inputs, height, width)
        case (height, width, channels):
            return (channels, 1, height, width)
        case (inputs, outputs):
            return (outputs, inputs) if layer.norm is None else (outputs, inputs, 1, 1)
    raise ValueError(f"no layer has a kernel of shape {shape}")


def _check(state: Mapping[str, np.ndarray], shapes: dict[Layer, tuple[int, ...]], file: str) -> None:
    expected = _expected(shapes)
    counters = {f"{layer.norm}.num_batches_tracked" for layer in shapes if layer.norm}
    problems = [f"missing: {name} {list(shape)}" for name, shape in expected.items() if name not in state]
    problems += [
        f"left over: {name} {list(state[name].shape)}"
        for name in state
        if name not in expected and name not in counters
    ]
    problems += [
        f"wrong shape: {name} {list(state[name].shape)}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in state and state[name].shape != shape
    ]
    if problems:
        raise UserError(
            f"the weights in {file} do not fit the backbone, {len(problems)} of their tensors differ:\n  "
            + "\n  ".join(problems)
            + "\nPoint to weights of this backbone, with their names as published."
        )
