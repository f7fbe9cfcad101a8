"""How normal a detector's latents are on good test images: AltUB's Table 5, Figures 1 and 3."""

from typing import Any

import numpy as np

from hgad_jax.data.pipeline import image_batches
from hgad_jax.errors import UserError
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.inference.scorer import Scorer
from hgad_jax.metrics.normality import KSCounts, element_normality

_ELEMENTS = 4096  # of all levels, drawn, whose distribution over images is looked at


def latent_normality(scorer: Scorer, test: EvalSet) -> dict[str, Any]:
    """The Kolmogorov-Smirnov statistic of latents under the detector's own base distribution.

    Args:
      scorer: of a detector with a normal base distribution.
      test: whose good images are looked at, each through the statistics of its own class.

    Returns:
      `{"levels": [KS per level], "mean": KS, "elements": …}`: means over channels; of the second, over those
      of all levels; and `element_normality` of elements that are drawn, None of too few images.

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
    drawn: list[np.ndarray] = []
    chosen = np.zeros(0, np.int64)
    for batch in image_batches(
        [test.records[i] for i in good],
        transform=scorer.transform,
        batch_size=scorer.config.scoring.batch_size * scorer.transform.num_tiles,
        num_workers=scorer.config.data.workers,
    ):
        latents = scorer.latents(batch["image"], labels[batch["index"]])
        counts = counts or [KSCounts(level.shape[-1]) for level in latents]
        valid = [np.asarray(level)[batch["valid"]] for level in latents]
        for count, level in zip(counts, valid, strict=True):
            count.add(level)
        flat = np.concatenate([level.reshape(len(level), -1) for level in valid], axis=1)
        if not drawn:
            number = flat.shape[1]
            chosen = np.random.default_rng(0).choice(number, min(_ELEMENTS, number), replace=False)
        drawn.append(flat[:, chosen])
    levels = [count.bounds()[1] for count in counts]
    return {
        "levels": [float(ks.mean()) for ks in levels],
        "mean": float(np.concatenate(levels).mean()),
        "elements": element_normality(np.concatenate(drawn)),
    }
