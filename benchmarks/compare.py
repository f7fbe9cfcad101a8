"""Trains every detector on two datasets under one budget of time each, and writes one table.

    python benchmarks/compare.py --magnetic-tile=DIR --minutes=5 --out=runs/compare

DIR holds the magnetic tile set as a class folder (train/, test/, ground_truth/), or a folder with that folder
in it; ELPV comes as a package (extra `elpv`). The backbone is EfficientNet-Lite0 at 256 px for all, and its
maps are taken as it gives them (HGAD's default would equalize them), so that only the detectors differ; they
are computed once, before any clock runs. Each has the same budget: an epoch that is thrown away
tells how long a step takes, compilation apart, and the number of epochs is set so that training fills the
budget, at most `--epochs`. PaDiM and SPADE take the time that they take. Scores are calibrated, and no
detector is told an image's class. Nothing is chosen by looking at a test label.

In OUT: one run per detector and dataset, `compare.json` and `compare.md`. Running it again goes on where it
stopped; a detector whose result is there is not run again.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout's package

from hgad_jax.config import get_config  # noqa: E402
from hgad_jax.config.recipe import PLAIN  # noqa: E402
from hgad_jax.evaluation.evaluate import evaluate  # noqa: E402
from hgad_jax.files import write_atomically  # noqa: E402
from hgad_jax.inference.scorer import load_scorer  # noqa: E402
from hgad_jax.runs import host  # noqa: E402
from hgad_jax.runs.model import build_model, cached_features, load_usable  # noqa: E402
from hgad_jax.training import loop  # noqa: E402

METRICS = ("image_auroc", "pixel_auroc", "pixel_aupro")
COLUMNS = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "pixel_aupro": "AUPRO",
    "epochs": "epochs",
    "train_seconds": "training s",
    "images_per_second": "images/s scored",
    "megabytes": "model MB",
}
FLOOR = "Gaussian"  # the untrained floor: HGAD's first layer with one Gaussian per class


def _floor(dataset: str):
    config = get_config("hgad_folder")
    config.data.name = dataset
    config.update_from_flattened_dict(PLAIN)  # for `time_to_auroc.py` too, which takes the floor from here
    config.detector.update(regions=0)
    config.train.epochs = 0.0
    return config


def _hgad(dataset: str, **train):
    config = get_config("hgad_folder")
    config.data.name = dataset
    config.train.update(train)
    return config


DETECTORS = {
    FLOOR: _floor,
    "first layer alone": lambda d: _hgad(d, epochs=0.0),  # HGAD's, with a Gaussian per class and region
    "HGAD": _hgad,
    "CFLOW-AD": lambda d: get_config(f"cflow_{d}"),
    "CFLOW-AD + AltUB": lambda d: get_config(f"cflow_{d}", "altub"),
    "U-FLOW": lambda d: get_config(f"uflow_{d}"),
    "FastFlow": lambda d: get_config(f"fastflow_{d}"),
    "FastFlow + AltUB": lambda d: get_config(f"fastflow_{d}", "altub"),
    "PaDiM": lambda d: get_config(f"padim_{d}"),
    "SPADE": lambda d: get_config(f"spade_{d}"),
}


def main() -> None:
    """Command line."""
    args = _parse_arguments()
    host.use_cores(get_config("hgad_folder").train.batch_size)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    results = {}
    for dataset in args.datasets:
        for name in args.detectors:
            results.setdefault(dataset, {})[name] = run(name, dataset, args, out)
            write_results(results, args, out)
    print((out / "compare.md").read_text())


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--magnetic-tile", default="", help="folder of the magnetic tile set")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training per detector (default 5)")
    parser.add_argument("--epochs", type=float, default=50.0, help="at most so many (default 50)")
    parser.add_argument("--out", default="runs/compare", help="folder of runs and results")
    parser.add_argument("--detectors", nargs="*", default=list(DETECTORS), choices=list(DETECTORS))
    parser.add_argument("--datasets", nargs="*", default=["magnetic_tile", "elpv"], help="of these two")
    parser.add_argument("--image-size", type=int, default=256, help="pixels (default 256)")
    args = parser.parse_args()
    if "magnetic_tile" in args.datasets and not Path(args.magnetic_tile, "").is_dir():
        parser.error("--magnetic-tile=DIR: the folder of the magnetic tile set is needed, or --datasets elpv")
    return args


def run(name: str, dataset: str, args: argparse.Namespace, out: Path) -> dict:
    """Trains and evaluates one detector, or reads what an earlier call found."""
    folder = out / dataset / name.replace(" ", "").lower()
    finished = folder / "result.json"
    if finished.exists():
        return json.loads(finished.read_text())
    config = make_config(name, dataset, args, out)
    _say(f"{name} on {dataset}")
    fill_cache(config, folder / "run")
    if config.train.epochs:
        config.train.epochs = epochs_in_budget(config, folder / "timing", args)
    start = time.perf_counter()
    loop.train(config, folder / "run", log=_say)
    seconds = time.perf_counter() - start
    mean = evaluate(folder / "run", log=lambda line: None)["mean"]
    result = {metric: mean[metric] for metric in METRICS}
    result |= {
        "epochs": round(float(config.train.epochs), 2),
        "train_seconds": round(seconds, 1),
        "images_per_second": round(scoring_speed(folder / "run"), 1),
        "megabytes": round(model_size(folder / "run") / 1e6, 1),
    }
    write_atomically(finished, json.dumps(result, indent=2) + "\n")
    return result


def make_config(name: str, dataset: str, args: argparse.Namespace, out: Path):
    """The detector's default config on a dataset."""
    config = DETECTORS[name]("elpv" if dataset == "elpv" else "folder")
    config.update_from_flattened_dict(PLAIN)
    config.data.image_size = args.image_size
    config.cache.dir = str(out / "cache")
    if dataset == "magnetic_tile":
        config.data.root = str(_class_folder(Path(args.magnetic_tile), out))
        config.data.follow_links = True  # to the folder given
    return config


