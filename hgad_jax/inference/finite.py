"""Scores that are no numbers are refused: every comparison with them would say that all is well."""

from collections.abc import Iterable

import numpy as np

from hgad_jax.errors import UserError


def refuse_not_finite(names: Iterable[str], *scores: np.ndarray) -> None:
    """Raises a `UserError` that names the first image with a score that is not finite.

    Args:
      names: of N images.
      scores: of these images, `[N, ...]` each.
    """
    for name, *of_image in zip(names, *scores, strict=True):
        if not all(np.isfinite(values).all() for values in of_image):
            raise UserError(
                f"'{name}' gets scores that are not finite: the model is broken. Look at the loss in "
                "metrics.jsonl and train anew, e.g. with a lower --config.train.learning_rate."
            )
