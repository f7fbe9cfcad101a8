"""Keys that several detectors have in common: of the parts that they are composed of, and AltUB's."""

from collections.abc import Callable

from hgad_jax.config.bank import CANDIDATES, KERNEL, PROJECTION
from hgad_jax.config.common import MOST_EPOCHS
from hgad_jax.config.key import Key, above, anything, at_least, multiple_of, one_of, passes
from hgad_jax.config.recipe import TEXT, Asked, Changes
from hgad_jax.distributions import BASES
from hgad_jax.flows import FLOWS


def name(detector: str) -> Key:
    """The key `detector.name`, by which its keys are known; it cannot be another's."""
    return Key(detector, "the detector", passes(f"{detector!r}", lambda value: value == detector))


ZERO_GRAD = one_of(("none", "zeros"))
WEIGHT = at_least(0)  # of a term of the loss
# Weights of the terms of a base distribution that knows classes, for detectors whose own does not.
OF_CLASSES = {
    name: Key(0.0, f"weight of {what}; of a base distribution that knows classes", WEIGHT)
    for name, what in {
        "mutual_information": "the mutual information, nats, maximised",
        "entropy": "L_e, nats",
        "intra": "L_in, nats per dimension; from stage two on",
    }.items()
}

_ODD = passes("odd numbers", lambda sizes: bool(sizes) and all(k >= 1 and k % 2 == 1 for k in sizes))

_NORMS = one_of(("none", "fixed", "trainable"))

_DENSE = {
    "fixed_scale": Key(
        False,
        "dense: couplings have no scale and offset of each channel that are trained",
        anything(),
        before=False,
    ),
    "condition_channels": Key(
        64,
        "dense: width of the position code, a multiple of 4; 0: not told the position (U-FLOW)",
        multiple_of(4, 0),
    ),
}
_CONVOLUTION = {
    "kernel_sizes": Key((3, 1), "convolution: of the couplings, in turn; odd", _ODD, "positions"),
    "norm": Key(
        "none",
        "convolution: layer norm before it, with a trainable affine map, fixed (without one), or none",
        _NORMS,
    ),
    "output_norm": Key(
        "none",
        "convolution: layer norm of what it gives, likewise (the other reading of a sentence of AltUB's)",
        _NORMS,
        before="none",
    ),
}
_FIRST_LAYER = {
    "conditioning": Key(
        "whiten", "first layer: none, standardize or whiten", one_of(("none", "standardize", "whiten"))
    ),
    "per_class": Key(True, "first layer: statistics of each class, or of all together", anything()),
    "regions": Key(
        64, "first layer: covariances per class; 0: it does not depend on the position", at_least(0)
    ),
    "shrinkage": Key(1e-3, "first layer: share of the mean variance added to every variance", at_least(0)),
}
_HIERARCHICAL = {
    "num_centres": Key(4, "hierarchical: Gaussian centres a class", at_least(1)),
    "centre_distance": Key(5.0, "hierarchical: between the initial centres of two classes", at_least(0)),
    "delta_scale": Key(
        0.1,
        "hierarchical: deviation of a class's further centres around its main one, at the start",
        at_least(0),
    ),
    "label_smoothing": Key(0.02, "hierarchical: of the mutual information", at_least(0, 1)),
}


def of_bank(what: str) -> dict[str, Key]:
    """Keys of a bank of centres in the section `detector`."""
    return {
        "bank_size": Key(4000, f"{what}its vectors of a class", at_least(1, 1_000_000)),
        **{
            f"bank_{name}": key._replace(doc=what + key.doc)
            for name, key in (("candidates", CANDIDATES), ("projection", PROJECTION), ("kernel", KERNEL))
        },
    }


def parts(*, flow: str, base: str, clamp: float, hidden_ratio: float) -> dict[str, Key]:
    """Keys of the parts that detectors are composed of; those of parts not chosen are not read."""
    return {
        "flow": Key(flow, "couplings: dense, convolution, or none; docs/parts.md", one_of(FLOWS)),
        "num_blocks": Key(8, "couplings per flow", at_least(1, 1000)),
        "hidden_ratio": Key(
            hidden_ratio,
            "hidden width of a coupling's subnet over its input width",
            at_least(1e-3, 1000),
        ),
        "clamp": Key(clamp, "bound of a coupling's log-scale", above(0)),
        "identity_init": Key(True, "couplings start as the identity", anything()),
        **_DENSE,
        **_CONVOLUTION,
        **_FIRST_LAYER,
        "base": Key(
            base,
            "distribution of the latents: standard (normal), trainable (normal, with a mean and a scale for "
            "every element: AltUB), hierarchical (a mixture over classes and centres: HGAD) or centres (a "
            "bank of each class's vectors: PatchCore)",
            one_of(BASES),
        ),
        **_HIERARCHICAL,
        **of_bank("centres: "),
    }


def altub_preset(*, last_epoch: float) -> Callable[[Asked], Changes]:
    """AltUB's base distribution; with published settings also the paper's seed and penalty, and its window.

    Args:
      last_epoch: of the window that starts at epoch 100, on the paper's datasets.
    """

    def changes(asked: Asked) -> Changes:
        found = {"detector.base": "trainable"}
        if not asked.is_paper:
            return found
        found |= {"seed": 25, "altub.decayed": True}
        measured = asked.dataset in ("mvtec_ad", "btad") and TEXT not in asked.words.presets
        return found | ({"eval.window": (100.0, last_epoch)} if measured else {})

    return changes


def altub(*, rate_ratio: float, clip: float = 0.0) -> dict[str, Key]:
    """Keys of AltUB (Kim et al., 2022), read when the base distribution is trained.

    What the paper leaves open is marked as our choice.

    Args:
      rate_ratio: of the default preset: the published rate, at most .05, over its own.
      clip: 100 for FastFlow alone, as published.
    """
    epochs = at_least(0, MOST_EPOCHS)
    return {
        "freeze_interval": Key(
            5,
            "in every so-manieth epoch the flow is frozen and the base trained alone",
            at_least(1),
            "epochs",
        ),
        "first_epoch": Key(
            0, "number of the first epoch, 0 or 1: with 0 it is a frozen one (our choice)", at_least(0)
        ),
        "start_epoch": Key(
            0.0, "passes over the images before which the base is not trained", epochs, "epochs"
        ),
        "rate_ratio": Key(
            rate_ratio, "learning rate of the base in frozen epochs over train.learning_rate", at_least(0)
        ),
        "clip": Key(clip, "bound of the base's gradients; 0: none", at_least(0)),
        "clip_by": Key(
            "norm",
            "norm of all of the base's gradients, or the value of each (our choice)",
            one_of(("norm", "value")),
        ),
        "decayed": Key(
            False,
            "whether train.weight_decay is of the base's means and log-scales, too, as one optimiser with "
            "one penalty for all has it (our reading of the paper's settings)",
            anything(),
            before=False,
        ),
    }
