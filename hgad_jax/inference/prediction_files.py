"""What prediction writes for each image besides its row: heat maps, raw maps, contours.

A file is there whole or not at all, and its name is made from the image's place so that it is the same at
every run, cannot leave its folder, and differs for images of the same name in different folders.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from hgad_jax import files
from hgad_jax.data.geometry import Transform, map_to_image
from hgad_jax.data.transforms import load_image
from hgad_jax.inference.heatmap import legend, overlay, shown_size
from hgad_jax.inference.plain_names import plain
from hgad_jax.inference.predictor import Decided
from hgad_jax.scoring.threshold import normalized

PNG16_SCALE = (
    "16-bit PNG: round(65535 · normalized), where normalized is 0.5 (32768) at the pixel threshold, 0.25 at "
    "a typical good pixel and rises with the score; 0 also where the transform cut the image off"
)
SCORES, SETTINGS, UNREADABLE = "scores.csv", "predict.json", "unreadable.txt"
_LEGEND = "scale.png"
_OF_AN_IMAGE = re.compile(r".+-[0-9a-f]{16}\.(png|npy|json)")  # what `output_name` makes


class Outputs(NamedTuple):
    """What is asked for besides scores."""

    heatmaps: bool = False
    maps: str = ""  # "npy", "png16" or "" for none
    contours: bool = False

    def folders(self) -> list[str]:
        """Folders that are written to."""
        wanted = {"heatmaps": self.heatmaps, "maps": self.maps, "contours": self.contours}
        return [name for name, is_wanted in wanted.items() if is_wanted]


def output_name(file: str) -> str:
    """Name of an image's files, without suffix: its own, as far as it is plain, and a hash of its place.

    Args:
      file: the image's absolute path, so that the name does not depend on how it is spelled.
    """
    raw = os.fsencode(file)
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", Path(file).stem)[:60].lstrip(".-")
    return f"{stem or 'image'}-{hashlib.sha256(raw).hexdigest()[:16]}"


def is_written() -> Callable[[str], bool]:
    """A function that tells by a file's absolute path whether prediction wrote it; folders are read once."""
    results = functools.cache(_holds_results)

    def written(file: str) -> bool:
        folder, name = os.path.split(file)
        if name in (SCORES, SETTINGS, UNREADABLE):
            return results(folder)
        out, kind = os.path.split(folder)
        if kind not in Outputs(True, "npy", True).folders() or not results(out):
            return False
        return bool(_OF_AN_IMAGE.fullmatch(name)) or (kind, name) == ("heatmaps", _LEGEND)

    return written


def _holds_results(folder: str) -> bool:
    try:
        content = json.loads(Path(folder, SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"thresholds", "outputs"} <= content.keys()


def prepare(out: Path, outputs: Outputs) -> None:
    """Makes the folders, without what killed runs left in them, and the heat maps' legend."""
    files.remove_leftovers(out)
    for name in outputs.folders():
        (out / name).mkdir(exist_ok=True)
        files.remove_leftovers(out / name)
    if outputs.heatmaps:
        _write(out / "heatmaps" / _LEGEND, lambda file: legend().save(file, "PNG"))


def write_outputs(
    out: Path,
    outputs: Outputs,
    path: str,
    file: str,
    size: tuple[int, int],
    decided: Decided,
    transform: Transform,
) -> None:
    """Writes what is asked for of one image.

    Args:
      out: the folder of the run's predictions.
      outputs: what is asked for.
      path: of the image, as it is shown.
      file: the same, absolute.
      size: its height and width, pixels.
      decided: what was found; its map lies over the working square.
      transform: of the run.
    """
    name, values = output_name(file), decided.prediction.map
    if outputs.heatmaps:
        shown = _heatmap(path, size, decided, transform)
        _write(out / "heatmaps" / f"{name}.png", lambda to: shown.save(to, "PNG"))
    if outputs.maps:
        whole = map_to_image(values, transform, size)
        if outputs.maps == "npy":
            _write(out / "maps" / f"{name}.npy", lambda to: np.save(to, whole, allow_pickle=False))
        else:
            _write(out / "maps" / f"{name}.png", lambda to: png16(whole, decided).save(to, "PNG"))
    if outputs.contours:
        content = {"path": plain(path), "file": plain(file)} | contours(size, decided)
        _write(out / "contours" / f"{name}.json", lambda to: to.write(json.dumps(content).encode("utf-8")))


def _heatmap(path: str, size: tuple[int, int], decided: Decided, transform: Transform) -> Image.Image:
    height, width = shown = shown_size(size)
    # Decoded again: what the model sees is smaller and of other proportions.
    whole = transform._replace(size=max(shown), resize="squash", interpolation="lanczos", tiles=1, detail=1)
    square = load_image(path, whole)
    pixels = np.asarray(Image.fromarray(square).resize((width, height), Image.Resampling.LANCZOS))
    values = map_to_image(decided.prediction.map, transform, shown)
    return Image.fromarray(overlay(pixels, values, decided.pixel_threshold))


def png16(values: np.ndarray, decided: Decided) -> Image.Image:
    """A map `[h, w]` on the scale `PNG16_SCALE`."""
    scaled = np.nan_to_num(normalized(values, decided.pixel_threshold), nan=0.0)
    return Image.fromarray(np.rint(65535 * scaled).astype(np.uint16))


def contours(size: tuple[int, int], decided: Decided) -> dict[str, Any]:
    """Outlines and measures of what is above the pixel threshold, as JSON, in pixels of the image.

    Args:
      size: height and width of the image, pixels.
      decided: what was found.
    """

    def rounded(places):
        return np.round(places, 2).tolist()

    return {
        "height": size[0],
        "width": size[1],
        "threshold": decided.pixel_threshold.value,
        "regions": [
            {
                "outline": rounded(region.outline),
                "holes": [rounded(hole) for hole in region.holes],
                "area": round(region.area, 2),
                "length": round(region.length, 2),
                "centre": rounded(region.centre),
                "peak": rounded(region.peak),
                "highest": region.highest,
            }
            for region in decided.prediction.regions
        ],
    }


def _write(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    with files.writing(path, sync=False) as file:
        write(file)


def disk_errors(out: Path) -> contextlib.AbstractContextManager[None]:
    """Turns what a disk refuses into a `UserError` that says what to do."""
    return files.disk_errors(
        f"Results cannot be written to '{out}'",
        otherwise="choose another --out",
        after="What is there is kept; the same command goes on from it.",
    )
