"""What one model costs to score with: parameters, FLOPs, images a second, MB, memory.

Measured in a process of its own, so that the peak of memory is its own. Weights are random: nothing that is
measured hangs on them, and none has to be fetched.
"""

import math
import resource
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hgad_jax import detectors
from hgad_jax.config.words import CLASSES
from hgad_jax.reproducing.flops import by_xla, count
from hgad_jax.runs.model import build_model

_SECONDS = 2.0  # that images are scored for
_LARGEST = 8e9  # bytes of a model that is still timed


def measured(config: Any) -> dict[str, Any]:
    """The cost of scoring one image, backbone included, with the class given.

    Args:
      config: of the model; its backbone's weights are not read.

    Returns:
      `parameters` (of the detector, trained) and `backbone_parameters` (up to its last tap), in millions;
      `mb`, of all arrays a run needs, float32 as they are; `gflop`, of products, and `gflop_xla`, as XLA
      counts (the body of a loop once); `images_per_s` and `ms` of one image at a time; `peak_mb`, of the
      process or of the accelerator; `image_size`; `device`. Times are None where the model is too large.
    """
    config = config.copy_and_resolve_references()
    config.backbone.source = "random"
    classes = 1 if config.data.class_name else len(CLASSES[config.data.name]) or 1
    model = build_model(config, classes)
    abstract = model.detector.abstract(model.levels.sizes)
    held = [*jax.tree.leaves(abstract), *jax.tree.leaves(model.levels.variables)]
    num_bytes = sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in held if _is_array(x))
    image = jax.ShapeDtypeStruct((1, *(config.data.detail * config.data.image_size,) * 2, 3), np.uint8)
    class_id = jax.ShapeDtypeStruct((1,), np.int32)

    def score(variables, params, constants, images, class_ids):
        return model.detector.evidence(params, constants, model.levels.apply(variables, images), class_ids)

    arguments = (model.levels.variables, *abstract, image, class_id)
    found = {
        "method": detectors.method(config.detector),
        "backbone": config.backbone.name,
        "image_size": config.data.image_size,
        "parameters": _millions(abstract[0]),
        "backbone_parameters": _millions(model.levels.variables),
        "mb": num_bytes / 1e6,
        "gflop": count(score, *arguments) / 1e9,
        "gflop_xla": by_xla(score, *arguments).get("flops", math.nan) / 1e9,
        "images_per_s": None,
        "ms": None,
        "device": f"{jax.devices()[0].device_kind}, {jax.devices()[0].platform}",
    }
    if num_bytes <= _LARGEST:
        params, constants = jax.tree.map(_filled, abstract)
        seconds = _timed(score, model.levels.variables, params, constants, image)
        found |= {"ms": 1e3 * seconds, "images_per_s": 1 / seconds}
    return found | {"peak_mb": _peak() / 1e6}


def _timed(score: Any, variables: Any, params: Any, constants: Any, image: Any) -> float:
    """Seconds for an image, the median of those scored one after the other."""
    run = jax.jit(score)
    images = np.random.default_rng(0).integers(0, 256, image.shape, np.uint8)
    ids = np.zeros(1, np.int32)
    jax.block_until_ready(run(variables, params, constants, images, ids))  # compiles
    times = []
    start = time.perf_counter()
    while not times or time.perf_counter() - start < _SECONDS:
        before = time.perf_counter()
        jax.block_until_ready(run(variables, params, constants, images, ids))
        times.append(time.perf_counter() - before)
    return float(np.median(times))


def _filled(leaf: Any) -> jax.Array:
    """Small numbers: of zeros alone some detectors would make no numbers."""
    return jnp.full(leaf.shape, 0.01, leaf.dtype) if _is_float(leaf) else jnp.zeros(leaf.shape, leaf.dtype)


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _millions(tree: Any) -> float:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree)) / 1e6


def _peak() -> int:
    """Bytes in use at most, of the accelerator if there is one, else of this process."""
    stats = jax.devices()[0].memory_stats() if jax.devices()[0].platform != "cpu" else None
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
