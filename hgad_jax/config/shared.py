"""Keys that several detectors have in common: of couplings, the first layer, AltUB."""

from hgad_jax.config.common import MOST_EPOCHS
from hgad_jax.config.key import Key, above, anything, at_least, multiple_of, one_of, passes


def name(detector: str) -> Key:
    """The key `detector.name`, by which its keys are known; it cannot be another's."""
    return Key(detector, "the detector", passes(f"{detector!r}", lambda value: value == detector))


WEIGHT = at_least(0)  # of a term of the loss


def couplings(*, clamp: float, hidden_ratio: float) -> dict[str, Key]:
    """Keys of a chain of affine couplings."""
    return {
        "num_blocks": Key(8, "couplings per flow", at_least(1, 1000)),
        "hidden_ratio": Key(
            hidden_ratio,
            "hidden width of a coupling's subnet over its input width",
            at_least(1e-3, 1000),
        ),
        "clamp": Key(clamp, "bound of a coupling's log-scale", above(0)),
        "identity_init": Key(True, "couplings start as the identity", anything()),
    }


def condition(low: int) -> Key:
    """Width of the position code; with `low` 0 a flow may do without."""
    none = "; 0: no condition (U-FLOW)" if low == 0 else ""
    return Key(64, f"width of the position code, a multiple of 4{none}", multiple_of(4, low))


FIRST_LAYER = {
    "conditioning": Key(
        "whiten", "first layer: none, standardize or whiten", one_of(("none", "standardize", "whiten"))
    ),
    "per_class": Key(True, "first layer: statistics of each class, or of all together", anything()),
    "regions": Key(
        64, "first layer: covariances per class; 0: it does not depend on the position", at_least(0)
    ),
    "shrinkage": Key(1e-3, "first layer: share of the mean variance added to every variance", at_least(0)),
}

BASE = Key(
    "standard",
    "normal distribution of the latents: standard, or trainable (AltUB)",
    one_of(("standard", "trainable")),
)


def altub(*, rate_ratio: float) -> dict[str, Key]:
    """Keys of AltUB (Kim et al., 2022), read when the base distribution is trained.

    What the paper leaves open is marked as our choice.
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
        "clip": Key(100.0, "bound of the base's gradients; 0: none", at_least(0)),
        "clip_by": Key(
            "norm",
            "norm of all of the base's gradients, or the value of each (our choice)",
            one_of(("norm", "value")),
        ),
    }
