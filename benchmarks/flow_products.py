"""Times the matrix products of the flow's training step, each alone, on one core.

    python benchmarks/flow_products.py

For the sizes of `benchmarks/flow.py` and of the default settings' levels. Their sum is what a step would
take if it were its products alone; `--step` times the step beside them. Times are the processor's and not the
clock's, so that other programs disturb them little.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flow import use_threads

from hgad_jax.flows import flow
from hgad_jax.flows.rotation import random_rotations
from hgad_jax.training.step import micro_batched_grad

IMAGES = 32
# blocks, channels, width of the position code, side of the map
SIZES = ((12, 112, 256, 16), (8, 40, 64, 32), (8, 112, 64, 16), (8, 320, 64, 8))


def products(channels: int, condition: int, vectors: int) -> dict[str, tuple]:
    """Of one block: what is multiplied, and the function; arrays as the step has them."""
    passive = channels - channels // 2
    hidden, out = 2 * (passive + condition), 2 * (channels // 2)
    rng = np.random.default_rng(0)

    def array(*shape):
        return jnp.asarray(rng.standard_normal(shape, np.float32))

    x1, h, raw, x = (
        array(vectors, passive),
        array(vectors, hidden),
        array(vectors, out),
        array(vectors, channels),
    )
    k1, k2, r = array(passive, hidden), array(hidden, out), array(channels, channels)
    return {
        "forward: first layer": (lambda x, k: x @ k, x1, k1),
        "forward: second layer": (lambda h, k: h @ k, h, k2),
        "forward: rotation": (lambda x, r: x @ r.T, x, r),
        "backward: rotation": (lambda g, r: g @ r, x, r),
        "backward: second layer, input": (lambda g, k: g @ k.T, raw, k2),
        "backward: second layer, kernel": (lambda g, h: g.T @ h, raw, h),
        "backward: first layer, input": (lambda g, k: g @ k.T, h, k1),
        "backward: first layer, kernel": (lambda x, g: x.T @ g, x1, h),
    }


def processor_seconds(function, *arguments, rounds: int) -> float:
    """Least processor time of a compiled function, after a round that is not counted."""
    times = []
    for _ in range(rounds + 1):
        start = time.process_time()
        jax.block_until_ready(function(*arguments))
        times.append(time.process_time() - start)
    return min(times[1:])


def make_step(blocks: int, channels: int, condition: int, side: int, micro_batches: int):
    """A training step as in `benchmarks/flow.py`, ready to be called."""
    params = flow.init_params(
        jax.random.key(0), channels=channels, num_blocks=blocks, condition_channels=condition
    )
    rotations = random_rotations(jax.random.key(1), blocks, channels)
    batch = jax.random.normal(jax.random.key(2), (IMAGES, side, side, channels))
    optimizer = optax.adam(2e-4)

    def loss(blocks, part):
        z, log_det = flow.forward(blocks, rotations, part, clamp=1.9)
        return jnp.mean(0.5 * jnp.sum(z**2, -1) - log_det) / channels, {}

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state):
        params, opt_state = state
        gradients, _ = micro_batched_grad(
            loss, params, batch, micro_batches, lambda params: flow.blocks_at(params, (side, side))
        )
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    state = params, optimizer.init(params)

    def run():
        nonlocal state
        state = step(state)
        return state

    return run


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=30, help="times each product is computed (default 30)")
    parser.add_argument("--micro-batches", type=int, default=8, help="parts of the batch (default 8)")
    parser.add_argument("--step", action="store_true", help="the whole step too; compiling takes a minute")
    args = parser.parse_args()
    use_threads(1)
    for blocks, channels, condition, side in SIZES:
        vectors = IMAGES * side * side // args.micro_batches
        count = blocks * args.micro_batches
        print(
            f"\n{blocks} blocks, {channels} channels, condition {condition}: {count} times {vectors} vectors"
        )
        print(f"{'':32}{'GFLOP/s':>9}{'ms a step':>11}")
        operations = seconds = 0.0
        for name, (function, a, b) in products(channels, condition, vectors).items():
            work = 2 * a.shape[0] * a.shape[1] * (b.size // (a.shape[0] if "kernel" in name else a.shape[1]))
            took = processor_seconds(jax.jit(function), a, b, rounds=args.rounds)
            print(f"{name:32}{work / took / 1e9:9.1f}{1e3 * count * took:11.1f}")
            operations, seconds = operations + count * work, seconds + count * took
        print(f"{'all products':32}{operations / seconds / 1e9:9.1f}{1e3 * seconds:11.1f}")
        if args.step:
            step = make_step(blocks, channels, condition, side, args.micro_batches)
            took = processor_seconds(step, rounds=max(3, args.rounds // 6))
            print(f"{'training step':32}{operations / took / 1e9:9.1f}{1e3 * took:11.1f}")


if __name__ == "__main__":
    main()
