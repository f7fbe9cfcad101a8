"""What a base distribution is: a value that holds pure functions over the latents of one level."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from hgad_jax.types import Array, Scalar

LOG_2PI = math.log(2 * math.pi)

Size = tuple[int, int, int]  # h, w, C of a level's maps
Weights = Mapping[str, Scalar]  # of loss terms; a term without one is not part of the loss


class Init(Protocol):
    """How parameters start."""

    def __call__(self, key: jax.Array | None, size: Size, centres: jax.Array | None, /) -> Any:
        """(key, size of the maps, centres of the classes `[K, C]`) → parameters, a pytree or None.

        There is a key for a distribution that is `drawn`, and centres for one that has `classes`; else None.
        """
        ...


class Fit(Protocol):
    """How parameters are fitted to latents before training."""

    def __call__(
        self,
        key: jax.Array,
        batches: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]],
        counts: np.ndarray,
    ) -> Any:
        """(key, latents `[B, h, w, C]` with class ids `[B]`, images of each class `[K]`) → parameters."""
        ...


class LogProb(Protocol):
    """Log-likelihood of the features."""

    def __call__(self, params: Any, z: jax.Array, log_det: jax.Array, class_ids: Array, /) -> jax.Array:
        """(parameters, latents, log-dets, class ids) → log p(features | class), nats.

        That is log p(z | class) + log|det|, but for a constant, `Base.constant`. Latents are `[B, h, w, C]`
        with log-dets `[B, h, w]` and classes of images `[B]`, or vectors `[N, C]` with `[N]` and `[N]`. A
        distribution of all classes together does not look at these.
        """
        ...


class Loss(Protocol):
    """An objective of one level."""

    def __call__(
        self, params: Any, z: jax.Array, log_det: jax.Array, class_ids: Array, weights: Weights, /
    ) -> tuple[Scalar, dict[str, jax.Array]]:
        """(parameters, latents, log-dets, class ids, weights of terms) → (scalar, dict of all terms).

        Arguments as of `LogProb`; means over all vectors, weighted and added by the names in `Base.terms`.
        """
        ...


class Choose(Protocol):
    """Parameters of some positions."""

    def __call__(self, params: Any, positions: Any, /) -> Any:
        """(parameters of a level, some of its positions) → parameters of these alone."""
        ...


class Centres(Protocol):
    """Where classes start."""

    def __call__(self, channels: int, /) -> jax.Array:
        """C → where each class starts in the latent space, `[K, C]`."""
        ...


class ClassLogProb(Protocol):
    """Log-likelihood of the features under every class."""

    def __call__(self, params: Any, z: jax.Array, log_det: jax.Array, /) -> jax.Array:
        """(parameters, latents `[..., C]`, log-dets `[...]`) → log p(features | class) `[..., K]`, nats."""
        ...


class Classes(NamedTuple):
    """What a distribution that models several classes says of them.

    Attributes:
      number: K.
      centres: where the classes start; every level needs K channels at least.
      log_prob: of every class, with nothing left out.
      log_prior: parameters → `[K]`.
      negative_entropy: (parameters, z) → of the posterior over classes, nats; the higher, the surer.
    """

    number: int
    centres: Centres
    log_prob: ClassLogProb
    log_prior: Callable[[Any], jax.Array]
    negative_entropy: Callable[[Any, jax.Array], jax.Array]


def everywhere(params: Any, positions: Any) -> Any:
    """`Choose` for parameters that are the same at all positions."""
    del positions
    return params


class Base(NamedTuple):
    """A base distribution of the latents of one level.

    Attributes:
      init: → parameters before training.
      log_prob: log-likelihood of the features.
      loss: the objective that goes with it.
      terms: names of the terms of `loss`, keys of `config.loss`.
      stage_two: those of them that set in at `train.stage_two_epoch`.
      constant: what `log_prob` leaves out, to be subtracted, nats per dimension.
      drawn: whether `init` draws numbers.
      at_grid: for maps of the positions of a grid, which has `rows` and `columns`.
      of_vectors: for vectors of positions y · w + x, `[N]`.
      standardized: (parameters, z) → latents that are standard normal if the distribution is right; None
        for one that is not a normal distribution.
      classes: None for one that knows no classes.
      alternation: section of the config by whose keys its parameters and the flow's are trained in turn
        (`training.optimizers.alternating`); "": they are trained together.
      fit: makes parameters of the latents of training images, in place of those of `init`; None: nothing is
        fitted.
    """

    init: Init
    log_prob: LogProb
    loss: Loss
    terms: tuple[str, ...]
    stage_two: tuple[str, ...] = ()
    constant: float = 0.0
    drawn: bool = False
    at_grid: Choose = everywhere
    of_vectors: Choose = everywhere
    standardized: Callable[[Any, jax.Array], Array] | None = None
    classes: Classes | None = None
    alternation: str = ""
    fit: Fit | None = None
