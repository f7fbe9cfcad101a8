"""What a detector is: a value that holds pure functions."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from hgad_jax.scoring.published import PublishedScore


class Evidence(NamedTuple):
    """What a detector says of a batch of images: per level a map, per image its class."""

    # [B, h, w]: of the features given the class (or under the mixture of classes), nats per dimension
    log_likelihood: tuple[jax.Array, ...]
    negative_entropy: tuple[jax.Array, ...]  # [B, h, w]: of the class posterior, in nats
    class_log_prob: jax.Array  # [B, K]: log p(image | class), summed over positions and levels, in nats
    class_ids: jax.Array  # [B] int32: the class used, given or most probable


class Fibres(NamedTuple):
    """How a detector consumes a batch in fibres, small sets of vectors of one level with a step for each.

    Attributes:
      size: vectors of a fibre; a level with fewer in a batch takes all of them at once.
      zero_grad: what a step does to the other levels: `"none"`, or `"zeros"`, a step with gradients of zero.
      loss: (params and constants of the level, inputs [N, ...], positions [N], class ids [N], (h, w), loss
        weights) → (scalar, dict of scalar metrics); a mean over vectors.
    """

    size: int
    zero_grad: str
    loss: Callable


class Optimised(NamedTuple):
    """What the optimiser has to know of the parameters, by the names of their parts.

    Attributes:
      decayed: the part that weight decay is for.
      alternated: the part that takes turns with the others (`training.optimizers.alternating`); "": none.
      alternation: section of the config that says how.
    """

    decayed: str = "flow"
    alternated: str = ""
    alternation: str = ""


class Detector(NamedTuple):
    """Pure functions over `params` (trained) and `constants` (fitted once, then fixed).

    init(key, batches): `batches` is one callable per level (see `flows.conditioning.fit_affine`)
      → (params, constants).
    abstract(sizes): map sizes `(h, w, C)` per level → (params, constants) as `jax.ShapeDtypeStruct`s, to
      restore a checkpoint into.
    prepare(constants, features, labels, grids=None): features per level `[B, h, w, C]`, class ids `[B]` → the
      flows' inputs, a pytree of `[B, ...]`: all that is not trained, done once per batch. With a `Grid` for
      each level the features are those of the grids' positions.
    loss(params, constants, inputs, labels, weights): a dict of loss weights → (scalar, dict of scalar
      metrics); a mean over images, so that the losses of equal parts of a batch average to the loss of the
      whole. `params` may be what `ready` has made of them.
    evidence(params, constants, features, class_ids=None, *, mix_classes=False): with `class_ids=None` each
      image's class is found → `Evidence`. With `mix_classes` its log-likelihood is that under the mixture of
      all classes.
    log_likelihood(params, constants, features, labels, grids=None): of images of these classes, per level
      `[B]`: the mean over positions in nats per dimension, without the constant −ln(2π)/2. None if a level's
      parameters have none of their own.
    fibres: None if a batch is one step of `loss`.
    latents(params, constants, features, class_ids): z per level, `[B, h, w, C]`, standardised by the base
      distribution; None where that is no normal one.
    ready(params, inputs, grids=None): what `loss` makes of the parameters whatever the images, to be done
      once for all parts of a batch.
    samples_positions: whether `prepare`, `ready` and `log_likelihood` take grids.
    published: its paper's score maps, for the protocol `paper`.
    fitted: whether it is fitted by `init` and takes no training steps.
    mixes_classes: whether `evidence` knows a likelihood under the mixture of all classes.
    least_channels: channels that every level has to have.
    terms: names of the loss terms, which are keys of the loss weights.
    stage_two: those of them that set in at stage two.
    optimised: for the optimiser.
    """

    init: Callable
    abstract: Callable
    prepare: Callable
    loss: Callable
    evidence: Callable
    published: PublishedScore
    log_likelihood: Callable | None = None
    fibres: Fibres | None = None
    ready: Callable = lambda params, inputs, grids=None: params
    latents: Callable | None = None
    samples_positions: bool = False
    fitted: bool = False
    mixes_classes: bool = False
    least_channels: int = 1
    terms: tuple[str, ...] = ()
    stage_two: tuple[str, ...] = ()
    optimised: Optimised = Optimised()
