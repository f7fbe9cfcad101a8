"""The optimiser: Adam with the published form of weight decay, on the flow alone."""

import jax
import optax


def adam(
    schedule: optax.Schedule, *, beta1: float, beta2: float, weight_decay: float, clip_norm: float
) -> optax.GradientTransformation:
    """Adam over a tuple of `LevelParams`.

    Args:
      schedule: step → learning rate.
      beta1: decay of the mean of gradients.
      beta2: decay of their squares.
      weight_decay: added to the gradient times the parameter *before* Adam's scaling (the L2 penalty of
        PyTorch's Adam, not AdamW), for parameters of the flow only.
      clip_norm: bound of the gradient's global norm; 0 leaves it as it is.
    """

    def flow_only(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: _is_flow(path), params)

    parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    parts += [optax.add_decayed_weights(weight_decay, mask=flow_only)] if weight_decay else []
    parts += [optax.scale_by_adam(b1=beta1, b2=beta2), optax.scale_by_learning_rate(schedule)]
    return optax.chain(*parts)


def _is_flow(path) -> bool:
    return any(getattr(key, "name", None) == "flow" for key in path)
