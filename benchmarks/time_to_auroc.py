"""AUROC against minutes of training: the published recipe in PyTorch, and ours, on the same cores.

    pip install 'hgad_jax[bench,elpv]'
    python benchmarks/time_to_auroc.py --magnetic-tile=DIR --out=runs/time_to_auroc

One model over magnetic tile and both classes of ELPV, EfficientNet-Lite0 at 256 px. Sides:

  pytorch_paper  HGAD as published in PyTorch + FrEIA (`torch_hgad.py`), from the same cached features,
                 held-out images and seed as `paper`. Its schedule is the published one of 200 passes and is
                 not squeezed into the budget: the curve is cut where the budget ends.
  paper          hgad_jax with the preset `paper`, images squashed to 256 px; its curve is cut likewise.
  default        hgad_jax with the preset `default`, with as many passes as fill its budget.

The clock counts training steps and the reading of their features, nothing else: not compilation (printed),
evaluation, or saving. At given minutes each model is calibrated on held-out good images and evaluated on the
test set in the same way, images' classes not given. Nothing is chosen by a test label. `floor` is a Gaussian
per class, untrained.

In OUT: `time_to_auroc.json`, `.md` and `.svg`; a folder for each side and seed, with its curve and its latest
state; the images and their features. Running it again goes on where it stopped, on the same machine alone.
The last line on standard output is JSON: each side at its end, mean over seeds; when a side was first level
with PyTorch's end; how many times as fast our training step is as FrEIA's at the published flow's sizes
(`flow.py`); what fraction of a matrix product's speed it has at the default settings' (`flow.py --levels`);
and how many times as long as ours a pass of the published loop takes, which runs the backbone at every batch
(with timm installed).
"""

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]  # where the configs and this file's fellows are

import auroc_images  # noqa: E402
import auroc_sides  # noqa: E402
from auroc_figure import figure  # noqa: E402
from auroc_judge import Judge, Problem, make_problem  # noqa: E402
from auroc_machine import check_machine  # noqa: E402
from auroc_report import REFERENCE, Curves, line, table  # noqa: E402
from auroc_speed import pass_ratio, seconds_per_batch, throughput, timm_is_there  # noqa: E402
from compare import DETECTORS, FLOOR  # noqa: E402
from flow import _import_published, use_threads  # noqa: E402
from tqdm import tqdm  # noqa: E402

from configs import default  # noqa: E402
from hgad_jax.data import fingerprint  # noqa: E402
from hgad_jax.errors import UserError  # noqa: E402
from hgad_jax.training import host, workdir  # noqa: E402
from hgad_jax.training.loop import initial_model  # noqa: E402
from hgad_jax.training.setup import load_usable  # noqa: E402

SIDES = ("default", "paper", REFERENCE)  # in the order of work
_EARLY = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)  # minutes at which models are evaluated; then every ten
_CURVE, _STATE = "curve.json", "state"
_TRIAL = 20  # batches that tell how many passes fill the budget of `default`


def main() -> None:
    """Command line."""
    args = _parse_arguments()
    published = _import_published() if args.speed or REFERENCE in args.sides else None
    use_threads(args.threads)
    host.use_cores()
    if published:
        import torch

        torch.set_num_threads(args.threads)
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with workdir.locked(out):
            _run(args, out, published)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument("--magnetic-tile", required=True, type=Path, help="folder of the magnetic tile set")
    parser.add_argument("--out", default="runs/time_to_auroc", help="folder of states and results")
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES, help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--budget-minutes", type=float, default=50.0, help="of training, both of the paper's")
    parser.add_argument("--default-minutes", type=float, default=30.0, help="of training, preset default")
    parser.add_argument("--threads", type=int, default=cores, help="of either side (default: all cores)")
    parser.add_argument("--images-per-class", type=int, default=0, help="fewer, to try it out; 0: all")
    parser.add_argument(
        "--no-speed", dest="speed", action="store_false", help="leave out the ratios of speed"
    )
    args = parser.parse_args()
    if not 1 <= args.threads <= cores:
        parser.error(f"--threads must be between 1 and the {cores} cores usable here, got {args.threads}.")
    if min(args.budget_minutes, args.default_minutes) <= 0:
        parser.error("--budget-minutes and --default-minutes must be above 0.")
    return args


