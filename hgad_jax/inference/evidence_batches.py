"""A model's evidence on many images, batch by batch."""

from collections.abc import Iterator, Sequence

import numpy as np

from hgad_jax.data import Record
from hgad_jax.data.pipeline import image_batches
from hgad_jax.detectors import Evidence
from hgad_jax.inference.scorer import Scorer
from hgad_jax.progress_bar import progress_bar


def evidence_batches(
    scorer: Scorer, records: Sequence[Record], class_ids: np.ndarray | None
) -> Iterator[tuple[slice, np.ndarray, Evidence]]:
    """Computes the evidence on images under a progress bar; memory does not grow with their number.

    Args:
      scorer: the model.
      records: the images.
      class_ids: the class of each, `[N]`, or None to find it out.

    Yields:
      Which images; these and what fills the last batch up, as indices; the evidence on all of the latter, of
      an image's tiles one after the other.
    """
    tiles = scorer.transform.num_tiles
    images = max(1, scorer.config.scoring.batch_size // tiles)
    batches = image_batches(
        records,
        transform=scorer.transform,
        batch_size=images * tiles,
        num_workers=scorer.config.data.workers,
    )
    with progress_bar(total=len(records), desc="scoring", unit="image") as bar:
        for start, batch in zip(range(0, len(records), images), batches, strict=True):
            rows = np.minimum(np.arange(start, start + images), len(records) - 1)
            ids = None if class_ids is None else np.asarray(class_ids)[rows].repeat(tiles)
            count = int(batch["valid"].sum()) // tiles
            yield slice(start, start + count), rows, scorer.evidence(batch["image"], ids)
            bar.update(count)
