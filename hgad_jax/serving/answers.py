"""Predictions as JSON."""

import base64
import io
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from hgad_jax.data.geometry import Transform, map_to_image
from hgad_jax.inference.heatmap import layer, shown_size
from hgad_jax.inference.prediction_files import contours, png16
from hgad_jax.inference.predictor import Decided, Prediction


class Wanted(NamedTuple):
    """What is asked for besides scores."""

    heatmap: bool = False
    map: bool = False
    contours: bool = False


def plain_value(value: Any) -> Any:
    """A value as JSON has it: numbers that are not finite become null, what is a tuple by names an object."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if hasattr(value, "_asdict"):
        return plain_value(value._asdict())
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    return value


def fields(prediction: Prediction) -> dict[str, Any]:
    """All that a prediction says, but for arrays, which are asked for: also what later versions add to it."""
    said = {name: value for name, value in prediction._asdict().items() if not isinstance(value, np.ndarray)}
    said["regions"] = [
        {name: value for name, value in region._asdict().items() if name not in ("outline", "holes")}
        for region in prediction.regions
    ]
    decision = "anomalous" if prediction.anomalous else "good"
    return {"decision": decision} | plain_value(said)


def pictures(decided: Decided, size: tuple[int, int], transform: Transform, wanted: Wanted) -> dict[str, Any]:
    """The heat map, the map and the outlines of an image, as far as they are wanted.

    Args:
      decided: its map lies over the working square.
      size: height and width of the image, pixels.
      transform: of the model.
      wanted: which of them.
    """
    found: dict[str, Any] = {}
    if wanted.heatmap or wanted.map:
        shown = shown_size(size)
        values = map_to_image(decided.prediction.map, transform, shown)
        if wanted.heatmap:
            found["heatmap"] = _png(layer(values, decided.pixel_threshold), shown)
        if wanted.map:
            found["map"] = _png(png16(values, decided), shown)
    if wanted.contours:
        found["contours"] = plain_value(contours(size, decided))
    return found


def _png(image: Image.Image, size: tuple[int, int]) -> dict[str, Any]:
    file = io.BytesIO()
    image.save(file, "PNG")
    return {"height": size[0], "width": size[1], "png": base64.b64encode(file.getvalue()).decode("ascii")}
