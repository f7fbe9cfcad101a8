"""`hgad-jax export --format=onnx RUN OUT`: a model for ONNX Runtime, compared with its run."""

import hashlib
import importlib.metadata
import importlib.resources
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hgad_jax import files
from hgad_jax.data.transforms import load as load_image
from hgad_jax.errors import UserError
from hgad_jax.exporting import card, images, onnx_program
from hgad_jax.inference.predictor import Predictor
from hgad_jax.inference.scorer import Scorer, load_scorer
from hgad_jax.runs import workdir

TOLERANCE = 1e-4  # of numbers: in themselves, or in deviations of good images where they are below one
ONNX, ABOUT, CARD, EXAMPLE = "model.onnx", "model.json", "MODEL_CARD.md", "decide.py"
KIND, FORMAT = "hgad_jax onnx", 1
_SAME = ("decision", "class_name", "unknown")
_NUMBERS = ("score", "threshold", "normalized", "map", "map_threshold")
_PACKAGES = ("hgad_jax", "jax", "jax2onnx", "onnx", "onnxruntime", "numpy", "pillow")


class Difference(NamedTuple):
    """The largest that was found."""

    images: int
    numbers: float


def export_onnx(
    directory: str | Path,
    out: str | Path,
    *,
    images_at_once: int = 1,
    to_compare: Sequence[str] = (),
    force: bool = False,
    log: Callable[[str], None] = print,
) -> Difference:
    """Exports the newest checkpoint of a run as ONNX, at the settings of its config.

    Args:
      directory: of the run.
      out: folder to make. It appears when it is whole and was compared.
      images_at_once: that the program takes, always as many.
      to_compare: images to compare on: files, folders, patterns; none: made ones and, if they can be reached,
        some of the run's dataset.
      force: replace what is there, if it is such a folder.
      log: gets the lines meant for the user.

    Returns:
      The largest difference found between the run and ONNX Runtime.

    Raises:
      UserError: something that the user can mend, or the model differs from the run.
    """
    onnx_program.need_packages()
    directory, out = workdir.local_path(directory), files.expanded(out)
    if images_at_once < 1:
        raise UserError(f"--images_at_once={images_at_once}: expected 1 or more.")
    refuse_occupied(out, force)
    encoded = None if not to_compare else images.to_compare(None, to_compare, log)
    scorer = load_scorer(directory)
    encoded = encoded or images.to_compare(scorer.config, (), log)
    origin = card.origin(scorer, directory)
    return _write(scorer, origin, out, encoded, count=images_at_once, force=force, log=log)


