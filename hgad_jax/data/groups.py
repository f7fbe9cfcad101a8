"""Near-duplicates among the good images of a class: exposures of one part, crops of one sheet.

On both sides of the split they would make held-out images what new images are not: seen before. They are
found by a coarse descriptor, features of the coarsest level pooled to 4 × 4. Whether a class has any is asked
first: of exposures of one part the nearest image is much nearer than the tenth nearest. Parts that lie at any
angle come near to that too (each has neighbours of nearly its angle), but fall into no clear clusters.
"""

from collections.abc import Iterator

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist

_GRID = 4  # positions along a side of a descriptor
_NEIGHBOUR = 10  # what is farther than the nearest, where there are groups
_FEWEST = 40  # different images of a class; fewer say too little of distances
_RATIO = 0.69  # nearest over tenth: .56 and .65 in two products with groups, from .72 on in four without
# Silhouette of groups, by how many images there are: few leave gaps by chance. Of 40, 80, 160 and all 762
# images of a product with groups .73, .6, .6 and .44; of parts at any angle .57, .51, .36 and (of 320) .23.
_SEPARATE = ((80, 0.65), (200, 0.38))
_CUT = 0.85  # of the distance to the tenth nearest: mean distance up to which clusters are one
_SAMPLE = 2000  # images that principal components and medians are taken of
_COMPONENTS = 128
_BLOCK = 512  # rows of distances at a time
_LARGEST = 4096  # images that are clustered together: 67 MB of distances


def coarse(level: np.ndarray) -> np.ndarray:
    """Descriptors of images by their coarsest features.

    Args:
        level: `[B, h, w, C]`.

    Returns:
        float16 `[B, D]`: means over 4 × 4 parts, or over each position of smaller maps.
    """
    level = np.asarray(level, np.float32)
    for axis in (1, 2):
        parts = np.array_split(np.arange(level.shape[axis]), min(_GRID, level.shape[axis]))
        level = np.add.reduceat(level, [part[0] for part in parts], axis)
        level /= np.array([len(part) for part in parts], np.float32).reshape(-1, *[1] * (3 - axis))
    return level.reshape(len(level), -1).clip(-6e4, 6e4).astype(np.float16)


