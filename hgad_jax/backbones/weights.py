"""PyTorch weights -> Flax parameters, batch normalisation folded into convolutions.

Each family lists the `Part`s of its networks: where they are in the Flax tree and what their tensors are
called in a state dict. The shapes that a state dict must have follow from the Flax modules.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from flax import traverse_util

from hgad_jax.backbones.spec import Spec
from hgad_jax.errors import UserError

_STATISTICS = ("running_mean", "running_var")
_BATCH_NORM_TENSORS = ("weight", "bias", *_STATISTICS)
_COUNTER = ".num_batches_tracked"  # of a batch normalisation; it means nothing for frozen weights

Params = dict[str, Any]  # a nested dict of arrays, as Flax has it
Path = tuple[str, ...]  # in the Flax tree
State = Mapping[str, np.ndarray]
Shape = tuple[int, ...]


class Part(Protocol):
    """Some neighbouring leaves of the Flax tree and the tensors that they are made of."""

    @property
    def leaves(self) -> tuple[Path, ...]:
        """The leaves."""

    def tensors(self, shapes: Mapping[Path, Shape]) -> dict[str, Shape]:
        """Name and shape of every tensor, given the shapes of all leaves."""

    def convert(self, state: State) -> tuple[np.ndarray, ...]:
        """The leaves' values up to their shapes, in their order."""


class Folded(NamedTuple):
    """A convolution without a bias and the batch normalisation after it -> kernel and bias."""

    path: Path
    weight: str
    norm: str
    epsilon: float

    @property
    def leaves(self) -> tuple[Path, ...]:  # noqa: D102
        return (*self.path, "kernel"), (*self.path, "bias")

    def tensors(self, shapes: Mapping[Path, Shape]) -> dict[str, Shape]:  # noqa: D102
        kernel = shapes[self.leaves[0]]
        return {f"{self.weight}.weight": _torch_shape(kernel, 4)} | _norm_tensors(self.norm, kernel[-1:])

    def convert(self, state: State) -> tuple[np.ndarray, ...]:  # noqa: D102
        scale, bias = _scale_and_bias(state, self.norm, self.epsilon)
        weight = state[f"{self.weight}.weight"].astype(np.float64)
        return _to_flax(weight * scale[:, None, None, None]), bias


class Biased(NamedTuple):
    """A linear layer or convolution with a bias of its own -> kernel and bias."""

    path: Path
    weight: str
    rank: int = 2  # of the weight in the state dict: 4 for a convolution, even of kernel 1

    @property
    def leaves(self) -> tuple[Path, ...]:  # noqa: D102
        return (*self.path, "kernel"), (*self.path, "bias")

    def tensors(self, shapes: Mapping[Path, Shape]) -> dict[str, Shape]:  # noqa: D102
        kernel = shapes[self.leaves[0]]
        return {f"{self.weight}.weight": _torch_shape(kernel, self.rank), f"{self.weight}.bias": kernel[-1:]}

    def convert(self, state: State) -> tuple[np.ndarray, ...]:  # noqa: D102
        return _to_flax(state[f"{self.weight}.weight"]), state[f"{self.weight}.bias"]


class Kernel(NamedTuple):
    """A convolution without a bias -> kernel."""

    path: Path
    weight: str

    @property
    def leaves(self) -> tuple[Path, ...]:  # noqa: D102
        return ((*self.path, "kernel"),)

    def tensors(self, shapes: Mapping[Path, Shape]) -> dict[str, Shape]:  # noqa: D102
        return {f"{self.weight}.weight": _torch_shape(shapes[self.leaves[0]], 4)}

    def convert(self, state: State) -> tuple[np.ndarray, ...]:  # noqa: D102
        return (_to_flax(state[f"{self.weight}.weight"]),)


class Norm(NamedTuple):
    """A batch normalisation -> scale and bias."""

    path: Path
    norm: str
    epsilon: float

    @property
    def leaves(self) -> tuple[Path, ...]:  # noqa: D102
        return (*self.path, "scale"), (*self.path, "bias")

    def tensors(self, shapes: Mapping[Path, Shape]) -> dict[str, Shape]:  # noqa: D102
        return _norm_tensors(self.norm, shapes[self.leaves[0]])

    def convert(self, state: State) -> tuple[np.ndarray, ...]:  # noqa: D102
        return _scale_and_bias(state, self.norm, self.epsilon)


class Copied(NamedTuple):
    """A tensor that is the same on both sides."""

    path: Path
    name: str

    @property
    def leaves(self) -> tuple[Path, ...]:  # noqa: D102
        return (self.path,)

    def tensors(self, shapes: Mapping[Path, Shape]) -> dict[str, Shape]:  # noqa: D102
        return {self.name: shapes[self.path]}

    def convert(self, state: State) -> tuple[np.ndarray, ...]:  # noqa: D102
        return (state[self.name],)


def layer_norm(path: Path, name: str) -> Iterator[Part]:
    """The two parts of a layer normalisation."""
    yield Copied((*path, "scale"), f"{name}.weight")
    yield Copied((*path, "bias"), f"{name}.bias")


def _norm_tensors(norm: str, shape: Shape) -> dict[str, Shape]:
    return {f"{norm}.{name}": shape for name in _BATCH_NORM_TENSORS}