def refuse_occupied(out: Path, force: bool) -> None:
    """Raises a `UserError` if something is at OUT that is not to be replaced."""
    if not out.exists():
        return
    if not force:
        raise UserError(
            f"{out} is there already; nothing was written. Choose another place, or replace an export with "
            "--force."
        )
    try:
        kind = json.loads((out / ABOUT).read_bytes())["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = ""
    more = (
        {path.name for path in out.iterdir()} - {ONNX, ABOUT, CARD, EXAMPLE} if out.is_dir() else {out.name}
    )
    if kind != KIND or more:
        raise UserError(
            f"{out} is there already and not what --format=onnx wrote alone, so that --force does not "
            "replace it."
        )


def _write(
    scorer: Scorer,
    origin: card.Origin,
    out: Path,
    encoded: Sequence[bytes],
    *,
    count: int,
    force: bool,
    log: Callable[[str], None],
) -> Difference:
    """Writes a folder of `model.onnx`, `model.json`, a card and an example that decides with them."""
    log("writing the model as ONNX")
    model = onnx_program.converted(scorer, count)
    about = _about(scorer, origin, count)
    for key, value in (("hgad_jax", json.dumps(about)), ("licences", json.dumps(about["licences"]))):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    content = model.SerializeToString()
    about["sha256"] = hashlib.sha256(content).hexdigest()
    made = {
        ONNX: content,
        ABOUT: f"{json.dumps(about, indent=1)}\n".encode(),
        CARD: _card(scorer, origin, about).encode(),
        EXAMPLE: (importlib.resources.files("hgad_jax.exporting") / "onnx_example.py").read_bytes(),
    }
    with files.disk_errors(f"{out} cannot be written", otherwise="choose another place"):
        out.parent.mkdir(parents=True, exist_ok=True)
        with files.writing_folder(out, replace=force) as folder:
            for name, part in made.items():
                files.write_atomically(folder / name, part)
            log(f"comparing it with the run on {len(encoded)} images, by ONNX Runtime")
            found = compared(scorer, folder, encoded, log)
            refuse_occupied(out, force)
    log(
        f"{found.images} images compared: numbers differ by at most {found.numbers:.1g}, and every "
        "decision is the same"
    )
    size = sum(map(len, made.values()))
    log(f"Exported step {scorer.step} to {out}: {size / 1e6:.1f} MB, opset {about['opset']}")
    return found


def _about(scorer: Scorer, origin: card.Origin, count: int) -> dict[str, Any]:
    """All that a program needs to know between an image and a decision."""
    decision, transform = scorer.decision, scorer.transform
    each = zip(
        scorer.classes,
        decision.thresholds,
        decision.rates,
        decision.pixel_thresholds,
        decision.strangeness_limits.tolist(),
        strict=True,
    )
    return {
        "kind": KIND,
        "format": FORMAT,
        "step": scorer.step,
        "mode": scorer.mode,
        "images_at_once": count,
        "opset": onnx_program.OPSET,
        "outputs": list(onnx_program.OUTPUTS),
        "pieces": list(scorer.evidence_names),
        "resize": transform.resize,
        "interpolation": transform.interpolation,
        "map_side": transform.working_size,
        "detail": transform.detail,
        "unknown": decision.unknown,
        "classes": [
            {
                "name": name,
                "threshold": threshold.value,
                "typical": threshold.typical,
                "kind": threshold.kind,
                "asked_rate": rate,
                "promised_rate": threshold.rate,
                "map_threshold": pixels.value,
                "strangeness_limit": limit,
            }
            for name, threshold, rate, pixels, limit in each
        ],
        "licences": card.licences(scorer.config),
        "images": origin.metadata["images"],
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _card(scorer: Scorer, origin: card.Origin, about: dict[str, Any]) -> str:
    text = card.written(scorer, origin, ["ONNX Runtime"], about["versions"])
    loads = '    import hgad_jax\n    found = hgad_jax.load("this folder")("image.png")\n'
    assert loads in text
    text = text.replace(loads, "    python decide.py image.png\n")
    return text.replace("It needs jax, for ONNX Runtime;", f"It needs ONNX Runtime, opset {about['opset']};")


def compared(
    scorer: Scorer, folder: Path, encoded: Sequence[bytes], log: Callable[[str], None]
) -> Difference:
    """Compares what the example says with what the run says.

    Raises:
      UserError: a decision is another, or a number differs by more than `TOLERANCE`.
    """
    from hgad_jax.exporting import (
        onnx_example as example,  # which needs ONNX Runtime; its file is in the folder
    )

    model, predictor = example.load(folder), Predictor(scorer, scorer.decision)
    most, seen = 0.0, 0
    for i, image in enumerate(encoded):
        name = scorer.classes[i % len(scorer.classes)] if scorer.mode == "given" else None
        try:
            there = example.decide(model, io.BytesIO(image), name)
        except ValueError:  # what the example does not read
            continue
        loaded = load_image(io.BytesIO(image), scorer.transform)
        class_id = scorer.classes.index(name) if name else None
        ((here, pixels),) = predictor.decide([loaded.pixels], [loaded.size], class_id)
        expected = here._asdict() | {
            "decision": "anomalous" if here.anomalous else "good",
            "map_threshold": pixels.value,
        }
        for field in (*_SAME, *_NUMBERS):
            distance = _distance(expected[field], there[field])
            if not distance <= (0 if field in _SAME else TOLERANCE):
                raise _differs(i, field, expected[field], there[field], distance)
            most = max(most, distance)
        seen += 1
    if not seen:
        raise UserError(
            f"None of the {len(encoded)} images is one that the example reads (8 bits, not transparent), so "
            "that the model was not compared and not written. Give others: --images=PATH."
        )
    if seen < len(encoded):
        log(f"{len(encoded) - seen} images of more than 8 bits, or transparent, were left out")
    return Difference(seen, most)


def _distance(a: Any, b: Any) -> float:
    if isinstance(a, str | bool):
        return 0.0 if a == b else np.inf
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return np.inf
    return float(np.max(np.abs(a - b)) / np.max(np.abs(a), initial=1.0))


def _differs(number: int, field: str, here: Any, there: Any, distance: float) -> UserError:
    shown = [np.max(value) if isinstance(value, np.ndarray) else value for value in (here, there)]
    return UserError(
        f"ONNX Runtime does not say what the run says, so nothing was written. Of image {number}, {field} "
        f"is {shown[0]} of the run and {shown[1]} of the model, {distance:.2g} apart (allowed: "
        f"{TOLERANCE:g}, and no other decision). Please report it with this line; hgad-jax export without "
        "--format=onnx goes on."
    )
