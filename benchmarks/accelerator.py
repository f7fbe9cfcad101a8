"""Whether a GPU or TPU computes what the CPU does, and how fast it trains.

    python benchmarks/accelerator.py --root=my_images

On the device that jax chooses, the default settings are trained for some steps, twice: with the products of
flow and first layer as the device likes best (on recent GPUs TF32, on TPUs bfloat16), and with all bits. Then
the same images go through the backbone, and their features through the trained model, on that device and on
the CPU. Differences are of the same parameters, features and images:

  features        root mean square of the difference over that of the features
  log-likelihood  root mean square of the difference, nats per dimension; beside it the deviation of the
                  log-likelihoods themselves, of all positions of all images
  classes         images whose class is inferred differently

`ms a step` is of the loop as train.py runs it, reading of features included, without compilation; it is the
median of parts, so that one interruption does not count. The last line is JSON.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]  # this checkout's package and this file's fellows

import jax  # noqa: E402
import numpy as np  # noqa: E402
from auroc_judge import Problem, make_problem  # noqa: E402
from auroc_sides import JaxSide  # noqa: E402

from hgad_jax.cli.shell import say  # noqa: E402
from hgad_jax.config import get_config  # noqa: E402
from hgad_jax.data.geometry import transform_of  # noqa: E402
from hgad_jax.data.pipeline import image_batches  # noqa: E402
from hgad_jax.errors import UserError  # noqa: E402
from hgad_jax.runs.model import load_usable  # noqa: E402

PRECISIONS = {"the device's": None, "all bits": "highest"}  # of products whose precision the code leaves open
PARTS = 5
SEED = 0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--root", required=True, help="folder of images, as train.py's config.data.root")
    parser.add_argument("--out", default="runs/accelerator", help="folder of the features")
    parser.add_argument("--preset", default="default", help="of configs/hgad_folder.py")
    parser.add_argument("--batch-size", type=int, default=0, help="images a step; 0: the preset's")
    parser.add_argument("--steps", type=int, default=500, help="of training")
    parser.add_argument("--images", type=int, default=64, help="of the test set, to compare")
    args = parser.parse_args()
    device, cpu = jax.devices()[0], jax.devices("cpu")[0]
    if device.platform == "cpu":
        sys.exit("jax finds no GPU or TPU here: install its package for one, or see docs/gpu.md.")
    try:
        found = measure(_problem(args), device, cpu, steps=args.steps, images=args.images)
    except UserError as error:
        sys.exit(str(error))
    print(table(found))
    print(json.dumps(found))


def _problem(args: argparse.Namespace) -> Problem:
    config = get_config("hgad_folder", args.preset)
    config.data.update(name="folder", root=args.root)
    config.cache.dir = str(Path(args.out).resolve() / "cache")
    if args.batch_size:
        config.train.batch_size = args.batch_size
    return make_problem(config, load_usable(config, Path(args.out), say), say)


def measure(problem: Problem, device: Any, cpu: Any, *, steps: int, images: int) -> dict[str, Any]:
    """All figures: of the backbone, and by precision of training and of the trained model."""
    if not problem.dataset.test:
        raise UserError("No test images to compare the devices on: expected <class>/test/ in --root.")
    chosen = np.linspace(0, len(problem.dataset.test) - 1, images).astype(int)
    records = [problem.dataset.test[i] for i in chosen]
    found = {"device": device.device_kind, "features": compare_features(problem, records, device, cpu)}
    features = problem.test.gather(chosen)
    for name, precision in PRECISIONS.items():
        with jax.default_matmul_precision(precision) if precision else contextlib.nullcontext():
            say(f"Products: {name}")
            trained, times = train(problem, steps)
            found[name] = times | compare_models(problem, trained, features, device, cpu)
    return found


def compare_features(problem: Problem, records: list, device: Any, cpu: Any) -> float:
    """Of the levels, the largest relative root mean square difference."""
    levels, transform = problem.model.levels, transform_of(problem.config.data)
    batches = image_batches(records, transform=transform, batch_size=8, num_workers=0)
    squares = np.zeros((2, len(levels.sizes)))
    for batch in batches:
        ours, theirs = (_run(levels.apply, on, levels.variables, batch["image"]) for on in (device, cpu))
        squares[0] += [np.sum((a - b) ** 2, dtype=np.float64) for a, b in zip(ours, theirs, strict=True)]
        squares[1] += [np.sum(b**2, dtype=np.float64) for b in theirs]
    return float(np.sqrt(squares[0] / squares[1]).max())


def train(problem: Problem, steps: int) -> tuple[Any, dict[str, float]]:
    """Parameters and constants after so many steps, and how long these took."""
    images = len(problem.seeded(SEED)[1].train)
    side = JaxSide(problem, SEED, epochs=steps * problem.config.train.batch_size / images)
    side.begin()
    ticks: list[float] = []
    side.advance(float("inf"), ticks.append)
    say(f"{len(ticks)} steps in {side.seconds:.1f} s")
    parts = [np.mean(part) for part in np.array_split(ticks, min(PARTS, len(ticks)))]
    model = jax.device_get(side.model())
    return model, {"ms": 1e3 * float(np.median(parts)), "compile_seconds": side.compile_seconds}


def compare_models(problem: Problem, trained: Any, features: Any, device: Any, cpu: Any) -> dict[str, float]:
    """Evidence on the device beside that on the CPU."""
    evidence = jax.jit(problem.model.detector.evidence)
    ours, theirs = (_run(evidence, on, *trained, features) for on in (device, cpu))
    pairs = list(zip(ours.log_likelihood, theirs.log_likelihood, strict=True))
    return {
        "log_likelihood": max(float(np.sqrt(np.mean((a - b) ** 2))) for a, b in pairs),
        "deviation": min(float(np.std(b)) for _, b in pairs),
        "classes": int(np.sum(ours.class_ids != theirs.class_ids)),
    }


def _run(function: Any, device: Any, *arguments: Any) -> Any:
    return jax.device_get(function(*jax.device_put(arguments, device)))


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"{found['device']}: features differ from the CPU's by {found['features']:.1e}",
        "",
        "| products | ms a step | s to compile | log-likelihood | its deviation | classes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in PRECISIONS:
        row = found[name]
        lines.append(
            f"| {name} | {row['ms']:.2f} | {row['compile_seconds']:.0f} | {row['log_likelihood']:.1e} "
            f"| {row['deviation']:.2f} | {row['classes']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