def _scale_and_bias(state: State, norm: str, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """What the normalisation does to its input, in float64."""
    gamma, beta, mean, variance = (state[f"{norm}.{name}"].astype(np.float64) for name in _BATCH_NORM_TENSORS)
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def _to_flax(weight: np.ndarray) -> np.ndarray:
    """[O, I, k, l] -> [k, l, I, O], and [O, I] -> [I, O]."""
    return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T


def _torch_shape(kernel: Shape, rank: int) -> Shape:
    match kernel:
        case (height, width, inputs, outputs):
            return (outputs, inputs, height, width)
        case (height, width, channels):
            return (channels, 1, height, width)
        case (inputs, outputs):
            return (outputs, inputs, 1, 1)[:rank]
    raise ValueError(f"no layer has a kernel of shape {kernel}")


def abstract_params(spec: Spec, taps: tuple[str, ...]) -> Params:
    """Infer the shapes of the parameters that the taps need, without running anything."""
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    return jax.eval_shape(spec.network(taps).init, jax.eval_shape(jax.random.key, 0), image)["params"]


def random_params(abstract: Params, seed: int) -> Params:
    """Draw parameters of the given shapes, for tests: each by its path and the seed.

    Kernels are He-normal (by fan-in), biases zero, scales one, and what scales a residual branch 0.1.
    """

    def draw(path: Path, shape: Shape) -> np.ndarray:
        name = "/".join(path)
        if path[-1] in ("bias", "scale", "gamma1", "gamma2"):
            value = {"bias": 0.0, "scale": 1.0}.get(path[-1], 0.1)
            return np.full(shape, value, np.float32)
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8]))
        deviation = np.sqrt(2 / math.prod(shape[:-1])) if path[-1] == "kernel" else 0.02
        return rng.standard_normal(shape, np.float32) * np.float32(deviation)

    flat = traverse_util.flatten_dict(abstract)
    return traverse_util.unflatten_dict({path: draw(path, leaf.shape) for path, leaf in flat.items()})


def expected_tensors(spec: Spec, dialect: str) -> dict[str, Shape]:
    """Name -> shape of every tensor that a complete state dict has (counters of batches aside)."""
    return _tensors(spec, dialect, _whole(spec))


def _whole(spec: Spec) -> dict[Path, Shape]:
    """Shapes of all parameters of the network."""
    return _shapes(abstract_params(spec, ("logits", *spec.taps)))


def _tensors(spec: Spec, dialect: str, shapes: dict[Path, Shape]) -> dict[str, Shape]:
    return {name: shape for part in spec.dialects[dialect]() for name, shape in part.tensors(shapes).items()}


def parameter_count(spec: Spec) -> int:
    """Number of the whole network's learned parameters, classifier included, as timm counts them."""
    tensors = expected_tensors(spec, next(iter(spec.dialects)))
    return sum(math.prod(shape) for name, shape in tensors.items() if not name.endswith(_STATISTICS))


def convert(state: State, spec: Spec, abstract: Params, *, name: str, file: str) -> Params:
    """Convert a state dict, and check that it is the whole network and nothing else.

    Args:
      state: the state dict, name -> array.
      spec: what the weights are meant for.
      abstract: the shapes of the parameters that are wanted, from `abstract_params`.
      name: of the backbone, for messages.
      file: where the state dict came from, for messages.

    Returns:
      Float32 parameters, NumPy arrays in a tree of the same structure as `abstract`.

    Raises:
      UserError: tensors are missing, left over, or of another shape or dtype, be they wanted or not; the
        message lists all of them.
    """
    whole = _whole(spec)
    tensors = {dialect: _tensors(spec, dialect, whole) for dialect in spec.dialects}
    # That with the most names in common; the first one if there are none at all.
    dialect = max(tensors, key=lambda d: len(state.keys() & tensors[d].keys()))
    _check(state, tensors[dialect], name, file)
    shapes, params = _shapes(abstract), {}
    for part in spec.dialects[dialect]():
        if part.leaves[0] in shapes:
            for leaf, value in zip(part.leaves, part.convert(state), strict=True):
                params[leaf] = np.ascontiguousarray(value, np.float32).reshape(shapes[leaf])
    return traverse_util.unflatten_dict(params)


def _shapes(abstract: Params) -> dict[Path, Shape]:
    return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(abstract).items()}


def _check(state: State, expected: dict[str, Shape], name: str, file: str) -> None:
    counters = {f"{key.removesuffix('.running_var')}{_COUNTER}" for key in expected}
    problems = [f"missing: {key} {list(shape)}" for key, shape in expected.items() if key not in state]
    problems += [
        f"left over: {key} {list(state[key].shape)}"
        for key in state
        if key not in expected and key not in counters
    ]
    for key, shape in expected.items():
        if key in state:
            problems += _differences(key, state[key], shape)
    if problems:
        raise UserError(
            f"the weights in {file} do not fit the backbone {name}, {len(problems)} of their tensors "
            "differ:\n  " + "\n  ".join(problems) + "\nPoint to weights of this backbone, with their names "
            "as published by timm or torchvision."
        )


def _differences(name: str, tensor: np.ndarray, shape: Sequence[int]) -> list[str]:
    differences = []
    if tensor.shape != tuple(shape):
        transposed = " (is it transposed?)" if sorted(tensor.shape) == sorted(shape) else ""
        differences.append(f"wrong shape: {name} {list(tensor.shape)}, expected {list(shape)}{transposed}")
    if tensor.dtype != np.float32:
        differences.append(f"wrong dtype: {name} {tensor.dtype}, expected float32")
    return differences
