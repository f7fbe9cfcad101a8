"""Small pictures for the report, and outlines to lie over them."""

import base64
import io

import numpy as np
from PIL import Image

SIDE = 176  # pixels
LIMIT = 4400  # bytes of a JPEG, so that a report's size can be told beforehand
_QUALITIES = (86, 78, 70, 60, 50, 40, 30, 20)
_OUTLINE = 88  # positions along a side of an outline
_OUTLINE_LIMIT = 1500  # characters


def jpeg(pixels: np.ndarray, limit: int = LIMIT) -> str:
    """A picture as a data URI of at most `limit` bytes before base64, coarser where it has to be.

    Args:
      pixels: uint8 `[H, W, 3]`.
      limit: bytes.
    """
    image = Image.fromarray(pixels)
    if np.ptp(pixels, axis=2).max() == 0:
        image = image.convert("L")
    side = SIDE
    while True:
        small = image.resize((side, side), Image.Resampling.LANCZOS)
        for quality in _QUALITIES:
            out = io.BytesIO()
            small.save(out, "JPEG", quality=quality, optimize=True)
            if out.tell() <= limit:
                return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
        side = side * 3 // 4


def outline(mask: np.ndarray, kind: str = "") -> str:
    """The edge of a mask `[S, S]` as an SVG of its cells, to lie over the picture; empty without defects.

    Args:
      mask: bool.
      kind: class of the style sheet; "" for the true defect.
    """
    named = f' class="{kind}"' if kind else ""
    side = _OUTLINE
    while mask.any():
        cells = _shrunk(mask, side)
        path = _edges(cells)
        if len(path) <= _OUTLINE_LIMIT or side < 8:
            return f'<svg{named} viewBox="0 0 {len(cells)} {len(cells)}"><path d="{path}"/></svg>'
        side //= 2
    return ""


def _shrunk(mask: np.ndarray, side: int) -> np.ndarray:
    """A cell is set where any of its pixels is: small defects stay visible."""
    at = np.arange(len(mask)) * min(side, len(mask)) // len(mask)
    starts = np.flatnonzero(np.diff(at, prepend=-1))
    return np.logical_or.reduceat(np.logical_or.reduceat(mask, starts, 0), starts, 1)


def _edges(cells: np.ndarray) -> str:
    padded = np.pad(cells, 1)
    across = _runs(padded[1:, 1:-1] != padded[:-1, 1:-1])
    down = _runs((padded[1:-1, 1:] != padded[1:-1, :-1]).T)
    parts = [f"M{x} {y}h{length}" for y, x, length in across] + [f"M{x} {y}v{n}" for x, y, n in down]
    return "".join(parts)


def _runs(rows: np.ndarray):
    """Yields row, start and length of each run of true values."""
    change = np.diff(np.pad(rows.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    starts, ends = np.argwhere(change == 1), np.argwhere(change == -1)
    for (row, start), (_, end) in zip(starts.tolist(), ends.tolist(), strict=True):
        yield row, start, end - start
