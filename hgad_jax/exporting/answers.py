"""What a model says of some images, written down: asked of a run here, and of an artefact in a fresh process.

    python -m hgad_jax.exporting.answers ARTEFACT IMAGES ANSWERS

imports nothing but what an artefact is loaded with.
"""

import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from hgad_jax.data.transforms import load as load_image
from hgad_jax.files import write_atomically
from hgad_jax.inference.predictor import Predictor

Answer = dict[str, Any]  # field → str, bool, number, array
_TEXT = "said"  # in the file: what is no array, as JSON


def answers(
    load: Callable[[str], Predictor], modes: Sequence[str], images: Sequence[bytes]
) -> dict[str, Answer]:
    """Of each image in every way that there is to ask: alone and among others, its class named or not.

    Args:
      load: the model whose classes come from a mode.
      modes: those that it is calibrated for.
      images: encoded.
    """
    found = {}
    for mode in modes:
        predictor = load(mode)
        classes, transform = predictor.scorer.classes, predictor.scorer.transform
        names = [classes[i % len(classes)] if mode == "given" else None for i in range(len(images))]
        for i, (image, name) in enumerate(zip(images, names, strict=True)):
            found[f"image {i}, classes {mode}"] = _plain(predictor(io.BytesIO(image), class_name=name))
        loaded = [load_image(io.BytesIO(image), transform) for image in images]
        count = max(1, predictor.scorer.config.scoring.batch_size // transform.num_tiles)
        for start in range(0, len(loaded), count):
            part = loaded[start : start + count]
            decided = predictor.decide(
                [one.pixels for one in part],
                [one.size for one in part],
                0 if mode == "given" else None,
                batch_size=count,
            )
            for i, one in enumerate(decided, start=start):
                found[f"image {i} among others, classes {mode}"] = _plain(one)
    return found


def _plain(value: Any, name: str = "") -> Answer:
    """The fields of a prediction, and of what they hold."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, tuple | list):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return {name: value.item() if isinstance(value, np.generic) else value}
    parts = (_plain(child, f"{name}.{key}".lstrip(".")) for key, child in value.items())
    return {key: child for part in parts for key, child in part.items()}


def written(found: Mapping[str, Answer]) -> bytes:
    """Answers as a safetensors file."""
    arrays, said = {}, {}
    for question, answer in found.items():
        said[question] = {k: v for k, v in answer.items() if not isinstance(v, np.ndarray)}
        arrays |= {f"{question}\n{k}": v for k, v in answer.items() if isinstance(v, np.ndarray)}
    text = np.frombuffer(json.dumps(said).encode(), np.uint8)
    return safetensors.numpy.save({_TEXT: text, **{k: np.ascontiguousarray(v) for k, v in arrays.items()}})


def read(content: bytes) -> dict[str, Answer]:
    """Answers from such a file."""
    arrays = safetensors.numpy.load(content)
    found = json.loads(arrays.pop(_TEXT).tobytes())
    for place, array in arrays.items():
        question, field = place.split("\n")
        found[question][field] = array
    return found


def main(artefact: str, images: str, out: str) -> None:
    """Asks an artefact."""
    from hgad_jax.inference.load import load

    encoded = safetensors.numpy.load(Path(images).read_bytes())
    asked = [encoded[str(i)].tobytes() for i in range(len(encoded))]
    modes = list(load(artefact).scorer.calibration.scores)
    write_atomically(out, written(answers(lambda mode: load(artefact, classes=mode), modes, asked)))


if __name__ == "__main__":
    main(*sys.argv[1:])
