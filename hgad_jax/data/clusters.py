"""Pseudo-classes for images of unknown classes: k-means on pooled features of the backbone.

As HGAD's supplement proposes (A.2) for mixtures without labels: the images are grouped before training, and
each group is taken for a class.
"""

import json
import re
from collections.abc import Sequence

import numpy as np
import sklearn.cluster

from hgad_jax.errors import UserError
from hgad_jax.files import read_text, write_atomically

_FIT_ON = 20_000  # images at most; more make no other groups, only more work
_PATTERN = re.compile(r"cluster:([1-9]\d*)")


def num_clusters(classes: str) -> int | None:
    """K of the setting `cluster:K`; None for "given", the dataset's own classes.

    Raises:
        UserError: anything else.
    """
    if classes == "given":
        return None
    match = _PATTERN.fullmatch(classes)
    if not match:
        raise UserError(
            f"config.data.classes is '{classes}', expected 'given' (the dataset's own) or 'cluster:K' "
            "with the number of groups to make, such as 'cluster:3'"
        )
    return int(match[1])


def class_names(count: int) -> tuple[str, ...]:
    """cluster_0, cluster_1, ..."""
    return tuple(f"cluster_{k}" for k in range(count))


def pool(levels: Sequence[np.ndarray]) -> np.ndarray:
    """Global features of images: each level's mean over positions, of length one, side by side.

    Args:
        levels: `[B, h, w, C]` each.

    Returns:
        float32 `[B, sum of C]`.
    """
    means = [np.asarray(level, np.float32).mean((1, 2)) for level in levels]
    return np.concatenate([m / np.linalg.norm(m, axis=1, keepdims=True).clip(1e-12) for m in means], axis=1)


def fit(pooled: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Group images by k-means.

    Args:
        pooled: `[N, D]` of `pool`.
        count: groups, K.
        seed: of the starts, of which the best of ten is taken.

    Returns:
        float32 `[K, D]` centroids, in the order in which their first images come.

    Raises:
        UserError: fewer different images than groups.
    """
    chosen = pooled[np.unique(np.linspace(0, len(pooled) - 1, min(len(pooled), _FIT_ON)).astype(int))]
    different = len(np.unique(chosen, axis=0))
    if different < count:
        raise UserError(
            f"config.data.classes asks for {count} groups, but there are only {different} different images. "
            "Lower it or add images."
        )
    means = sklearn.cluster.KMeans(count, random_state=seed).set_params(n_init=10).fit(chosen)
    _, first = np.unique(np.asarray(means.labels_), return_index=True)
    return means.cluster_centers_[np.argsort(first)].astype(np.float32)


def assign(centroids: np.ndarray, pooled_features: np.ndarray) -> np.ndarray:
    """Nearest centroid of each image.

    Args:
        centroids: `[K, D]`.
        pooled_features: `[N, D]` of `pool`.

    Returns:
        int32 `[N]`.
    """
    # |x - c|² without |x|², which does not depend on the centroid
    distances = (centroids**2).sum(1) - 2 * pooled_features @ centroids.T
    return distances.argmin(1).astype(np.int32)


def save(path: str, centroids: np.ndarray, assignment: dict[str, str]) -> None:
    """Write centroids and the class of each training image as JSON, whole or not at all."""
    write_atomically(path, json.dumps({"centroids": centroids.tolist(), "assignment": assignment}, indent=1))


def load(path: str) -> np.ndarray | None:
    """Read the centroids back; None where there are none.

    Raises:
        UserError: the file is damaged.
    """
    try:
        centroids = np.array(json.loads(read_text(path))["centroids"], np.float32)
        if centroids.ndim != 2:
            raise ValueError(f"centroids of shape {centroids.shape}")
        return centroids
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"'{path}' cannot be read as the groups of the run's images ({error}). Put it back, or train "
            "anew in another --workdir."
        ) from error
