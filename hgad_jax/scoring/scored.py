"""What comes of scoring a batch of images: all that a decision on them needs."""

from typing import NamedTuple

import jax

from hgad_jax.types import Array


class Scores(NamedTuple):
    """Calibrated scores of a batch; each image's depend on that image alone."""

    image: jax.Array  # [B]
    maps: jax.Array  # [B, W, W], for pixels
    strangeness: jax.Array  # [B], how anomalous even the most ordinary part of the image is
    pieces: jax.Array  # [B, P], standardised image scores of pieces of evidence; P is 0 with scores of a map


class Scored(NamedTuple):
    """Scores, and the class that each image was scored as; of an image's n² tiles one after the other."""

    scores: Scores
    class_ids: Array  # [B·n²] int32, given or most probable
    class_log_prob: Array  # [B·n², K]: log p(image | class), in nats
