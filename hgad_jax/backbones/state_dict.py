"""Whether a state dict holds the tensors of a network: under which names, and what does not fit."""

from collections.abc import Collection, Mapping, Sequence

import ml_dtypes
import numpy as np

from hgad_jax.errors import UserError

State = Mapping[str, np.ndarray]
Shape = tuple[int, ...]

COUNTER = ".num_batches_tracked"  # of a batch normalisation; it means nothing for frozen weights


def naming(state: State, tensors: Mapping[str, dict[str, Shape]]) -> tuple[str, str | None]:
    """The publisher and the prefix with which most of the tensors are there; None if there are none.

    Of several that are as good, the averaged weights ("ema") are taken, as timm does, else the shortest.
    """
    found: dict[tuple[str, str], int] = {}
    for key in state:
        starts = [0, *(i + 1 for i, letter in enumerate(key) if letter == ".")]
        for dialect, names in tensors.items():
            for start in starts:
                if key[start:] in names:
                    pair = (dialect, key[:start])
                    found[pair] = found.get(pair, 0) + 1
    order = list(tensors)

    def fit(pair: tuple[str, str]) -> tuple:
        return found[pair], "ema" in pair[1].lower(), -len(pair[1]), -order.index(pair[0])

    return max(found, key=fit) if found else (order[0], None)


def misfits(
    state: State,
    needed: dict[str, Shape],
    expected: dict[str, Shape],
    known: Collection[str],
    strange: Collection[str] = (),
) -> tuple[list[str], list[str]]:
    """What is wrong with a state dict, and its tensors that are nobody's.

    Args:
      state: the state dict.
      needed: what must be there.
      expected: what must be right if it is there.
      known: names that may be there.
      strange: names by which it is known to be another network's.
    """
    counters = {f"{key.removesuffix('.running_var')}{COUNTER}" for key in known}
    problems = [f"missing: {key} {list(shape)}" for key, shape in needed.items() if key not in state]
    for key, shape in expected.items():
        if key in state:
            problems += _differences(key, state[key], shape)
    others = [key for key in state if key not in known and key not in counters]
    # Of a part that this network has: a deeper network's, of which it would be the beginning.
    parts = {key.partition(".")[0] for key in expected if "." in key}
    foreign = [key for key in others if key.partition(".")[0] in parts or key in strange]
    problems += [f"left over: {key} {list(state[key].shape)}" for key in foreign]
    return problems, [key for key in others if key not in foreign]


def misfit(problems: list[str], name: str, file: str, prefix: str = "") -> UserError:
    """The error that lists all that does not fit."""
    below = f" below {prefix.removesuffix('.')!r}" if prefix else ""
    return UserError(
        f"the weights in {file}{below} do not fit the backbone {name}, {len(problems)} of their tensors "
        "differ:\n  " + "\n  ".join(problems) + "\nPoint to weights of this backbone, with their names "
        "as published by timm or torchvision."
    )


def listed(names: list[str]) -> str:
    """The first five names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _differences(name: str, tensor: np.ndarray, shape: Sequence[int]) -> list[str]:
    differences = []
    if tensor.shape != tuple(shape):
        transposed = " (is it transposed?)" if sorted(tensor.shape) == sorted(shape) else ""
        differences.append(f"wrong shape: {name} {list(tensor.shape)}, expected {list(shape)}{transposed}")
    if not is_float(tensor):
        differences.append(f"wrong dtype: {name} {tensor.dtype}, expected a floating-point one")
    return differences


def is_float(tensor: np.ndarray) -> bool:
    """Whether a tensor holds floating-point numbers, bfloat16 included."""
    return tensor.dtype.kind == "f" or tensor.dtype == ml_dtypes.bfloat16
