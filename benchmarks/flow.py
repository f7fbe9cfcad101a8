"""Times the flow of hgad_jax beside the published one, FrEIA 0.2 in PyTorch, on the CPU.

    pip install 'hgad_jax[bench]'
    python benchmarks/flow.py --threads 1

Both get the same weights and the same batch: 12 blocks, 112 channels, a position code of 256, 32 images of
16 × 16 positions. It is first checked that both compute the same latents and log-determinants. Then rounds
alternate, so that whatever slows the machine slows both; each round times the forward pass, a training step
(negative log-likelihood under a standard normal, Adam), and a square matrix product with as many operations
as our forward pass and our step have, which is about as fast as this processor can go.

Ours spreads the batch over the cores, each a device as in training, and computes each device's in parts that
fit the processor's cache. PyTorch gets it whole, as the published code does: parts leave its forward pass as
it is and take a few percent off its step (--torch-micro-batches).

With --levels the flows have the sizes of the default settings instead: 8 blocks and a position code of 64, at
EfficientNet-Lite0's three levels, as many vectors at each (32 images of 16 × 16 positions; training takes
64 of 4 × 4 in a step), one after the other; the last line is of all three.

The last line is JSON. Ratios are PyTorch's time over ours, of medians: above one, hgad_jax is faster.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from hgad_jax.flows import flow
from hgad_jax.runs import host
from hgad_jax.runs.mesh import data_mesh, replicate, shard_batch
from hgad_jax.training.state import micro_batched_grad

TOLERANCE = 1e-4  # of the largest latent or log-determinant; found: 1e-6 and 3e-5
LEARNING_RATE = 2e-4
SEED = 0


def main() -> None:
    """Command line."""
    args = _parse_arguments()
    published = _import_published()
    pinned = use_threads(args.threads)
    host.use_cores()
    import torch

    torch.set_num_threads(args.threads)
    sizes = levels(published) if args.levels else (published.Size(),)
    for parts in (args.micro_batches * args.threads, args.torch_micro_batches):
        if parts < 1 or sizes[0].images % parts:
            sys.exit(f"Threads times micro-batches must divide the {sizes[0].images} images, got {parts}.")
    print(
        f"{args.threads} thread(s){'' if pinned else ', not pinned'}, load average {os.getloadavg()[0]:.1f}, "
        f"micro-batches: {args.micro_batches} in hgad_jax, {args.torch_micro_batches} in PyTorch"
    )
    found = [measure(published, size, args) for size in sizes]
    print(json.dumps(summary(*total(found), args.threads)))


def levels(published: ModuleType) -> tuple:
    """Sizes of the default settings' flows."""
    return tuple(published.Size(blocks=8, channels=channels, condition=64) for channels in (40, 112, 320))


def measure(
    published: ModuleType, size, args: argparse.Namespace
) -> tuple[dict[str, list], dict[str, float]]:
    """Checks and times flows of one size; returns the milliseconds of each contender and its operations."""
    print(
        f"\n{size.blocks} blocks, {size.channels} channels, condition {size.condition}, "
        f"{size.images} images of {size.height} × {size.width} positions, float32"
    )
    inn = published.build_flow(size, SEED)
    features = np.random.default_rng(SEED).standard_normal(
        (size.images, size.height, size.width, size.channels), np.float32
    )
    errors = check_agreement(published, inn, size, features)
    print("largest difference, relative: latents {:.1e}, log-determinants {:.1e}".format(*errors))
    contenders, compile_seconds = build_contenders(
        published, inn, size, features, args.micro_batches, args.torch_micro_batches
    )
    milliseconds = time_alternating(contenders, args.rounds)
    work = operations(size)
    print_table(milliseconds, work)
    print("compiled in {:.1f} s (forward) and {:.1f} s (training step)".format(*compile_seconds))
    return milliseconds, work


def total(found: list[tuple[dict[str, list], dict[str, float]]]) -> tuple[dict[str, list], dict[str, float]]:
    """Of several sizes together, round by round."""
    milliseconds, work = zip(*found, strict=True)
    rounds = {
        name: [sum(times) for times in zip(*(m[name] for m in milliseconds), strict=True)] for name in work[0]
    }
    return rounds, {name: sum(w[name] for w in work) for name in work[0]}


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument("--threads", type=int, default=1, help="threads of either side (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--micro-batches", type=int, default=8, help="parts of a core's batch (default 8)")
    parser.add_argument("--levels", action="store_true", help="the default settings' three levels")
    parser.add_argument(
        "--torch-micro-batches", type=int, default=1, help="parts of PyTorch's batch (default 1)"
    )
    args = parser.parse_args()
    if not 1 <= args.threads <= cores:
        parser.error(f"--threads must be between 1 and the {cores} cores usable here, got {args.threads}.")
    if args.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {args.rounds}.")
    return args


