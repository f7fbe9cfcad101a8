"""`hgad_jax.load("line/model")(image)`: an exported model, with jax, NumPy, Pillow and safetensors alone."""

from pathlib import Path

from hgad_jax.artefact.source import is_artefact
from hgad_jax.errors import UserError
from hgad_jax.files import expanded
from hgad_jax.inference.predictor import Predictor
from hgad_jax.runs import host
from hgad_jax.scoring.decision import Setting


def load(
    path: str | Path,
    *,
    classes: str | None = None,
    threshold: Setting = None,
    false_alarm_rate: Setting = None,
) -> Predictor:
    """Loads what `hgad-jax export` wrote; every file of it is checked.

    What jax compiles is kept in the user's cache folder, so that a second start is quick.

    Args:
      path: of the folder or zip file.
      classes: "inferred", "mixture" or "given"; None for the run's setting.
      threshold: as `Predictor.load` takes it; None for the run's setting.
      false_alarm_rate: likewise.

    Raises:
      UserError: there is no artefact, it is damaged, of a newer format, or not for the devices here.
    """
    place = expanded(path)
    if not place.exists():
        raise UserError(f"{place} does not exist. Expected what 'hgad-jax export' wrote.")
    if not is_artefact(place):
        raise UserError(
            f"{place} is no artefact: it has no manifest.json. Expected what 'hgad-jax export RUN OUT' "
            "wrote; a run itself is loaded by hgad_jax.Predictor.load."
        )
    host.keep_compiled()
    return Predictor.load(place, classes=classes, threshold=threshold, false_alarm_rate=false_alarm_rate)
