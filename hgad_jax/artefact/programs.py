"""The compiled-once programs of an artefact: found by name, made ready when they are first used.

A program is of a fixed number of images. Any number is cut into such batches, the last one filled up.
"""

import functools
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.export
import numpy as np

from hgad_jax.errors import UserError
from hgad_jax.scoring.scored import Scored, Scores
from hgad_jax.types import Array

SCORES = "scores"  # (constants, maps, class ids, boxes) → scores


def evidence_kind(mode: str) -> str:
    """Name of the program that gives the evidence, by where an image's class comes from."""
    return f"evidence_{mode}"


def file_of(kind: str, images: int) -> str:
    """Name of a program's file."""
    return f"programs/{kind}_{images}.jax_export"


def platform() -> str:
    """What jax computes on here, as an export names it: cpu, cuda, rocm or tpu."""
    device = jax.devices()[0]
    if device.platform != "gpu":
        return device.platform
    return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"


def refuse_other_platform(platforms: Sequence[str], place: str) -> None:
    """Raises a `UserError` if an artefact was not exported for what jax computes on here."""
    if platform() not in platforms:
        raise UserError(
            f"{place} was exported for {', '.join(platforms)}, and jax computes on {platform()} here. Export "
            f"the run with --platforms={','.join([*platforms, platform()])}, or let jax compute on what it "
            f"was exported for: JAX_PLATFORMS={platforms[0]} in the environment."
        )


def need_flatbuffers(remedy: str) -> None:
    """Raises a `UserError` with what to do if what jax writes and reads programs with is not installed."""
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError(
            f"To write or read an exported program, jax needs the package flatbuffers, which is not there: "
            f"{remedy}"
        )


def batches(count: int, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """How `count` images are cut up: (first image, images of the program) of each batch.

    A batch is filled up where that costs less than half of it; images that are left go through in smaller
    ones.
    """
    found, start = [], 0
    while start < count:
        left = count - start
        size = max(s for s in sizes if s == min(sizes) or 2 * left > s)
        found.append((start, size))
        start += size
    return found


def scoring_function(
    files: Mapping[str, bytes],
    place: str,
    *,
    sizes: Sequence[int],
    tiles: int,
    weights: Sequence[Array],
    constants: Sequence[Array],
) -> Callable[[str, np.ndarray, np.ndarray | None, np.ndarray], Scored]:
    """(mode, uint8 images `[B·tiles, S, S, 3]`, class ids `[B·tiles]` or None, boxes `[B, 4]`) → `Scored`.

    Args:
      files: of the artefact.
      place: of the artefact, for messages.
      sizes: images of the programs that there are.
      tiles: of an image.
      weights: what the programs of the evidence take first.
      constants: what the programs of the scores take first.
    """
    weights, constants = jax.device_put((list(weights), list(constants)))

    @functools.cache
    def program(kind: str, images: int) -> Callable:
        return jax.jit(_exported(files[file_of(kind, images)], place).call)

    def of_batch(size: int, mode: str, images, class_ids, boxes) -> tuple[Any, ...]:
        given = () if class_ids is None else (class_ids,)
        kind = evidence_kind("given" if given else mode)
        likelihood, entropy, class_log_prob, class_ids = program(kind, size)(weights, images, *given)
        scores = program(SCORES, size)(constants, likelihood, entropy, class_ids, boxes)
        return scores, class_ids, class_log_prob

    def scored(mode: str, images, class_ids, boxes) -> Scored:
        parts = []
        for start, size in batches(len(boxes), sizes):
            chosen = np.minimum(np.arange(start, start + size), len(boxes) - 1)
            rows = (chosen[:, None] * tiles + np.arange(tiles)).reshape(-1)
            ids = None if class_ids is None else class_ids[rows]
            parts.append(jax.device_get(of_batch(size, mode, images[rows], ids, boxes[chosen])))
        lengths = len(boxes), len(images)
        scores, *of_rows = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        cut = {name: array[: lengths[0]] for name, array in scores.items()}
        return Scored(Scores(**cut), *(array[: lengths[1]] for array in of_rows))

    return scored


def _exported(content: bytes, place: str) -> jax.export.Exported:
    try:
        return jax.export.deserialize(bytearray(content))
    except Exception as error:  # what jax does not read of another version has no type of its own
        raise UserError(
            f"{place}: jax {jax.__version__} does not read its programs ({error}). Install the version of "
            "jax that its MODEL_CARD.md names, or export the run again."
        ) from error
