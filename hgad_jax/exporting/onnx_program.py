"""A model as one ONNX program: from the pixels of the working square to scores and a map."""

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from hgad_jax.data.geometry import enlarged
from hgad_jax.data.tiles import tile_boxes
from hgad_jax.errors import UserError
from hgad_jax.exporting.primitives import plain
from hgad_jax.inference.scorer import Scorer, evidence_of
from hgad_jax.platforms import for_anywhere
from hgad_jax.runs.model import score_function
from hgad_jax.scoring.constants import of_classes
from hgad_jax.types import abstract_array

OPSET = 21
OUTPUTS = ("score", "map", "strangeness", "pieces", "class_id")
_NEEDED = ("jax2onnx", "onnx", "onnxruntime")


def need_packages() -> None:
    """Raises a `UserError` if what makes and runs ONNX is not installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--format=onnx needs {', '.join(missing)}, which is not installed: pip install 'hgad_jax[onnx]'"
        )


def program(scorer: Scorer) -> Callable[..., tuple[jax.Array, ...]]:
    """(uint8 `[B, W·d, W·d, 3]`, boxes int32 `[B, 4]`, class ids int32 `[B]` if given) → `OUTPUTS`."""
    look, of_evidence = (
        evidence_of(scorer.model, scorer.mode, scorer.transform),
        score_function(scorer.config),
    )
    transform, constants = scorer.transform, scorer.calibration.constants
    corners = [enlarged(box, transform.detail).slices for box in tile_boxes(transform)]

    def of_images(images, boxes, *class_ids):
        tiles = images
        if transform.tiles > 1:
            tiles = jnp.stack([images[:, rows, columns] for rows, columns in corners], axis=1)
            tiles = tiles.reshape(-1, *tiles.shape[2:])
        ids = jnp.repeat(class_ids[0], transform.num_tiles) if class_ids else None
        evidence = look(*scorer.weights, tiles, ids)
        own = of_classes(constants, evidence.class_ids)
        scores = of_evidence(evidence.log_likelihood, evidence.negative_entropy, own, boxes)
        class_id = evidence.class_ids[:: transform.num_tiles]
        return scores.image, scores.maps, scores.strangeness, scores.pieces, class_id

    return of_images


def converted(scorer: Scorer, count: int) -> Any:
    """The program as an ONNX model.

    Args:
      scorer: of the run; its mode says whether classes are an input.
      count: images at once, of each of its inputs and outputs.

    Raises:
      UserError: a part of the model cannot be written as ONNX.
    """
    transform = scorer.transform
    side = transform.working_size * transform.detail
    images = abstract_array(count, side, side, 3, dtype=np.uint8)
    inputs = {"images": images, "boxes": abstract_array(count, 4, dtype=np.int32)}
    if scorer.mode == "given":
        inputs["class_ids"] = abstract_array(count, dtype=np.int32)
    with for_anywhere():
        # jax2onnx puts functions of its own in the place of Flax's and jax's: after this there are none left.
        traced = plain(jax.make_jaxpr(program(scorer))(*inputs.values()))
    with _quiet():
        import jax2onnx

        try:
            return jax2onnx.to_onnx(
                jaxpr_as_fun(traced),
                list(inputs.values()),
                model_name="hgad_jax",
                opset=OPSET,
                input_names=list(inputs),
                output_names=list(OUTPUTS),
            )
        except Exception as error:  # jax2onnx has no type of its own for what it cannot carry
            raise UserError(
                f"This model cannot be written as ONNX: {type(error).__name__}: {error}. Nothing was "
                "written; hgad-jax export without --format=onnx carries every model."
            ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out what jax2onnx says, and is warned of, about packages and versions that we do not use."""
    logger = logging.getLogger("jax2onnx")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
