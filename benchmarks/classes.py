"""What more products cost: a training step and scoring by a model of K classes, beside one of one.

    python benchmarks/classes.py

Default settings from their features on (the backbone does not know of classes); parameters, statistics and
features are random numbers, and images are of all classes evenly. `found`: the model finds each image's
class; `given`: it is told. Times are medians of some rounds. The last line is JSON: how many times as long as
with one class.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's package

import jax
import numpy as np

from hgad_jax import detectors
from hgad_jax.config import get_config
from hgad_jax.flows.grid import draw_grids, take
from hgad_jax.runs import host
from hgad_jax.runs.mesh import data_mesh, per_image, replicate
from hgad_jax.runs.model import Model
from hgad_jax.training.batches import placed
from hgad_jax.training.loop import make_schedule, make_step
from hgad_jax.training.step import init_state

SIZES = ((32, 32, 40), (16, 16, 112), (8, 8, 320))  # EfficientNet-Lite0's at 256 px
SCORED = 32  # images at a time


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--classes", nargs="+", type=int, default=[3, 15, 27], help="numbers of products")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    host.use_cores()
    print(f"{'ms':>10}{'training':>12}{'given':>12}{'found':>12}")
    one, ratios = measure(1, args.rounds), {}
    for count in args.classes:
        found = measure(count, args.rounds)
        ratios[count] = {name: round(found[name] / one[name], 2) for name in one}
    print(json.dumps(ratios))


def measure(
    num_classes: int, rounds: int, sizes: tuple[tuple[int, int, int], ...] = SIZES
) -> dict[str, float]:
    """Median seconds of a training step, and of scoring with the class given and found."""
    contenders = make(num_classes, sizes)
    times = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            if round_:  # the first compiles
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(of_name) for name, of_name in times.items()}
    print(
        f"{num_classes:>10}" + "".join(f"{1e3 * seconds:12.1f}" for seconds in medians.values()), flush=True
    )
    return medians


def make(num_classes: int, sizes: tuple[tuple[int, int, int], ...]) -> dict[str, Callable[[], Any]]:
    """What is timed, by its name: functions without arguments."""
    config, mesh, rng = get_config("hgad_folder"), data_mesh(), np.random.default_rng(0)
    model = Model(None, detectors.create(config.detector, num_classes), num_classes)
    abstract = model.detector.abstract(sizes)
    numbers = jax.tree.map(lambda leaf: _numbers(rng, leaf, config.detector.regions), abstract)
    params, constants = replicate(mesh, numbers)
    schedule = make_schedule(config, model.detector, num_examples=1000)
    step = make_step(config, model, schedule, mesh)
    grids = draw_grids(rng, sizes, config.train.positions)

    def images(count):
        features = tuple(rng.standard_normal((count, *size), np.float32) for size in sizes)
        return features, rng.permutation(np.arange(count) % num_classes).astype(np.int32)

    features, labels = images(config.train.batch_size)
    taken = tuple(take(x, grid, 1) for x, grid in zip(features, grids, strict=True))
    batch = placed(mesh, config.train.batch_size, taken, labels, grids)
    state = replicate(mesh, init_state(jax.tree.map(np.array, params), schedule.optimizer))
    evidence = per_image(model.detector.evidence, replicated=2, mesh=mesh)
    shown, shown_labels = images(SCORED)

    def train():
        nonlocal state
        state, metrics = step(state, constants, *batch)
        return metrics

    return {
        "training": train,
        "given": lambda: evidence(params, constants, shown, shown_labels),
        "found": lambda: evidence(params, constants, shown, None),
    }


def _numbers(rng: np.random.Generator, leaf: jax.ShapeDtypeStruct, regions: int) -> np.ndarray:
    """So small that nothing overflows: the time does not depend on them."""
    if np.issubdtype(leaf.dtype, np.integer):  # the region of each class and position, [K, h, w]
        return rng.integers(min(regions, leaf.shape[1] * leaf.shape[2]), size=leaf.shape, dtype=leaf.dtype)
    return 0.01 * rng.standard_normal(leaf.shape, np.float32)


if __name__ == "__main__":
    main()
