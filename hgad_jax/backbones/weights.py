"""PyTorch weights -> Flax parameters, batch normalisation folded into convolutions.

Each family lists the `Part`s of its networks: where they are in the Flax tree and what their tensors are
called in a state dict. The shapes that a state dict must have follow from the Flax modules.
"""

import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from flax import traverse_util

from hgad_jax.backbones.spec import Spec
from hgad_jax.backbones.state_dict import Shape, State, is_float, listed, misfit, misfits, naming
from hgad_jax.errors import UserError

_STATISTICS = ("running_mean", "running_var")
_BATCH_NORM_TENSORS = ("weight", "bias", *_STATISTICS)

Params = dict[str, Any]  # a nested dict of arrays, as Flax has it
Path = tuple[str, ...]  # in the Flax tree


class Part(Protocol):
    """Some neighbouring leaves of the Flax tree and the tensors that they are made of."""

    @property
    def leaves(self) -> tuple[Path, ...]:
        """The leaves."""
        ...

    def tensors(self, shapes: Mapping[Path, Shape]) -> dict[str, Shape]:
        """Name and shape of every tensor, given the shapes of all leaves."""
        ...

    def convert(self, state: State) -> tuple[np.ndarray, ...]:
        """The leaves' values up to their shapes, in their order."""
        ...


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
    side = spec.multiple if spec.multiple > 1 else 32
    image = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    return jax.eval_shape(spec.network(taps).init, jax.eval_shape(jax.random.key, 0), image)["params"]


def flat_params(params: Params) -> dict[Path, Any]:
    """The leaves by their paths."""
    return traverse_util.flatten_dict(params)


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

    flat = flat_params(abstract)
    return traverse_util.unflatten_dict({path: draw(path, leaf.shape) for path, leaf in flat.items()})


def expected_tensors(spec: Spec, dialect: str) -> dict[str, Shape]:
    """Name -> shape of every tensor that a complete state dict has (counters of batches aside)."""
    return _tensors(spec, dialect, _whole(spec))


def _whole(spec: Spec) -> dict[Path, Shape]:
    """Shapes of all parameters of the network."""
    return _shapes(abstract_params(spec, ("logits", *spec.taps)))


def _tensors(spec: Spec, dialect: str, shapes: dict[Path, Shape]) -> dict[str, Shape]:
    """Name -> shape of every tensor that leaves of these shapes are made of."""
    parts = (part for part in spec.dialects[dialect]() if part.leaves[0] in shapes)
    return {name: shape for part in parts for name, shape in part.tensors(shapes).items()}


def _names(spec: Spec, dialect: str) -> set[str]:
    """Names of all tensors of the network; those do not depend on shapes."""
    parts = spec.dialects[dialect]()
    any_shape = {leaf: (1, 1) for part in parts for leaf in part.leaves}
    return {name for part in parts for name in part.tensors(any_shape)}


def parameter_count(spec: Spec) -> int:
    """Number of the whole network's learned parameters, classifier included, as timm counts them."""
    tensors = expected_tensors(spec, next(iter(spec.dialects)))
    return sum(math.prod(shape) for name, shape in tensors.items() if not name.endswith(_STATISTICS))


def convert(state: State, spec: Spec, abstract: Params, *, name: str, file: str) -> Params:
    """Convert the tensors that are wanted out of a state dict.

    They may be below any prefix, such as `module.` or `state_dict_ema.`, and of any floating-point type. What
    lies behind the last tap (a classifier) is not looked at.

    Args:
      state: the state dict, name -> array.
      spec: what the weights are meant for.
      abstract: the shapes of the parameters that are wanted, from `abstract_params`.
      name: of the backbone, for messages.
      file: where the state dict came from, for messages.

    Returns:
      Float32 parameters, NumPy arrays in a tree of the same structure as `abstract`.

    Raises:
      UserError: wanted tensors are missing, or tensors of the network's body are of another shape, no
        floating-point numbers, or such as this network has not; the message lists all of them.

    Warns:
      UserWarning: there are tensors that belong neither to the network nor to what is not looked at.
    """
    wanted = _shapes(abstract)
    body = _shapes(abstract_params(spec, tuple(spec.taps))) | wanted
    tensors = {dialect: _tensors(spec, dialect, body) for dialect in spec.dialects}
    dialect, prefix = naming(state, tensors)
    needed, expected = _tensors(spec, dialect, wanted), tensors[dialect]
    if prefix is None:
        raise UserError(
            f"{file} holds no weights of the backbone {name}: found {listed(list(state))}; expected "
            f"{listed(list(needed))}, with or without a prefix. Point to weights of this backbone, "
            "with their names as published by timm or torchvision."
        )
    below = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    known = _names(spec, dialect) | spec.unused
    problems, others = misfits(below, needed, expected, known, spec.strange)
    if problems:
        raise misfit(problems, name, file, prefix)
    if others:
        warnings.warn(
            f"{file} holds tensors that the backbone {name} has not, and they are not used: "
            f"{listed([f'{prefix}{key}' for key in others])}",
            stacklevel=3,
        )
    return _converted(below, spec.dialects[dialect](), wanted)


def check_whole(state: State, spec: Spec, *, name: str, file: str) -> None:
    """Check that a state dict is the whole network as it was published, and nothing else.

    Raises:
      UserError: tensors are missing, left over, or of another shape or dtype; the message lists all of them.
    """
    whole = _whole(spec)
    tensors = {dialect: _tensors(spec, dialect, whole) for dialect in spec.dialects}
    dialect, _ = naming(state, tensors)
    expected = tensors[dialect]
    problems, others = misfits(state, expected, expected, {*expected, *spec.unused})
    problems += [f"left over: {key} {list(state[key].shape)}" for key in others]
    problems += [
        f"wrong dtype: {key} {state[key].dtype}, expected float32"
        for key in expected
        if key in state and is_float(state[key]) and state[key].dtype != np.float32
    ]
    if problems:
        raise misfit(problems, name, file)


def _converted(state: State, parts: Sequence[Part], shapes: dict[Path, Shape]) -> Params:
    params = {}
    for part in parts:
        if part.leaves[0] in shapes:
            for leaf, value in zip(part.leaves, part.convert(state), strict=True):
                params[leaf] = np.ascontiguousarray(value, np.float32).reshape(shapes[leaf])
    return traverse_util.unflatten_dict(params)


def _shapes(abstract: Params) -> dict[Path, Shape]:
    return {path: leaf.shape for path, leaf in flat_params(abstract).items()}
