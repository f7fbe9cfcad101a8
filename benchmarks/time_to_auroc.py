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
state, at most a minute of training old; the images and their features. SIGTERM saves the state at once.
Running it again goes on where it stopped, on the same machine alone.
The last line on standard output is JSON: each side at its end, mean over seeds; when a side was first level
with PyTorch's end; how many times as fast our training step is as FrEIA's at the published flow's sizes
(`flow.py`); what fraction of a matrix product's speed it has at the default settings' (`flow.py --levels`);
and how many times as long as ours a pass of the published loop takes, which runs the backbone at every batch
(with timm installed).
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]  # this checkout's package and this file's fellows

import auroc_images  # noqa: E402
from auroc_curve import run_curve, write_json  # noqa: E402
from auroc_figure import figure  # noqa: E402
from auroc_judge import Judge, Problem, make_problem  # noqa: E402
from auroc_machine import check_machine  # noqa: E402
from auroc_report import REFERENCE, Curves, line, table  # noqa: E402
from auroc_speed import pass_ratio, throughput, timm_is_there  # noqa: E402
from compare import DETECTORS, FLOOR  # noqa: E402
from flow import _import_published, use_threads  # noqa: E402

from hgad_jax.cli.shell import say  # noqa: E402
from hgad_jax.config import get_config  # noqa: E402
from hgad_jax.config.validate import validate_keys  # noqa: E402
from hgad_jax.data import fingerprint  # noqa: E402
from hgad_jax.errors import Interrupted, UserError  # noqa: E402
from hgad_jax.files import write_atomically  # noqa: E402
from hgad_jax.runs import host, workdir  # noqa: E402
from hgad_jax.runs.model import load_usable  # noqa: E402
from hgad_jax.training.loop import initial_model  # noqa: E402

SIDES = ("default", "paper", REFERENCE)  # in the order of work


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
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    auroc_images.add_arguments(parser)
    parser.add_argument("--out", default="runs/time_to_auroc", help="folder of states and results")
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES, help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--budget-minutes", type=float, default=50.0, help="of training, both of the paper's")
    parser.add_argument("--default-minutes", type=float, default=30.0, help="of training, preset default")
    parser.add_argument("--threads", type=int, default=cores, help="of either side (default: all cores)")
    parser.add_argument(
        "--no-speed", dest="speed", action="store_false", help="leave out the ratios of speed"
    )
    parser.add_argument("--speed-rounds", type=int, default=5, help="timed rounds of these (default 5)")
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
    say((out / "time_to_auroc.md").read_text())
    print(json.dumps(line(curves, floor, speed)))


class Problems:
    """Data, backbone and judge of each preset, made when they are first asked for."""

    def __init__(self, args: argparse.Namespace, out: Path):
        self._out, self._settings, self._made = out, dict(args.set), {}
        self._root = auroc_images.make_folder(args.magnetic_tile, out / "images", args.datasets)
        dataset = load_usable(self.config("default"), out, say)
        self.dataset = auroc_images.fewer(dataset, args.images_per_class)

    def config(self, preset: str) -> Any:
        """The config of a preset, on these images."""
        config = DETECTORS[FLOOR]("folder") if preset == "floor" else _of_hgad(preset)
        config.data.update(name="folder", root=str(self._root))
        config.cache.dir = str(self._out / "cache")
        if preset == "paper":
            config.data.update(image_size=256, resize="squash")
            config.scoring.protocol = "calibrated"
            config.calibration.fraction = 0.15
        _change(config, self._settings)
        return config

    def __call__(self, preset: str) -> tuple[Problem, Judge]:
        """The problem and its judge."""
        if preset not in self._made:
            problem = make_problem(self.config(preset), self.dataset, say)
            self._made[preset] = problem, Judge(problem)
        return self._made[preset]


def _of_hgad(preset: str) -> Any:
    """The preset with the backbone that both have in common, and that needs no download."""
    return get_config("hgad_folder", f"{preset},tf_efficientnet_lite0")


def _change(config: Any, settings: dict[str, Any]) -> None:
    try:
        config.update_from_flattened_dict(settings)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"--set: {error}") from error
    validate_keys(config)  # an unknown key was taken in silence


def measure_floor(problems: Problems, seed: int) -> dict[str, Any]:
    """AUROC of a Gaussian per class and level, scored in the same way."""
    problem, judge = problems("floor")
    config, data = problem.seeded(seed)
    return judge(*initial_model(config, problem.model, data), data)


def measure_speed(
    problems: Problems, args: argparse.Namespace, published: Any, out: Path
) -> dict[str, float]:
    """The ratios of the last line."""
    found = _kept(out / "throughput.json", lambda: throughput(published, args.threads, args.speed_rounds))
    if not timm_is_there():
        return found
    paper, ours = problems("paper")[0], problems("default")[0]
    return found | _kept(out / "passes.json", lambda: pass_ratio(paper, ours, args.seeds[0]))


def _kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What an earlier call found, or is found now."""
    if not path.exists():
        write_atomically(path, json.dumps(measure(), indent=2) + "\n")
    return json.loads(path.read_text())


def write_results(
    curves: Curves, floor, speed: dict[str, float], args: argparse.Namespace, out: Path
) -> None:
    """The table, the figure and all curves, as far as they are there."""
    settings = f"{args.threads} thread(s), seeds {', '.join(map(str, args.seeds))}"
    head = f"`benchmarks/time_to_auroc.py`, {settings}; mean ± standard deviation over seeds."
    machine = json.loads((out / "machine.json").read_text())
    write_json(
        out / "time_to_auroc.json", {"machine": machine, "curves": curves, "floor": floor, "speed": speed}
    )
    write_atomically(out / "time_to_auroc.md", table(curves, floor, head))
    write_atomically(out / "time_to_auroc.svg", figure(curves, floor))


if __name__ == "__main__":
    main()