def fill_cache(config, folder: Path) -> None:
    """Computes the features, unless a detector before has."""
    dataset = load_usable(config, folder, _say)
    levels = build_model(config, len(dataset.classes)).levels
    cached_features(config, levels, dataset.train, config.cache.dir, _say)


def _class_folder(root: Path, out: Path) -> Path:
    """A folder with the set as one class in it."""
    if not (root / "train").is_dir():
        return root
    link = out / "magnetic_tile_root" / "magnetic_tile"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(root.resolve(), target_is_directory=True)
    return link.parent


def epochs_in_budget(config, folder: Path, args: argparse.Namespace) -> float:
    """How many epochs fit the budget, by the steps of one epoch that is thrown away."""
    timed = config.copy_and_resolve_references()
    timed.train.update(epochs=1.0, log_every=1, checkpoint_every=10**9)
    steps: list[float] = []

    class Timing(loop.MetricLog):
        def write(self, step, metrics):
            super().write(step, metrics)
            steps.append(time.perf_counter())

    original, loop.MetricLog = loop.MetricLog, Timing
    try:
        loop.train(timed, folder, log=_say)
    finally:
        loop.MetricLog = original
    if len(steps) < 2:
        return args.epochs
    per_epoch = float(np.median(np.diff(steps))) * len(steps)
    return float(min(args.epochs, max(1.0, np.floor(10 * 60 * args.minutes / per_epoch) / 10)))


def scoring_speed(folder: Path) -> float:
    """Images per second from decoded images to scores, in batches of eight, compilation apart."""
    scorer = load_scorer(folder)
    side = scorer.config.data.image_size
    images = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), np.uint8)

    def once():
        return jax.block_until_ready(scorer.calibrated(scorer.evidence(images)))

    once()
    start, rounds = time.perf_counter(), 0
    while rounds < 2 or time.perf_counter() - start < 3:
        once()
        rounds += 1
    return rounds * len(images) / (time.perf_counter() - start)


def model_size(folder: Path) -> int:
    """Bytes of parameters and constants in the newest checkpoint, the optimiser's state apart."""
    newest = max((folder / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    return sum(
        path.stat().st_size
        for item in ("params", "constants")
        for path in (newest / item).rglob("*")
        if path.is_file()
    )


def write_results(results: dict, args: argparse.Namespace, out: Path) -> None:
    """`compare.json` and `compare.md`."""
    command = f"python benchmarks/compare.py --minutes={args.minutes} --image-size={args.image_size}"
    write_atomically(
        out / "compare.json", json.dumps({"command": command, "results": results}, indent=2) + "\n"
    )
    lines = [f"`{command}`, {len(jax.devices())} {jax.devices()[0].platform} device(s)", ""]
    for dataset, rows in results.items():
        columns = [c for c in COLUMNS if any(r[c] is not None for r in rows.values())]
        lines += [f"{dataset}:", "", "| detector | " + " | ".join(COLUMNS[c] for c in columns) + " |"]
        lines += ["| --- |" + " --- |" * len(columns)]
        lines += [
            f"| {name} | " + " | ".join(_cell(c, r[c]) for c in columns) + " |" for name, r in rows.items()
        ]
        lines.append("")
    write_atomically(out / "compare.md", "\n".join(lines))


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if column in METRICS else f"{value:g}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
