"""Scores of a dataset's labelled images, and thresholds from them for those who have some."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from hgad_jax.data import Record
from hgad_jax.errors import UserError
from hgad_jax.inference.eval_set import refuse_unknown
from hgad_jax.inference.evidence_batches import evidence_batches
from hgad_jax.inference.run_dataset import run_dataset
from hgad_jax.inference.scorer import Scorer, Scores
from hgad_jax.runs.model import sizes_needed
from hgad_jax.scoring.threshold import Threshold, f1_max_threshold


def scored_batches(
    scorer: Scorer, records: Sequence[Record], class_ids: np.ndarray | None = None
) -> Iterator[tuple[slice, Scores, np.ndarray]]:
    """Scores records batch by batch, with tiles put together, under a progress bar.

    Args:
      scorer: of the run.
      records: images.
      class_ids: of the records, where they are given.

    Yields:
      Which records; their `Scores` on the host; the class each was scored as.
    """
    for place, rows, evidence in evidence_batches(scorer, records, class_ids):
        boxes = scorer.boxes(sizes_needed(scorer.transform, [records[i].path for i in rows]))
        scores = jax.device_get(scorer.calibrated(evidence, boxes))
        count = place.stop - place.start
        scored_as = np.asarray(evidence.class_ids)[:: scorer.transform.num_tiles][:count]
        yield place, jax.tree.map(lambda array, count=count: array[:count], scores), scored_as


def f1_max_thresholds(
    scorer: Scorer, directory: Path, log: Callable[[str], None], *, root: str | Path = ""
) -> tuple[Threshold, ...]:
    """The thresholds with the best F1 on the labelled test images of a run's dataset, for each class.

    A class without both good and defective test images keeps the scorer's threshold, and the log says so.

    Args:
      scorer: of the run.
      directory: of the run.
      log: gets lines for the user.
      root: where the dataset is now; "" for where the run was trained on it.

    Raises:
      UserError: no class has both, or there are images of a class that the model does not know.
    """
    dataset = run_dataset(scorer, directory, log, root=root)
    records = dataset.test
    refuse_unknown(records, scorer.classes)
    labels = np.array([scorer.classes.index(r.class_name) for r in records], np.int32)
    anomalous = np.array([r.anomalous for r in records], bool)
    scores, ids = np.zeros(len(records)), np.zeros(len(records), np.int32)
    given = labels if scorer.mode == "given" else None
    for place, found, scored_as in scored_batches(scorer, records, given):
        scores[place], ids[place] = found.image, scored_as
    thresholds = list(scorer.decision.thresholds)
    labelled = [k for k in range(len(scorer.classes)) if len(set(anomalous[ids == k])) == 2]
    if not labelled:
        raise UserError(
            f"An F1-max threshold needs good and defective test images of a class; {dataset.name} has "
            f"{np.sum(~anomalous)} good and {np.sum(anomalous)} defective ones. Add some, or use the "
            "threshold of a rate, the default."
        )
    for k, name in enumerate(scorer.classes):
        chosen = ids == k
        if k in labelled:
            good = scorer.decision.good[k]
            thresholds[k] = f1_max_threshold(scores[chosen], anomalous[chosen], good.scores, good.weights)
        else:
            kept = thresholds[k].kind
            log(f"{name} has no good or no defective test images: it keeps its {kept} threshold")
    return tuple(thresholds)
