"""What a detector is: a value that holds pure functions."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import jax

from hgad_jax.distributions.part import Weights
from hgad_jax.flows import Grid
from hgad_jax.scoring.published import PublishedScore
from hgad_jax.types import Array, Scalar

Batches = Callable[[], Iterable[tuple[Array, Array]]]  # of features [B, h, w, C] and labels [B] of a level
Sizes = Sequence[tuple[int, int, int]]  # h, w, C of each level's maps
Levels = Sequence[Array]  # features per level, [B, h, w, C]
Loss = tuple[Scalar, dict[str, jax.Array]]  # with the scalar metrics


class Evidence(NamedTuple):
    """What a detector says of a batch of images: per level a map, per image its class."""

    # [B, h, w]: of the features given the class (or under the mixture of classes), nats per dimension
    log_likelihood: tuple[jax.Array, ...]
    negative_entropy: tuple[jax.Array, ...]  # [B, h, w]: of the class posterior, in nats
    class_log_prob: jax.Array  # [B, K]: log p(image | class), summed over positions and levels, in nats
    class_ids: Array  # [B] int32: the class used, given or most probable


class FibreLoss(Protocol):
    """What is minimised in fibres."""

    def __call__(
        self,
        params: Any,
        constants: Any,
        inputs: Any,
        positions: jax.Array,
        class_ids: jax.Array,
        size: tuple[int, int],
        weights: Weights,
        /,
    ) -> Loss:
        """(params, constants, inputs, positions, class ids, (h, w), weights) → loss and metrics, of a level.

        A mean over vectors: inputs `[N, ...]`, positions `[N]`, class ids `[N]`.
        """
        ...


class Fibres(NamedTuple):
    """How a detector consumes a batch in fibres, small sets of vectors of one level with a step for each.

    Attributes:
      size: vectors of a fibre; a level with fewer in a batch takes all of them at once.
      zero_grad: what a step does to the other levels: `"none"`, or `"zeros"`, a step with gradients of zero.
      loss: of a fibre.
      constants: the detector's constants → those of its levels, in a tuple.
    """

    size: int
    zero_grad: str
    loss: FibreLoss
    constants: Callable[[Any], tuple[Any, ...]] = tuple


class Optimised(NamedTuple):
    """What the optimiser has to know of the parameters, by the names of their parts.

    Attributes:
      decayed: the part that weight decay is for.
      alternated: the part that takes turns with the others (`training.optimizers.alternating`); "": none.
      alternation: section of the config that says how.
      zero_grad: without fibres: `"none"`, one step on the losses of all levels together; or `"zeros"`, a step
        per level, one after the other, whose gradient is zeros for the other levels.
    """

    decayed: str = "flow"
    alternated: str = ""
    alternation: str = ""
    zero_grad: str = "none"


class Init(Protocol):
    """How a detector starts."""

    def __call__(self, key: jax.Array, batches: Sequence[Batches], /) -> tuple[Any, Any]:
        """(key, batches of each level, see `flows.conditioning.fit_affine`) → (params, constants)."""
        ...


class Abstract(Protocol):
    """What a checkpoint is restored into."""

    def __call__(self, sizes: Sizes, /) -> tuple[Any, Any]:
        """Map sizes → (params, constants) as `jax.ShapeDtypeStruct`s."""
        ...


class Prepare(Protocol):
    """All that is not trained, done once per batch."""

    def __call__(
        self, constants: Any, features: Levels, labels: Array, grids: Sequence[Grid] | None = None, /
    ) -> Any:
        """(constants, features, class ids `[B]`) → the flows' inputs, a pytree of `[B, ...]`.

        With a `Grid` for each level the features are those of the grids' positions.
        """
        ...


class Ready(Protocol):
    """What `loss` makes of the parameters whatever the images, done once for all parts of a batch."""

    def __call__(self, params: Any, inputs: Any, grids: Sequence[Grid] | None = None, /) -> Any:
        """(params, inputs) → params that `loss` takes, too."""
        ...


class ImageLoss(Protocol):
    """What is minimised."""

    def __call__(self, params: Any, constants: Any, inputs: Any, labels: Array, weights: Weights, /) -> Loss:
        """(params, constants, inputs, class ids, weights) → loss and metrics.

        A mean over images, so that the losses of equal parts of a batch average to the loss of the whole.
        `params` may be what `ready` has made of them.
        """
        ...


class LevelLoss(Protocol):
    """What is minimised of one level."""

    def __call__(
        self, params: Any, constants: Any, inputs: Any, labels: Array, weights: Weights, index: int, /
    ) -> Loss:
        """The arguments of `ImageLoss`, all levels in them, and which level → its loss and metrics."""
        ...


class FindEvidence(Protocol):
    """What is scored."""

    def __call__(
        self,
        params: Any,
        constants: Any,
        features: Levels,
        class_ids: Array | None = None,
        /,
        *,
        mix_classes: bool = False,
    ) -> Evidence:
        """(params, constants, features, class ids) → `Evidence`.

        Without class ids each image's class is found. With `mix_classes` its log-likelihood is that under the
        mixture of all classes.
        """
        ...


class LogLikelihood(Protocol):
    """What tells when training has gone far enough."""

    def __call__(
        self,
        params: Any,
        constants: Any,
        features: Levels,
        labels: Array,
        grids: Sequence[Grid] | None = None,
        /,
    ) -> tuple[jax.Array, ...]:
        """Of images of these classes, per level `[B]`.

        The mean over positions in nats per dimension, without the constant −ln(2π)/2.
        """
        ...


class Latents(Protocol):
    """Latents that are standard normal if the base distribution is right."""

    def __call__(
        self, params: Any, constants: Any, features: Levels, class_ids: Array, /
    ) -> tuple[Array, ...]:
        """(params, constants, features, class ids) → z per level, `[B, h, w, C]`."""
        ...


def as_they_are(params: Any, inputs: Any, grids: Sequence[Grid] | None = None) -> Any:
    """`Ready` where there is nothing to do."""
    del inputs, grids
    return params


class Detector(NamedTuple):
    """Pure functions over `params` (trained) and `constants` (fitted once, then fixed).

    Attributes:
      init: → params and constants.
      abstract: their shapes and dtypes.
      prepare: features → the flows' inputs.
      loss: of a batch.
      evidence: of a batch.
      published: its paper's score maps, for the protocol `paper`.
      log_likelihood: of images. None if a level's parameters have none of their own.
      fibres: None if a batch is one step of `loss`, or one of `level_loss` for each level.
      level_loss: the loss of one level alone; None if levels have none of their own.
      ready: params → params for `loss`.
      latents: None where the base distribution is no normal one.
      samples_positions: whether `prepare`, `ready` and `log_likelihood` take grids.
      fitted: whether it is fitted by `init` and takes no training steps.
      mixes_classes: whether `evidence` knows a likelihood under the mixture of all classes.
      least_channels: channels that every level has to have.
      terms: names of the loss terms, which are keys of the loss weights.
      stage_two: those of them that set in at stage two.
      optimised: for the optimiser.
    """

    init: Init
    abstract: Abstract
    prepare: Prepare
    loss: ImageLoss
    evidence: FindEvidence
    published: PublishedScore
    log_likelihood: LogLikelihood | None = None
    fibres: Fibres | None = None
    level_loss: LevelLoss | None = None
    ready: Ready = as_they_are
    latents: Latents | None = None
    samples_positions: bool = False
    fitted: bool = False
    mixes_classes: bool = False
    least_channels: int = 1
    terms: tuple[str, ...] = ()
    stage_two: tuple[str, ...] = ()
    optimised: Optimised = Optimised()
