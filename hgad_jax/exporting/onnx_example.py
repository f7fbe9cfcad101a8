"""Decides on images with a model that `hgad-jax export --format=onnx` wrote: NumPy, Pillow, ONNX Runtime.

    python decide.py IMAGE...

prints a line of JSON for each. It lies beside model.onnx and model.json. Read it, change it, write it anew
in another language: all that stands between an image and a decision is here. Files of 8 bits without
transparency are read; hgad_jax reads more.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

READ = ("1", "L", "P", "RGB", "YCbCr", "CMYK")  # Pillow's modes


class Model(NamedTuple):
    """What is in a folder: the model, and what model.json says of it."""

    session: onnxruntime.InferenceSession
    about: dict[str, Any]


def load(folder: str | Path, providers: tuple[str, ...] = ("CPUExecutionProvider",)) -> Model:
    """Reads a folder; a damaged model.onnx is refused."""
    about = json.loads((Path(folder) / "model.json").read_bytes())
    content = (Path(folder) / "model.onnx").read_bytes()
    if hashlib.sha256(content).hexdigest() != about["sha256"]:
        raise ValueError(f"{folder}/model.onnx is damaged, or of another model.json.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # shapes that are told less exactly than they could be are no errors
    return Model(onnxruntime.InferenceSession(content, options, providers=list(providers)), about)


def pixels_of(image: Any, about: dict[str, Any]) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """An image (a path, or an open file) as the model takes it, and where it lies in that square.

    Returns:
      uint8 `[side, side, 3]`; top, left, height and width in pixels of the map.
    """
    with Image.open(image) as opened:
        if opened.mode not in READ or "transparency" in opened.info:
            raise ValueError(f"{image}: {opened.mode}, or transparent; expected 8 bits, one of {READ}.")
        upright = ImageOps.exif_transpose(opened).convert("L" if opened.mode in ("1", "L") else "RGB")
    detail, side = about["detail"], about["map_side"]
    top, left, height, width = _placement(upright.size, side, about["resize"])
    bottom, right = min(side, top + height), min(side, left + width)
    resized = upright.resize(
        (detail * width, detail * height), Image.Resampling[about["interpolation"].upper()]
    )
    square = Image.new(upright.mode, (detail * side, detail * side), 0)
    square.paste(resized, (detail * left, detail * top))
    pixels = np.asarray(square.convert("RGB"))
    top, left = max(0, top), max(0, left)
    return pixels, (top, left, bottom - top, right - left)


def _placement(size: tuple[int, int], side: int, resize: str) -> tuple[int, int, int, int]:
    """Top, left, height and width of the whole image in the square; a crop reaches beyond it."""
    width, height = size
    if resize == "squash":
        return 0, 0, side, side
    if resize == "short_side_crop":
        shorter = min(size)
        height, width = side * height // shorter, side * width // shorter
        return -round((height - side) / 2), -round((width - side) / 2), height, width
    longer = max(size)  # letterbox
    height, width = max(1, round(side * height / longer)), max(1, round(side * width / longer))
    return (side - height) // 2, (side - width) // 2, height, width


def decide(model: Model, image: Any, class_name: str | None = None) -> dict[str, Any]:
    """What is said of one image.

    Args:
      model: that `load` gave.
      image: a path, or an open file.
      class_name: where the model asks for it (`about["mode"]` is "given").

    Returns:
      `decision`, `class_name`, `score`, `threshold`, `normalized` (0.5 at the threshold), `unknown` (like
      none of the classes), and `map`, `[side, side]`: above `map_threshold` is anomalous.
    """
    about = model.about
    pixels, box = pixels_of(image, about)
    count = about["images_at_once"]
    inputs = {"images": np.stack([pixels] * count), "boxes": np.array([box] * count, np.int32)}
    if about["mode"] == "given":
        names = [one["name"] for one in about["classes"]]
        inputs["class_ids"] = np.full(count, names.index(class_name) if class_name else 0, np.int32)
    results = map(np.asarray, model.session.run(about["outputs"], inputs))
    found = {name: result[0] for name, result in zip(about["outputs"], results, strict=True)}
    own = about["classes"][int(found["class_id"])]
    score = float(found["score"])
    unknown = float(found["strangeness"]) > own["strangeness_limit"]
    anomalous = score > own["threshold"] or (unknown and about["unknown"] == "reject")
    x = (score - own["threshold"]) / max(own["threshold"] - own["typical"], 1e-6)
    return {
        "decision": "anomalous" if anomalous else "good",
        "class_name": own["name"],
        "score": score,
        "threshold": own["threshold"],
        "normalized": 0.5 + 0.5 * x / (1 + abs(x)),
        "unknown": unknown,
        "map": found["map"],
        "map_threshold": own["map_threshold"],
    }


if __name__ == "__main__":
    opened_model = load(Path(__file__).parent)
    for path in sys.argv[1:]:
        said = decide(opened_model, path)
        del said["map"]
        print(json.dumps({"file": path, **said}))
