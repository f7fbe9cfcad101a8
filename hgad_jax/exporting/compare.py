"""Whether an artefact says what its run says: on images, in a process that knows the artefact alone."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy

from hgad_jax.errors import UserError
from hgad_jax.exporting.answers import Answer, answers, read
from hgad_jax.files import write_atomically
from hgad_jax.inference.predictor import Predictor
from hgad_jax.inference.scorer import Scorer, with_mode

# What a number may differ by, in itself, or in deviations of good images where it is below one of them.
SCORES, MAPS = 1e-6, 1e-5
_ROOT = Path(__file__).parents[2]  # where the package is imported from


class Difference(NamedTuple):
    """The largest that was found."""

    questions: int
    scores: float
    maps: float


def compared(scorer: Scorer, artefact: Path, images: Sequence[bytes]) -> Difference:
    """Compares all that is said of images.

    Args:
      scorer: of the run.
      artefact: made of it.
      images: encoded.

    Raises:
      UserError: they differ by more than `SCORES` and `MAPS`, or in a decision.
    """
    modes = tuple(scorer.calibration.scores)
    there = _of_artefact(artefact, images)
    here = answers(lambda mode: _predictor(with_mode(scorer, mode)), modes, images)
    return difference(here, there)


def difference(here: Mapping[str, Answer], there: Mapping[str, Answer]) -> Difference:
    """The largest difference of answers.

    Args:
      here: of the run.
      there: of the artefact.

    Raises:
      UserError: it is too large, or no matter of size.
    """
    most = {SCORES: 0.0, MAPS: 0.0}
    for question, expected in here.items():
        found = there.get(question, {})
        if found.keys() != expected.keys():
            raise _differs(question, "what is said", sorted(expected), sorted(found))
        for field, value in expected.items():
            allowed = MAPS if isinstance(value, np.ndarray) else SCORES
            distance = _distance(value, found[field])
            if distance > allowed:
                raise _differs(question, field, _shown(value), _shown(found[field]))
            most[allowed] = max(most[allowed], distance)
    return Difference(len(here), most[SCORES], most[MAPS])


def _distance(a: Any, b: Any) -> float:
    """Relative; infinite between what is no number and not equal."""
    numbers = (int, float, np.ndarray)
    if isinstance(a, bool | str | None) or not (isinstance(a, numbers) and isinstance(b, numbers)):
        return 0.0 if type(a) is type(b) and a == b else np.inf
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        return np.inf
    finite = np.isfinite(a)  # a map is none where the transform cut it off
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return np.inf
    distance = np.max(np.abs(a[finite] - b[finite]), initial=0.0)
    return float(distance / np.max(np.abs(a[finite]), initial=1.0))


def _shown(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return f"an array from {np.nanmin(value):.9g} to {np.nanmax(value):.9g}"


def _differs(question: str, field: str, here: Any, there: Any) -> UserError:
    return UserError(
        f"The exported programs do not say what the run says, so nothing was written. Of {question}, {field} "
        f"is {here} of the run and {there} of the artefact, with jax {jax.__version__} on "
        f"{jax.devices()[0].device_kind}. Please report it with these lines; hgad-jax predict goes on with "
        "the run itself."
    )


def _predictor(scorer: Scorer) -> Predictor:
    return Predictor(scorer, scorer.decision)


def _of_artefact(artefact: Path, images: Sequence[bytes]) -> dict[str, Answer]:
    with tempfile.TemporaryDirectory() as folder:
        asked, said = Path(folder) / "images.safetensors", Path(folder) / "answers.safetensors"
        arrays = {str(i): np.frombuffer(image, np.uint8) for i, image in enumerate(images)}
        write_atomically(asked, safetensors.numpy.save(arrays))
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # this process holds most of a GPU's memory
        }
        command = [sys.executable, "-m", "hgad_jax.exporting.answers", str(artefact), str(asked), str(said)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the artefact cannot be asked in a process of its own:\n{done.stderr}")
        return read(said.read_bytes())