def _run(args: argparse.Namespace, out: Path, published: Any) -> None:
    problems = Problems(args, out)
    settings = {
        "budget_minutes": args.budget_minutes,
        "default_minutes": args.default_minutes,
        "images": fingerprint(problems.dataset.train + problems.dataset.test),
        "presets": {preset: workdir.config_as_json(problems.config(preset)) for preset in problems.PRESETS},
    }
    check_machine(out / "machine.json", args.threads, settings)
    floor = _kept(out / "floor.json", lambda: measure_floor(problems, args.seeds[0]))
    curves: Curves = {}
    for seed in args.seeds:
        for side in (s for s in SIDES if s in args.sides):
            curves.setdefault(side, []).append(run_curve(side, seed, problems, args, out))
            write_results(curves, floor, {}, args, out)
    speed = measure_speed(problems, args, published, out) if args.speed else {}
    write_results(curves, floor, speed, args, out)
    _say((out / "time_to_auroc.md").read_text())
    print(json.dumps(line(curves, floor, speed)))


class Problems:
    """Data, backbone and judge of each preset, made when they are first asked for."""

    PRESETS = ("default", "paper", "floor")

    def __init__(self, args: argparse.Namespace, out: Path):
        self._out, self._made = out, {}
        self._root = auroc_images.make_folder(args.magnetic_tile, out / "images")
        dataset = load_usable(self.config("default"), out, _say)
        self.dataset = auroc_images.fewer(dataset, args.images_per_class)

    def config(self, preset: str) -> Any:
        """The config of a preset, on these images."""
        config = DETECTORS[FLOOR]("folder") if preset == "floor" else default.get_config(preset)
        config.data.update(name="folder", root=str(self._root))
        config.cache.dir = str(self._out / "cache")
        if preset == "paper":
            config.data.update(image_size=256, resize="squash")
            config.scoring.protocol = "calibrated"
        return config

    def __call__(self, preset: str) -> tuple[Problem, Judge]:
        """The problem and its judge."""
        if preset not in self._made:
            problem = make_problem(self.config(preset), self.dataset, _say)
            self._made[preset] = problem, Judge(problem)
        return self._made[preset]


def measure_floor(problems: Problems, seed: int) -> dict[str, Any]:
    """AUROC of a Gaussian per class and level, scored in the same way."""
    problem, judge = problems("floor")
    config, data = problem.seeded(seed)
    return judge(*initial_model(config, problem.model, data), data)


def measure_speed(
    problems: Problems, args: argparse.Namespace, published: Any, out: Path
) -> dict[str, float]:
    """The ratios of the last line."""
    found = _kept(out / "throughput.json", lambda: throughput(published, args.threads))
    if not timm_is_there():
        return found
    paper, ours = problems("paper")[0], problems("default")[0]
    return found | _kept(out / "passes.json", lambda: pass_ratio(paper, ours, args.seeds[0]))


