"""What is transparent is black: one rule for images and masks.

Where nothing is opaque, alpha tells nothing (some cameras leave it 0): then colours are shown as they are.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

_STRIP = 1 << 20  # pixels at a time, where a copy of all of them would double the memory


def deep_on_black(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """As `on_black`, of uint16 `[H, W, C]` whose last channel is alpha: `[H, W]` or `[H, W, 3]`."""
    colours, alpha = values[..., :-1], values[..., -1:]
    transparent = not alpha.any()
    if not transparent:
        shown = np.empty_like(colours)
        for row, weight, out in zip(colours, alpha, shown, strict=True):
            out[:] = (row.astype(np.uint32) * weight + 32767) // 65535
        colours = shown
    return (colours[..., 0] if colours.shape[2] == 1 else colours), transparent


def on_black(image: Image.Image) -> tuple[Image.Image, bool]:
    """Show an image with alpha on black, RGB; if all of it is transparent, which is said, without alpha."""
    shown, transparent = Image.new("RGB", image.size), True
    for box in strips(image.size):
        part = _rgba(image.crop(box))
        transparent = transparent and part.getchannel("A").getbbox() is None
        black = Image.new("RGBA", part.size, (0, 0, 0, 255))
        shown.paste(Image.alpha_composite(black, part).convert("RGB"), box)
    if transparent:
        for box in strips(image.size):
            shown.paste(_rgba(image.crop(box)).convert("RGB"), box)
    return shown, transparent


def _rgba(image: Image.Image) -> Image.Image:
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of whole rows that cover an image of this width and height."""
    width, height = size
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)
