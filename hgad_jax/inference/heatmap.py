"""Heat maps over images, on one colour scale for all images of a run, anchored at the threshold."""

import numpy as np
from PIL import Image, ImageDraw

from hgad_jax.scoring.threshold import Threshold

LONGEST_SIDE = 1024  # pixels of an overlay; larger images are shown smaller

# Anomaly in units where a typical good pixel is 0 and the threshold 1 → colour (RGB) and opacity.
_STOPS = np.array([0.5, 1.0, 2.0, 4.0])
_COLOURS = np.array([[255, 245, 160], [255, 180, 40], [225, 30, 30], [110, 0, 90]])
_OPACITY = np.array([0.0, 0.35, 0.6, 0.75])
_LEAST_SCALE = 1e-6


def relative(values: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Pixel scores in units where a typical good pixel is 0 and the threshold 1."""
    return (values - threshold.typical) / max(threshold.value - threshold.typical, _LEAST_SCALE)


def overlay(pixels: np.ndarray, values: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Colours where pixel scores are near or above the threshold; the rest of the image is left as it is.

    Args:
      pixels: uint8 `[h, w, 3]`.
      values: pixel scores `[h, w]`; NaN is not coloured.
      threshold: of pixel scores.

    Returns:
      uint8 `[h, w, 3]`.
    """
    colours, opacity = _coloured(values, threshold)
    return np.rint((1 - opacity) * pixels + opacity * colours).astype(np.uint8)


def layer(values: np.ndarray, threshold: Threshold) -> Image.Image:
    """The same colours by themselves, transparent where the image is left as it is, to lay over it.

    Args:
      values: pixel scores `[h, w]`; NaN is not coloured.
      threshold: of pixel scores.

    Returns:
      A Pillow image "RGBA".
    """
    colours, opacity = _coloured(values, threshold)
    return Image.fromarray(np.rint(np.concatenate([colours, 255 * opacity], axis=-1)).astype(np.uint8))


def _coloured(values: np.ndarray, threshold: Threshold) -> tuple[np.ndarray, np.ndarray]:
    """Colours `[h, w, 3]`, 0 to 255, and opacity `[h, w, 1]`, 0 to 1."""
    x = np.nan_to_num(relative(values, threshold), nan=0.0, posinf=_STOPS[-1], neginf=0.0)
    opacity = np.interp(x, _STOPS, _OPACITY)[..., None]
    return np.stack([np.interp(x, _STOPS, channel) for channel in _COLOURS.T], axis=-1), opacity


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width at which an image of this height and width is shown."""
    factor = min(1.0, LONGEST_SIDE / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def legend() -> Image.Image:
    """The colour scale as a picture, over grey."""
    width, height = 420, 64
    x = np.linspace(0, _STOPS[-1] + 0.5, width)
    bar = np.repeat(x[None], 28, axis=0)
    unit = Threshold(1.0, 0.0, (0.0, 0.0), 0, "pixels", 0.0)
    image = Image.new("RGB", (width, height), "white")
    image.paste(Image.fromarray(overlay(np.full((28, width, 3), 160, np.uint8), bar, unit)), (0, 0))
    draw = ImageDraw.Draw(image)
    for value, text in ((0, "typical good"), (1, "threshold"), (2, "2"), (3, "3"), (4, "4 and more")):
        place = round(value / x[-1] * (width - 1))
        draw.line((place, 28, place, 34), fill="black")
        draw.text((place + 2, 36), text, fill="black")
    return image
