"""The two states that HGAD's tables are of: best mean image AUROC, best mean pixel AUROC, on the test set.

Each is kept as a run of its own, `WORKDIR/best/METRIC`, which `hgad-jax eval` measures. Chosen on the test
set, they are for published figures alone: they have no thresholds.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hgad_jax.runs import checkpoints, processes, workdir
from hgad_jax.training.stability_report import PREFIX

FOLDER = "best"
METRICS = ("image_auroc", "pixel_auroc")
_VALUE = "best_on_test_set"  # in a checkpoint's metadata


def keep(
    config: Any,
    directory: Path,
    step: int,
    found: Mapping[str, float],
    items: dict[str, Any],
    metadata: Mapping[str, Any],
) -> None:
    """Keeps a state in place of the one that was best, for each metric that it is better in.

    Args:
      config: of the run.
      directory: likewise.
      step: after which the state was measured.
      found: what `Stability.measure` found.
      items: parameters and constants.
      metadata: of a checkpoint of the run.
    """
    for metric in METRICS if config.eval.keep == "best" else ():
        value = found.get(PREFIX + metric)
        if value is None:
            continue
        place = directory / FOLDER / metric
        if processes.is_first():
            _save_config(place, config)
        processes.barrier(f"the folder of the best {metric} is there")
        with checkpoints.open_manager(place, keep=1) as manager:
            stored = checkpoints.newest_metadata(manager)
            before = -math.inf if stored is None else stored[_VALUE]
            if value > before:
                own = {"calibration_images": 0, "calibration_names": (), _VALUE: value}
                checkpoints.save(manager, step, items, {**metadata, **own})


def _save_config(place: Path, config: Any) -> None:
    if (place / workdir.CONFIG_FILE).exists():
        workdir.save_places(place, config)  # as of a run that goes on, whose images may have been moved
    else:
        workdir.prepare(place, config)
