"""What prediction writes for each image besides its row: heat maps, raw maps, contours.

A file is there whole or not at all, and its name is made from the image's path so that it is the same at
every run, cannot leave its folder, and differs for images of the same name in different folders.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from hgad_jax.data.geometry import Transform, map_to_image, placement, valid_region
from hgad_jax.data.transforms import load_image
from hgad_jax.errors import UserError
from hgad_jax.evaluation.contours import regions_above
from hgad_jax.evaluation.heatmap import legend, overlay, shown_size
from hgad_jax.evaluation.predictor import Decided
from hgad_jax.scoring.threshold import normalized

PNG16_SCALE = (
    "16-bit PNG: round(65535 · normalized), where normalized is 0.5 (32768) at the pixel threshold, 0.25 at "
    "a typical good pixel and rises with the score; 0 also where the transform cut the image off"
)


class Outputs(NamedTuple):
    """What is asked for besides scores."""

    heatmaps: bool = False
    maps: str = ""  # "npy", "png16" or "" for none
    contours: bool = False

    def folders(self) -> list[str]:
        """Folders that are written to."""
        wanted = {"heatmaps": self.heatmaps, "maps": self.maps, "contours": self.contours}
        return [name for name, is_wanted in wanted.items() if is_wanted]


def output_name(path: str) -> str:
    """Name of an image's files, without suffix: its own, as far as it is plain, and a hash of its path."""
    raw = os.fsencode(path)
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", Path(path).stem)[:60].lstrip(".-")
    return f"{stem or 'image'}-{hashlib.sha256(raw).hexdigest()[:16]}"


def prepare(out: Path, outputs: Outputs) -> None:
    """Makes the folders, and the heat maps' legend."""
    for name in outputs.folders():
        (out / name).mkdir(exist_ok=True)
    if outputs.heatmaps:
        _write(out / "heatmaps" / "scale.png", lambda file: legend().save(file, "PNG"))


def write_outputs(
    out: Path,
    outputs: Outputs,
    path: str,
    size: tuple[int, int],
    decided: Decided,
    transform: Transform,
) -> None:
    """Writes what is asked for of one image.

    Args:
      out: the folder of the run's predictions.
      outputs: what is asked for.
      path: of the image.
      size: its height and width, pixels.
      decided: what was found; its map lies over the working square.
      transform: of the run.
    """
    name, values = output_name(path), decided.prediction.map
    if outputs.heatmaps:
        shown = _heatmap(path, size, decided, transform)
        _write(out / "heatmaps" / f"{name}.png", lambda file: shown.save(file, "PNG"))
    if outputs.maps:
        whole = map_to_image(values, transform, size)
        if outputs.maps == "npy":
            _write(out / "maps" / f"{name}.npy", lambda file: np.save(file, whole, allow_pickle=False))
        else:
            _write(out / "maps" / f"{name}.png", lambda file: _png16(whole, decided).save(file, "PNG"))
    if outputs.contours:
        content = _contours(path, size, decided, transform)
        _write(
            out / "contours" / f"{name}.json", lambda file: file.write(json.dumps(content).encode("utf-8"))
        )


def _heatmap(path: str, size: tuple[int, int], decided: Decided, transform: Transform) -> Image.Image:
    shown = shown_size(size)
    # Decoded again: what the model sees is smaller and of other proportions.
    whole = transform._replace(size=max(shown), resize="squash", interpolation="lanczos", tiles=1)
    square = load_image(path, whole)
    pixels = np.asarray(Image.fromarray(square).resize(shown[::-1], Image.Resampling.LANCZOS))
    values = map_to_image(decided.prediction.map, transform, shown)
    return Image.fromarray(overlay(pixels, values, decided.pixel_threshold))


def _png16(values: np.ndarray, decided: Decided) -> Image.Image:
    scaled = np.nan_to_num(normalized(values, decided.pixel_threshold), nan=0.0)
    return Image.fromarray(np.rint(65535 * scaled).astype(np.uint16))


def _contours(path: str, size: tuple[int, int], decided: Decided, transform: Transform) -> dict[str, Any]:
    """Polygons in pixels of the image, from the map over the working square."""
    valid, whole = valid_region(transform, size), placement(transform, size)
    values = decided.prediction.map[valid.slices]
    scale = np.array([size[1] / whole.width, size[0] / whole.height])
    corner = np.array([valid.left - whole.left, valid.top - whole.top])

    def in_image(loop):
        return np.round((loop + corner) * scale, 2).tolist()

    regions = regions_above(values, decided.pixel_threshold.value)
    return {
        "path": os.fsencode(path).decode("utf-8", "replace"),
        "height": size[0],
        "width": size[1],
        "threshold": decided.pixel_threshold.value,
        "regions": [
            {
                "outline": in_image(region.outline),
                "holes": [in_image(hole) for hole in region.holes],
                "area": round(region.area * float(scale.prod()), 2),
                "highest": region.highest,
            }
            for region in regions
        ],
    }


def _write(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        write(file)
    os.replace(temporary, path)


@contextlib.contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Turns what a disk refuses into a `UserError` that says what to do."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full: free some space there",
            errno.EDQUOT: "the quota is used up: free some space there",
            errno.EACCES: "it may not be written: change its permissions",
            errno.EROFS: "its file system is read-only: choose another --out",
            errno.ENOTDIR: "a part of the path is a file: choose another --out",
            errno.EEXIST: "there is a file of that name: choose another --out",
        }
        if error.errno not in reasons:
            raise
        raise UserError(
            f"Predictions cannot be written to '{out}': {reasons[error.errno]}. What is there is kept; the "
            "same command goes on from it."
        ) from error
