"""How normal a detector's latents are on good test images: AltUB's Table 5."""

from typing import Any

import numpy as np

from hgad_jax.data.pipeline import image_batches
from hgad_jax.errors import UserError
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.inference.scorer import Scorer
from hgad_jax.metrics.normality import KSCounts


def latent_normality(scorer: Scorer, test: EvalSet) -> dict[str, Any]:
    """The Kolmogorov-Smirnov statistic of latents under the detector's own base distribution.

    Args:
      scorer: of a detector with a normal base distribution.
      test: whose good images are looked at, each through the statistics of its own class.

    Returns:
      `{"levels": [KS per level], "mean": KS}`, means over channels; of the last, over those of all levels.

    Raises:
      UserError: the detector has no such latents, or there are no good images.
    """
    if scorer.latents is None:
        raise UserError(
            "--normality is for flows under a normal base distribution (config.detector.base); this run's "
            f"detector is '{scorer.config.detector.name}', which has none."
        )
    good = np.flatnonzero(~test.anomalous)
    if not good.size:
        raise UserError("--normality needs good test images, and there are none.")
    labels = test.labels[good].repeat(scorer.transform.num_tiles)
    counts: list[KSCounts] = []
    for batch in image_batches(
        [test.records[i] for i in good],
        transform=scorer.transform,
        batch_size=scorer.config.scoring.batch_size * scorer.transform.num_tiles,
        num_workers=scorer.config.data.workers,
    ):
        latents = scorer.latents(batch["image"], labels[batch["index"]])
        counts = counts or [KSCounts(level.shape[-1]) for level in latents]
        for count, level in zip(counts, latents, strict=True):
            count.add(np.asarray(level)[batch["valid"]])
    levels = [count.bounds()[1] for count in counts]
    return {"levels": [float(ks.mean()) for ks in levels], "mean": float(np.concatenate(levels).mean())}
