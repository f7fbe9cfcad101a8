"""What `ablation.py` compares: the default preset with some keys changed, or with another optimiser."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from optax import contrib

_KERNELS = ("passive_kernel", "condition_kernel", "out_kernel")
_CLIP = 1.0


class Variant(NamedTuple):
    """A choice of the default preset taken back, or another one made."""

    keys: dict[str, Any]
    optimizer: Callable[[Any], Any] | None = None  # from the schedule
    parameters: Callable[[Any], Any] | None = None  # from the state; None: those that were trained


def _keys(**keys: Any) -> Variant:
    return Variant({name.replace("__", "."): value for name, value in keys.items()})


def _last(optimizer: Callable, parameters: Callable | None = None) -> Variant:
    return Variant({"train.keep": "last"}, optimizer, parameters)


def _without_step(transformation: Any) -> Any:
    """Ours are told the step; optax's count for themselves."""
    return optax.GradientTransformationExtraArgs(
        transformation.init,
        lambda updates, state, params=None, **_: transformation.update(updates, state, params),
    )


def _chain(schedule: Any, *parts: Any, rate: float = 1.0) -> Any:
    learning_rate = optax.scale_by_learning_rate(lambda step: rate * schedule.learning_rate(step))
    return _without_step(optax.chain(optax.clip_by_global_norm(_CLIP), *parts, learning_rate))


def _is_flow(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(getattr(key, "name", None) == "flow" for key in path), params
    )


def _adamw(schedule: Any) -> Any:
    decay = optax.add_decayed_weights(0.01, mask=_is_flow)
    return _chain(schedule, optax.scale_by_adam(b1=0.95, b2=0.99), decay)


def _lion(schedule: Any) -> Any:
    return _chain(schedule, optax.scale_by_lion(), rate=0.1)


def _muon(schedule: Any) -> Any:
    """Muon for the couplings' dense kernels, Adam for the rest."""

    def label(path, leaf):
        del leaf
        return "muon" if any(getattr(key, "name", None) in _KERNELS for key in path) else "adam"

    numbers = contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)  # axis 0 is that of the blocks
    muon = contrib.scale_by_muon(
        weight_dimension_numbers=lambda params: jax.tree.map(lambda _: numbers, params)
    )
    parts = {"muon": optax.chain(muon, optax.scale(0.2)), "adam": optax.scale_by_adam(b1=0.95, b2=0.99)}
    labels = lambda params: jax.tree_util.tree_map_with_path(label, params)  # noqa: E731
    return _chain(schedule, optax.transforms.partition(parts, labels))


def _averaging(decay: float) -> Variant:
    """Evaluates the exponential moving average of the parameters."""

    def make(schedule):
        inner = optax.with_extra_args_support(schedule.optimizer)

        def update(updates, state, params, **extra):
            inner_state, average = state
            updates, inner_state = inner.update(updates, inner_state, params, **extra)
            new = optax.apply_updates(params, updates)
            return updates, (inner_state, optax.incremental_update(new, average, 1 - decay))

        return optax.GradientTransformationExtraArgs(
            lambda params: (inner.init(params), jax.tree.map(lambda x: x + 0, params)), update
        )

    return _last(make, lambda state: state.opt_state[1])


DEFAULT = "default"
VARIANTS: dict[str, dict[str, Variant]] = {
    "features": {
        DEFAULT: Variant({}),
        "maps of the backbone as they are": _keys(backbone__equalize=0.0, backbone__neighbours=()),
        "not equalized": _keys(backbone__equalize=0.0),
        "neighbours not averaged": _keys(backbone__neighbours=()),
    },
    "conditioning": {
        "untrained": _keys(train__epochs=0.0),
        "no regions": _keys(detector__regions=0),
        "no regions, untrained": _keys(detector__regions=0, train__epochs=0.0),
        "one Gaussian for all classes": _keys(detector__regions=0, detector__per_class=False),
        "the same, untrained": _keys(detector__regions=0, detector__per_class=False, train__epochs=0.0),
        "no regions, standardised": _keys(detector__regions=0, detector__conditioning="standardize"),
        "PyTorch's initial couplings": _keys(detector__identity_init=False),
    },
    "objective": {
        "likelihood alone": _keys(loss__mutual_information=0.0, loss__intra=0.0),
        "no mutual information": _keys(loss__mutual_information=0.0),
        "mutual information × 10": _keys(loss__mutual_information=0.1),
        "mutual information × 100": _keys(loss__mutual_information=1.0),
        "no intra-class term": _keys(loss__intra=0.0),
        "intra-class term from the start": _keys(train__stage_two_epoch=0.0),
        "entropy, 0.01": _keys(loss__entropy=0.01),
        "log-sigmoid, 1": _keys(loss__log_sigmoid=1.0),
        "one centre a class": _keys(detector__num_centres=1),
        "ten centres a class, far apart": _keys(detector__num_centres=10, detector__delta_scale=1.0),
    },
    "optimisation": {
        "last state": _keys(train__keep="last"),
        "learning rate 0.003": _keys(train__learning_rate=3e-3),
        "learning rate 0.0003": _keys(train__learning_rate=3e-4),
        "no clipping": _keys(train__clip_norm=0.0),
        "32 images a step": _keys(train__batch_size=32),
        "128 images a step": _keys(train__batch_size=128),
        "64 positions an image, 4 passes": _keys(train__positions=64, train__epochs=4.0),
        "AdamW, decay 0.01; last state": _last(_adamw),
        "Lion, learning rate ÷ 10; last state": _last(_lion),
        "Muon, updates of 0.2; last state": _last(_muon),
        "moving average, 0.99; last state": _averaging(0.99),
    },
}