def _kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What an earlier call found, or is found now."""
    if not path.exists():
        workdir.write_atomically(path, json.dumps(measure(), indent=2) + "\n")
    return json.loads(path.read_text())


def points(minutes: float) -> list[float]:
    """Minutes at which a model with this budget is evaluated."""
    tens = (10.0 * (i + 1) for i in range(math.ceil(minutes / 10)))
    return [m for m in (*_EARLY, *tens) if m < minutes] + [minutes]


def run_curve(
    side_name: str, seed: int, problems: Problems, args: argparse.Namespace, out: Path
) -> dict[str, Any]:
    """Trains and evaluates one side with one seed, or goes on with what an earlier call did."""
    folder = out / f"{side_name}_{seed}"
    budget = args.default_minutes if side_name == "default" else args.budget_minutes
    path = folder / _CURVE
    curve = json.loads(path.read_text()) if path.exists() else None
    if curve and curve["complete"]:
        return curve
    problem, judge = problems("default" if side_name == "default" else "paper")
    if curve is None:
        folder.mkdir(exist_ok=True)
        epochs = epochs_in_budget(problem, seed, budget) if side_name == "default" else None
        curve = {"side": side_name, "seed": seed, "epochs": epochs, "complete": False, "points": []}
        _write_json(path, curve)
    side = _make_side(side_name, problem, seed, curve["epochs"])
    side.restore(folder / _STATE) if (folder / _STATE).exists() else side.begin()
    wanted = points(budget)
    with _bar(side_name, seed, budget, side) as tick:
        for minutes in wanted[len(curve["points"]) :]:
            side.advance(60 * minutes, tick)
            side.save(folder / _STATE)
            _add_point(curve, side, judge(*side.model(), side.data))
            curve["complete"] = side.finished or minutes == wanted[-1]
            _write_json(path, curve)
            if curve["complete"]:
                break
    if side.compile_seconds:
        _say(f"{side_name}, seed {seed}: compiled in {side.compile_seconds:.1f} s")
    return curve


def _make_side(name: str, problem: Problem, seed: int, epochs: float | None) -> auroc_sides.Side:
    if name == REFERENCE:
        return auroc_sides.TorchSide(problem, seed)
    return auroc_sides.JaxSide(problem, seed, epochs=epochs)


def epochs_in_budget(problem: Problem, seed: int, minutes: float) -> float:
    """How many passes fit into so many minutes, by some batches that are thrown away."""
    trial = auroc_sides.JaxSide(problem, seed)
    trial.begin()
    per_pass = seconds_per_batch(trial, _TRIAL) * trial.per_pass
    return max(60 * minutes / per_pass, 1 / trial.per_pass)


def _add_point(curve: dict[str, Any], side: auroc_sides.Side, found: dict[str, Any]) -> None:
    where = {"minutes": side.seconds / 60, "batches": side.batches, "passes": side.batches / side.per_pass}
    curve["points"].append(where | found)
    _say(
        f"{curve['side']}, seed {curve['seed']}, {where['minutes']:.2f} min, {where['passes']:.2f} passes: "
        + ", ".join(f"{name} {value:.4f}" for name, value in found.items() if name != "classes")
    )


@contextlib.contextmanager
def _bar(name: str, seed: int, minutes: float, side: auroc_sides.Side):
    """A progress bar over seconds of training; gives the function that advances it."""
    form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of training [{elapsed}]"
    total = 60 * minutes
    with tqdm(
        total=total,
        initial=min(side.seconds, total),
        desc=f"{name}, seed {seed}",
        bar_format=form,
        dynamic_ncols=True,
    ) as bar:
        # The last batch ends after the budget.
        yield lambda seconds: bar.update(min(seconds, total - bar.n))


def _write_json(path: Path, content: Any) -> None:
    workdir.write_atomically(path, json.dumps(content, indent=2) + "\n")


def write_results(
    curves: Curves, floor, speed: dict[str, float], args: argparse.Namespace, out: Path
) -> None:
    """The table, the figure and all curves, as far as they are there."""
    settings = f"{args.threads} thread(s), seeds {', '.join(map(str, args.seeds))}"
    head = f"`benchmarks/time_to_auroc.py`, {settings}; mean ± standard deviation over seeds."
    machine = json.loads((out / "machine.json").read_text())
    _write_json(
        out / "time_to_auroc.json", {"machine": machine, "curves": curves, "floor": floor, "speed": speed}
    )
    workdir.write_atomically(out / "time_to_auroc.md", table(curves, floor, head))
    workdir.write_atomically(out / "time_to_auroc.svg", figure(curves, floor))


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


if __name__ == "__main__":
    main()
