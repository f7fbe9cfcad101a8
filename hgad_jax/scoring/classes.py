"""How far the probability of a class can be believed, and when an image is of no known class.

The likelihood of an image under a class is a sum over thousands of positions and channels that are treated
as independent and are not. Its softmax is therefore 0 or 1 always. Divided by a temperature first (Guo et
al.: On calibration of modern neural networks, 2017), fitted to held-out good images, it is a probability:
of the images that are said to be of their class with 80 %, about 80 % are.
"""

from typing import cast

import numpy as np
from scipy.optimize import OptimizeResult, minimize_scalar
from scipy.special import log_softmax

from hgad_jax.shapes import Float, Int
from hgad_jax.types import Array, Scalar

_LOG_RANGE = (-2.0, 20.0)  # of the temperature: from a seventh to half a billion
_MARGIN = 1.0  # of the distance from the typical good image to the strangest one


def fit_temperature(class_log_prob: Float[Array, "N K"], labels: Int[Array, " N"]) -> float:
    """The temperature under which held-out images' classes are most probable.

    Where all of N images are found right, it would go to zero and every probability to one. N images do not
    show that: the true class's target is (n + 1)/(n + 2) and not 1, n being its number of images (Platt:
    Probabilistic outputs for support vector machines, 1999).

    Args:
      class_log_prob: `[N, K]`, in nats.
      labels: true class ids `[N]`.
    """
    log_prob = np.asarray(class_log_prob, np.float64)
    num_images, num_classes = log_prob.shape
    if num_classes == 1:
        return 1.0
    counts = np.bincount(labels, minlength=num_classes)[labels]
    sure = (counts + 1) / (counts + 2)
    targets = np.repeat(((1 - sure) / (num_classes - 1))[:, None], num_classes, axis=1)
    targets[np.arange(num_images), labels] = sure

    def loss(log_temperature):
        return -np.mean(np.sum(targets * log_softmax(log_prob / np.exp(log_temperature), axis=1), axis=1))

    # Not one basin everywhere: the best of a grid, refined.
    grid = np.linspace(*_LOG_RANGE, 89)
    best = int(np.argmin([loss(value) for value in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    # A cast, since SciPy has no types and what is inferred of this function is `object`.
    found = cast(OptimizeResult, minimize_scalar(loss, bounds=bounds, method="bounded"))
    return float(np.exp(found.x))


def class_probability(class_log_prob: Float[Array, "B K"], temperature: Scalar) -> Float[np.ndarray, "B K"]:
    """Probabilities `[B, K]` of the classes that the model knows, given that it is one of them."""
    return np.exp(log_softmax(np.asarray(class_log_prob, np.float64) / float(temperature), axis=1))


def strangeness_limit(strangeness: Float[np.ndarray, " N"]) -> float:
    """Above which an image scored as a class is of none of the known ones.

    As far again from the highest of the class's good images as that is from their median. Damaged parts lie
    between good ones and those of other products; a limit closer to the good ones would take them for another
    product, and how high the highest of few is, is a matter of luck.
    """
    highest = float(strangeness.max())
    return highest + _MARGIN * (highest - float(np.median(strangeness)))
