"""Counts what HGAD costs: FLOPs, parameters, bytes of the cache and of the exchange between devices.

    python benchmarks/flops.py --backbone=tf_efficientnet_b6 --size=1024 --batch=8

Products of matrices and convolutions are counted in the program that JAX traces, loops by their length. XLA
is asked too (`compiled.cost_analysis()`), for a part without loops, since it counts the body of a loop once.
Nothing is computed and no weights are needed.
"""

import argparse
import math

import jax
import numpy as np

from hgad_jax import detectors
from hgad_jax.backbones.levels import feature_levels
from hgad_jax.config import get_config
from hgad_jax.flows import flow
from hgad_jax.reproducing.flops import by_xla, count


def sizes_of(backbone: str, size: int):
    """Of the paper's three levels, and the FLOPs of extracting them from one image, by us and by XLA.

    XLA's include what is done element by element, such as depthwise convolutions written as shifted sums.
    """
    levels = feature_levels(backbone, taps=("blocks.4",), scales=(1, 2, 4), image_size=size, source="random")
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)
    by_xla = levels.apply.lower(levels.variables, image).cost_analysis()["flops"]  # compiling takes a minute
    return levels.sizes, count(levels.apply, levels.variables, image), by_xla


def paper_detector(classes: int):
    """HGAD with the published hyper-parameters."""
    return detectors.create(get_config("hgad_folder", "paper").detector, classes)


def step_flops(detector, params, constants, sizes, batch: int) -> tuple[int, int]:
    """Of scoring a batch and of the gradient of its loss, features given."""
    config = get_config("hgad_folder", "paper")
    features = tuple(jax.ShapeDtypeStruct((batch, *shape), np.float32) for shape in sizes)
    labels = jax.ShapeDtypeStruct((batch,), np.int32)
    weights = dict(config.loss)

    def loss(params, constants, features, labels):
        return detector.loss(
            params, constants, detector.prepare(constants, features, labels), labels, weights
        )[0]

    forward = count(detector.evidence, params, constants, features, labels)
    return forward, count(jax.grad(loss), params, constants, features, labels)


def one_block(channels: int, side: int, batch: int):
    """A flow of one block, whose loop XLA need not count, and its arguments."""
    config = get_config("hgad_folder", "paper").detector
    params = jax.eval_shape(
        lambda: flow.init_params(
            jax.random.key(0), channels=channels, num_blocks=1, condition_channels=config.condition_channels
        )
    )
    rotations = jax.ShapeDtypeStruct((1, channels, channels), np.float32)
    x = jax.ShapeDtypeStruct((batch, side, side, channels), np.float32)
    return lambda p, r, x: flow.forward(p, r, x, clamp=config.clamp), (params, rotations, x)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="tf_efficientnet_b6")
    for name, default in {"size": 1024, "batch": 8, "classes": 15, "images": 3629}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    sizes, extraction, extraction_by_xla = sizes_of(options.backbone, options.size)
    detector = paper_detector(options.classes)
    params, constants = detector.abstract(sizes)
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    fixed = sum(math.prod(level.mixing.shape) for level in constants)
    vectors = sum(h * w for h, w, _ in sizes)
    values = sum(h * w * c for h, w, c in sizes)
    one, _ = step_flops(detector, params, constants, sizes, 1)
    _, step = step_flops(detector, params, constants, sizes, options.batch)
    print(f"levels {sizes}, {vectors} vectors and {values} values per image")
    print(f"{parameters / 1e6:.2f} M trained parameters, {fixed / 1e6:.2f} M fixed")
    print(f"backbone, one image: {extraction / 1e9:.1f} GFLOP, by XLA {extraction_by_xla / 1e9:.1f}")
    print(f"flows and mixture, one image: {one / 1e9:.1f} GFLOP")
    print(f"training step, batch {options.batch}, features cached: {step / 1e9:.1f} GFLOP")
    print(f"exchanged per step: {4 * parameters / 1e6:.1f} MB, and twice that on every link's ring")
    print(f"cache: {4 * values / 1e6:.2f} MB per image, {4 * values * options.images / 1e9:.1f} GB")
    h, _, channels = sizes[-1]
    function, arguments = one_block(channels, h, options.batch)
    ours, xla = count(function, *arguments), by_xla(function, *arguments)
    print(f"one block on the smallest level: {ours / 1e9:.3f} GFLOP, by XLA {xla['flops'] / 1e9:.3f}")
    print(f"  which reads and writes {xla['bytes accessed'] / 1e6:.1f} MB, by XLA")


if __name__ == "__main__":
    main()