def find(descriptors: np.ndarray) -> np.ndarray | None:
    """Group the images of one class.

    Memory beyond the descriptors does not grow with the square of their number: distances are computed in
    blocks, and clusters sought among at most 4,096 images that lie close together.

    Args:
        descriptors: `[N, D]` of `coarse`.

    Returns:
        int32 `[N]`, numbered in the order of their first images; an image that is like no other has a number
        of its own. None: the class has no groups, or too few images to tell.
    """
    _, first, copies = np.unique(descriptors, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # of images, whatever their descriptors are
    different = descriptors[first[order]]
    if len(different) < _FEWEST:
        return None
    nearest, tenth = _near(different)
    if np.median(nearest / np.maximum(tenth, 1e-12)) > _RATIO:
        return None
    points = _points(different)
    cut = _CUT * float(np.median(_near(points)[1]))
    ids = _clusters(points, cut)
    numbers, silhouettes = zip(*_SEPARATE, strict=True)
    if _silhouette(points, ids) < np.interp(len(ids), numbers, silhouettes):
        return None
    return numbered(ids[np.argsort(order)][copies.ravel()])


def numbered(keys: np.ndarray) -> np.ndarray:
    """Keys of groups `[N]`, of any kind, as int32 numbers in the order of their first images."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int32)[inverse.ravel()]


def sizes(ids: np.ndarray) -> np.ndarray:
    """Images of each group, `[G]`, of numbers `[N]` that leave none out."""
    return np.bincount(ids)


def _sample(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(int))


def _distances(x: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields some of the rows and their distances `[R, N]` to all points."""
    x = np.asarray(x, np.float32) - np.asarray(x[_sample(len(x))], np.float32).mean(0)
    squares = (x**2).sum(1)
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        found = squares[part, None] + squares - 2 * x[part] @ x.T
        found[np.arange(len(part)), part] = 0  # rounding leaves more
        yield part, np.sqrt(found.clip(0))


def _near(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances of a sample of points to the nearest and to the tenth nearest other."""
    k = min(_NEIGHBOUR, len(x) // 4)
    found = [np.partition(d, (1, k), 1)[:, [1, k]] for _, d in _distances(x, _sample(len(x)))]
    return tuple(np.concatenate(found).T)


def _points(descriptors: np.ndarray) -> np.ndarray:
    """Principal components `[N, K]`, each weighted down by the root of its deviation.

    What varies most over a class, such as how bright its images are, would hide which of them show one part.
    """
    sample = np.asarray(descriptors[_sample(len(descriptors))], np.float32)
    mean = sample.mean(0)
    sample = (sample - mean).astype(np.float64)
    values, vectors = np.linalg.eigh(sample @ sample.T)
    count = max(1, min(_COMPONENTS, len(sample) // 6))
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    kept = values > 1e-9 * values[0]
    axes = (sample.T @ (vectors[:, kept] / values[kept] ** 0.75)).astype(np.float32)
    blocks = range(0, len(descriptors), _BLOCK)
    return np.concatenate([(descriptors[s : s + _BLOCK].astype(np.float32) - mean) @ axes for s in blocks])


def _clusters(points: np.ndarray, cut: float) -> np.ndarray:
    """Average linkage up to a mean distance.

    Clusters that close have a pair as close, so they lie inside of the parts that pairs connect, and each
    part can be clustered by itself. A part that is too large is taken apart at a closer distance first.
    """
    ids = np.zeros(len(points), np.int64)
    waiting, count = [(np.arange(len(points)), cut)], 0
    while waiting:
        members, within = waiting.pop()
        labels = _connected(points[members], within)
        for label in range(labels.max() + 1):
            part = members[labels == label]
            if len(part) > _LARGEST:
                waiting.append((part, 0.9 * within))
                continue
            own = np.zeros(1, int)
            if len(part) > 1:
                own = fcluster(linkage(pdist(points[part]), "average"), cut, "distance") - 1
            ids[part] = count + own
            count += own.max() + 1
    return ids


def _connected(points: np.ndarray, within: float) -> np.ndarray:
    """Parts `[N]`, from 0 on, that pairs within a distance connect."""
    labels = np.arange(len(points))
    for rows, distances in _distances(points, np.arange(len(points))):
        i, j = np.nonzero(distances <= within)
        pairs = np.unique(labels[rows[i]] * len(points) + labels[j])  # of parts so far: fewer than of images
        ends = np.divmod(pairs, len(points))
        graph = coo_matrix((np.ones(len(pairs), bool), ends), shape=(len(points),) * 2)
        labels = connected_components(graph, directed=False)[1][labels]
    return np.unique(labels, return_inverse=True)[1]


def _silhouette(points: np.ndarray, ids: np.ndarray) -> float:
    """Mean over a sample of the images that are in groups; -1 if there is one group, or none."""
    count = sizes(ids)
    rows = np.flatnonzero(count[ids] > 1)
    if not len(rows) or len(count) < 2:
        return -1.0
    rows = rows[_sample(len(rows))]
    order = np.argsort(ids, kind="stable")
    starts = np.concatenate([[0], np.cumsum(count)[:-1]])
    found = []
    for part, distances in _distances(points, rows):
        total = np.add.reduceat(distances[:, order], starts, axis=1)  # by group
        at = np.arange(len(part)), ids[part]
        own = total[at] / (count[ids[part]] - 1)
        total /= count
        total[at] = np.inf
        other = total.min(1)
        found.append((other - own) / np.maximum(np.maximum(own, other), 1e-12))
    return float(np.concatenate(found).mean())
