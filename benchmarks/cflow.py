"""Times a training step of CFLOW-AD beside the published way, FrEIA 0.2 in PyTorch, on the CPU.

    pip install 'hgad_jax[bench]'
    python benchmarks/cflow.py --threads 1

The step is that of a batch of 8 images of 256 pixels at EfficientNet-Lite0's three stages: 8,192 vectors of
40 channels, 2,048 of 112 and 512 of 320. The vectors of a level are shuffled together with their positions
and cut into fibres of 256, with one step of Adam on −log sigmoid of the likelihood per dimension for each.
Both sides start from the same weights and take the same fibres; it is first checked that they have the same
loss and parameters after a step of 4 images. Then rounds alternate. `--equal` gives every level 8,192
vectors instead, of 16 × 16 positions: there the widest level, bound by matrix products on both sides, takes
most of the time.

The last line is JSON. The ratio is PyTorch's time over ours, of medians: above one, hgad_jax is faster.
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
from flow import _import_published, time_alternating, use_threads

from hgad_jax import detectors
from hgad_jax.detectors.compose import LevelParams
from hgad_jax.training.fibre_step import _shuffled
from hgad_jax.training.optimizers import adam, per_level
from hgad_jax.training.step import data_mesh, init_state, make_train_step, replicate, shard_batch

LEVELS = ((32, 32, 40), (16, 16, 112), (8, 8, 320))
FIBRE, CONDITION, BLOCKS, CLAMP = 256, 128, 8, 1.9
LEARNING_RATE, SEED = 2e-4, 0
TOLERANCE = (
    2e-3  # of the largest change of a parameter after the checked steps, relative to the largest change
)


def main() -> None:
    """Command line."""
    args = _parse_arguments()
    published = _import_published()
    pinned = use_threads(args.threads)
    import torch

    torch.set_num_threads(args.threads)
    levels = tuple((16, 16, channels) for *_, channels in LEVELS) if args.equal else LEVELS
    images = 8192 // math.prod(levels[0][:2])
    problem = Problem(published, images, levels)
    loss_error, parameter_error = problem.check(images=4)
    print(
        f"{BLOCKS} blocks, condition {CONDITION}, channels {[c for *_, c in LEVELS]},\n"
        f"{images} images of {', '.join(f'{h} × {w}' for h, w, _ in levels)} positions, fibres of {FIBRE}\n"
        f"{args.threads} thread(s){'' if pinned else ', not pinned'}, load {os.getloadavg()[0]:.1f}\n"
        f"largest difference, relative: losses {loss_error:.1e}, changes of parameters {parameter_error:.1e}"
    )
    milliseconds = time_alternating(problem.contenders(), args.rounds)
    median = {name: float(np.median(times)) for name, times in milliseconds.items()}
    for name, title in (("torch", "PyTorch, FrEIA 0.2"), ("ours", "hgad_jax")):
        print(f"{title:20}{min(milliseconds[name]):9.1f} ms at best{median[name]:9.1f} ms median")
    line = {
        "train_ratio": round(median["torch"] / median["ours"], 3),
        "threads": args.threads,
        "train_ms": round(median["ours"], 1),
        "torch_train_ms": round(median["torch"], 1),
    }
    print(json.dumps(line))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of either side (default 1)")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds (default 3)")
    parser.add_argument("--equal", action="store_true", help="8,192 vectors at each level")
    return parser.parse_args()


class Problem:
    """The same flows, features and fibres on both sides."""

    def __init__(self, published: ModuleType, images: int, levels: tuple[tuple[int, int, int], ...]):
        self.levels = levels
        sizes = [
            published.Size(
                blocks=BLOCKS, channels=c, condition=CONDITION, images=images, height=h, width=w, clamp=CLAMP
            )
            for h, w, c in self.levels
        ]
        self.published, self.images = published, images
        self.flows = [published.build_flow(size, SEED + i) for i, size in enumerate(sizes)]
        self.conditions = [published.condition_vectors(size) for size in sizes]
        rng = np.random.default_rng(SEED)
        self.features = tuple(rng.standard_normal((images, *size), np.float32) for size in self.levels)
        self.labels = np.zeros(images, np.int32)
        keys = {
            "name": "cflow",
            "num_blocks": BLOCKS,
            "condition_channels": CONDITION,
            "hidden_ratio": 2.0,
            "clamp": CLAMP,
            "identity_init": False,
            "conditioning": "none",
            "per_class": False,
            "regions": 0,
            "shrinkage": 0.0,
            "base": "standard",
            "fibre": FIBRE,
            "zero_grad": "none",
        }
        self.detector = detectors.create(keys, num_classes=1)

    def ours(self, count: int | None = None) -> Callable:
        """A function that does one training step on the batch, or on its first `count` images."""
        part = slice(count)
        batches = [lambda x=x: [(x, self.labels)] for x in self.features]
        _, constants = self.detector.init(jax.random.key(SEED), batches)
        constants = tuple(
            c._replace(mixing=self.published.to_rotations(inn))
            for c, inn in zip(constants, self.flows, strict=True)
        )
        schedule = optax.constant_schedule(LEARNING_RATE)
        optimizer = per_level(adam(schedule, beta1=0.9, beta2=0.999, weight_decay=0.0, clip_norm=0.0))
        mesh = data_mesh(jax.devices()[:1])

        def weights(step):
            return {"likelihood": 0.0, "log_sigmoid": 1.0}

        step = make_train_step(self.detector, optimizer, weights, mesh, seed=SEED)
        params = tuple(LevelParams(self.published.to_params(inn), None) for inn in self.flows)
        state = replicate(mesh, init_state(jax.tree.map(jnp.copy, params), optimizer))
        constants = replicate(mesh, constants)
        batch = shard_batch(mesh, (tuple(x[part] for x in self.features), self.labels[part]))

        def run():
            nonlocal state
            state, metrics = step(state, constants, *batch)
            return state.params, metrics

        return run

    def fibres(self, step: int, images: int) -> list[np.ndarray]:
        """The rows of each level's fibres at a step, `[fibres, FIBRE]`."""
        keys = jax.random.split(jax.random.fold_in(jax.random.key(SEED), step), len(self.levels))
        rows = [images * math.prod(size[:2]) for size in self.levels]
        orders = [np.array(_shuffled(key, n, FIBRE, 1)) for key, n in zip(keys, rows, strict=True)]
        return [order.reshape(len(order), -1) for order in orders]

    def theirs(self, images: int) -> Callable:
        """A function that does the same in PyTorch: an optimiser over all levels, a step per fibre."""
        import torch

        parameters = [p for inn in self.flows for p in inn.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
        rows = [torch.from_numpy(x[:images].reshape(-1, x.shape[-1])) for x in self.features]
        done = 0

        def run():
            nonlocal done
            losses = []
            for inn, x, codes, fibres in zip(
                self.flows, rows, self.conditions, self.fibres(done, images), strict=True
            ):
                losses.append(0.0)
                for fibre in torch.from_numpy(fibres):
                    z, log_det = inn(x[fibre], [codes[fibre]])
                    channels = x.shape[1]
                    log_prob = -0.5 * channels * math.log(2 * math.pi) - 0.5 * (z**2).sum(1) + log_det
                    loss = -torch.nn.functional.logsigmoid(log_prob / channels).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    losses[-1] += float(loss.detach()) / len(fibres)
            done += 1
            return losses

        return run

    def check(self, images: int) -> tuple[float, float]:
        """Ends the program unless a small step is the same on both sides; the relative differences found."""
        before = [self.published.to_params(inn) for inn in self.flows]
        before = jax.tree.map(np.array, before)
        params, metrics = self.ours(images)()
        losses = self.theirs(images)()
        loss_error = abs(float(metrics["loss"]) - sum(losses)) / sum(losses)
        after = [self.published.to_params(inn) for inn in self.flows]
        changes = [
            (np.asarray(a) - b, np.asarray(c) - b)
            for a, b, c in zip(
                *(jax.tree.leaves(t) for t in ([p.flow for p in params], before, after)), strict=True
            )
        ]
        largest = max(np.abs(theirs).max() for _, theirs in changes)
        # Where a gradient is zero but for rounding, Adam's first steps follow its sign: the mean tells more.
        parameter_error = max(float(np.abs(a - b).mean() / largest) for a, b in changes)
        if not (loss_error <= 1e-4 and parameter_error <= TOLERANCE):
            sys.exit(
                f"The two sides disagree, so their times mean nothing: losses by {loss_error:.1e}, changes "
                f"of parameters by {parameter_error:.1e} of the largest; at most 1e-04 and {TOLERANCE:.0e} "
                "were expected."
            )
        return loss_error, parameter_error

    def contenders(self) -> dict[str, Callable[[], object]]:
        """What is timed, by name."""
        ours = self.ours()
        start = time.perf_counter()
        jax.block_until_ready(ours())
        print(f"compiled in about {time.perf_counter() - start:.1f} s")
        return {"torch": self.theirs(self.images), "ours": ours}


if __name__ == "__main__":
    main()