def _import_published() -> ModuleType:
    try:
        import freia_flow
    except ImportError as error:
        print(
            f"The benchmark needs PyTorch and FrEIA 0.2 to compare with: {error}. "
            "Install them with: pip install 'hgad_jax[bench]'",
            file=sys.stderr,
        )
        sys.exit(2)
    return freia_flow


def use_threads(threads: int) -> bool:
    """Makes JAX compute on the CPU with so many threads; to be called before its first computation.

    JAX has no such setting: it starts one thread per core that the process may run on. So the process is
    pinned to that many cores, and whatever runs in it with it.

    Returns:
      Whether that was possible; it is on Linux only, and elsewhere JAX uses every core.
    """
    jax.config.update("jax_platforms", "cpu")
    if not hasattr(os, "sched_setaffinity"):
        print("This system cannot pin a process to cores: JAX will use all of them.", file=sys.stderr)
        return False
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])  # the first core serves interrupts
    return True


def make_forward(published: ModuleType, inn, size) -> Callable:
    """Our flow with the published flow's rotations: (params, features) → latents, log-determinants."""
    rotations = published.to_rotations(inn)
    return lambda params, features: flow.forward(params, rotations, features, clamp=size.clamp)


def make_loss(forward: Callable) -> Callable:
    """Negative log-likelihood under a standard normal, per vector and dimension, in nats."""

    def loss(params, features):
        latents, log_det = forward(params, features)
        energy = 0.5 * jnp.sum(latents**2, -1) - log_det
        return jnp.mean(energy) / features.shape[-1] + 0.5 * math.log(2 * math.pi), {}

    return loss


def check_agreement(published: ModuleType, inn, size, features: np.ndarray) -> tuple[float, float]:
    """Ends the program unless both flows compute the same; returns the relative differences found."""
    import torch

    ours = jax.jit(make_forward(published, inn, size))(published.to_params(inn), features)
    with torch.no_grad():
        rows = torch.from_numpy(features.reshape(-1, size.channels))
        theirs = inn(rows, [published.condition_vectors(size)])
    errors = []
    for name, ours_is, theirs_is in zip(("latents", "log-determinants"), ours, theirs, strict=True):
        expected = theirs_is.numpy().reshape(ours_is.shape)
        errors.append(float(np.abs(np.asarray(ours_is) - expected).max() / np.abs(expected).max()))
        if not errors[-1] <= TOLERANCE:
            sys.exit(
                f"The two flows disagree, so their times mean nothing: their {name} differ by "
                f"{errors[-1]:.1e} of the largest, at most {TOLERANCE:.0e} was expected."
            )
    return tuple(errors)


def build_contenders(
    published: ModuleType, inn, size, features: np.ndarray, micro_batches: int, torch_micro_batches: int = 1
) -> tuple[dict[str, Callable[[], object]], tuple[float, float]]:
    """What is timed, by name, in the order of one round; and the seconds our two took to compile."""
    import torch

    params = published.to_params(inn)  # copied, before PyTorch trains its own
    rows, condition = torch.from_numpy(features.reshape(-1, size.channels)), published.condition_vectors(size)
    mesh = data_mesh()
    batch = shard_batch(mesh, features)
    optimizer = optax.adam(LEARNING_RATE)
    flow_forward = make_forward(published, inn, size)
    loss = make_loss(flow_forward)

    def spread(function, out):
        return jax.shard_map(function, mesh=mesh, in_specs=(P(), P("data")), out_specs=out, check_vma=False)

    def forward(params, batch):
        parts = batch.reshape(micro_batches, -1, *batch.shape[1:])
        return jax.lax.map(lambda part: flow_forward(params, part), parts)

    def blocks(params):
        return flow.blocks_at(params, (size.height, size.width))

    def local_gradients(params, batch):
        return jax.lax.pmean(micro_batched_grad(loss, params, batch, micro_batches, blocks), "data")

    gradients_of = spread(local_gradients, P())

    def step(state, batch):
        params, opt_state = state
        gradients, metrics = gradients_of(params, batch)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), metrics

    state = replicate(mesh, (jax.tree.map(np.array, params), optimizer.init(params)))
    params = replicate(mesh, params)
    start = time.perf_counter()
    compiled_forward = jax.jit(spread(forward, P(None, "data"))).lower(params, batch).compile()
    middle = time.perf_counter()
    out = NamedSharding(mesh, P())
    compiled_step = jax.jit(step, donate_argnums=0, out_shardings=out).lower(state, batch).compile()
    compile_seconds = (middle - start, time.perf_counter() - middle)

    def our_step():
        nonlocal state
        state, metrics = compiled_step(state, batch)
        return state, metrics

    torch_parts = list(
        zip(rows.chunk(torch_micro_batches), condition.chunk(torch_micro_batches), strict=True)
    )

    def their_forward():
        with torch.no_grad():
            return [inn(part, [code]) for part, code in torch_parts]

    work = operations(size)
    contenders = {
        "torch_forward": their_forward,
        "forward": lambda: compiled_forward(params, batch),
        "matmul_forward": _matrix_product(work["forward"]),
        "torch_train": published.make_train_step(inn, torch_parts, LEARNING_RATE),
        "train": our_step,
        "matmul_train": _matrix_product(work["train"]),
    }
    return contenders, compile_seconds


def _matrix_product(count: float) -> Callable[[], object]:
    """A product of square matrices that takes about `count` floating-point operations."""
    side = round((count / 2) ** (1 / 3))
    matrix = jax.random.normal(jax.random.key(SEED), (side, side))
    product = jax.jit(jnp.matmul)
    return lambda: product(matrix, matrix)


def operations(size) -> dict[str, float]:
    """Floating-point operations that the matrix products of each contender need.

    Ours leave out the condition's part, which is of the order of a percent; the published flow multiplies it
    for every vector. A step takes a layer three times, forward and for either gradient, and a rotation, which
    has no gradient of its own, twice.
    """
    passive, twice = size.channels - size.channels // 2, 2 * (size.channels // 2)
    hidden = size.hidden_ratio * (passive + size.condition)
    rotation = size.channels**2

    def count(fan_in, layer_passes, rotation_passes):
        layers = (fan_in + twice) * hidden
        products = layer_passes * layers + rotation_passes * rotation
        return 2.0 * products * size.vectors * size.blocks

    result = {
        "torch_forward": count(passive + size.condition, 1, 1),
        "torch_train": count(passive + size.condition, 3, 2),
        "forward": count(passive, 1, 1),
        "train": count(passive, 3, 2),
    }
    return result | {"matmul_forward": result["forward"], "matmul_train": result["train"]}


def time_alternating(contenders: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each contender in each round, after a round that is not counted."""
    milliseconds = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            milliseconds[name].append(1e3 * (time.perf_counter() - start))
    return {name: times[1:] for name, times in milliseconds.items()}


def print_table(milliseconds: dict[str, list[float]], work: dict[str, float]) -> None:
    """One row per contender; its ratio is the published flow's median time over its own."""
    titles = {"forward": "forward", "train": "training step"}
    names = {"torch_": "PyTorch, FrEIA 0.2", "": "hgad_jax", "matmul_": "one matrix product"}
    print(f"\n{'':36}{'min ms':>9}{'median ms':>11}{'GFLOP/s':>9}{'ratio':>7}")
    for what, title in titles.items():
        reference = np.median(milliseconds["torch_" + what])
        for prefix, name in names.items():
            times = milliseconds[prefix + what]
            median = np.median(times)
            speed = work[prefix + what] / median / 1e6
            row = f"{title}, {name}"
            print(f"{row:36}{min(times):9.1f}{median:11.1f}{speed:9.1f}{reference / median:7.2f}")
    print()


def summary(milliseconds: dict[str, list[float]], work: dict[str, float], threads: int) -> dict[str, float]:
    """The line of JSON."""
    median = {name: float(np.median(times)) for name, times in milliseconds.items()}
    return {
        "forward_ratio": round(median["torch_forward"] / median["forward"], 3),
        "train_ratio": round(median["torch_train"] / median["train"], 3),
        "threads": threads,
        "forward_ms": round(median["forward"], 1),
        "train_ms": round(median["train"], 1),
        "torch_forward_ms": round(median["torch_forward"], 1),
        "torch_train_ms": round(median["torch_train"], 1),
        "matmul_gflops": round(work["matmul_train"] / median["matmul_train"] / 1e6, 1),
        "train_matmul_fraction": round(median["matmul_train"] / median["train"], 3),
    }


if __name__ == "__main__":
    main()
