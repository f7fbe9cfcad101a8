"""What each choice of the default preset is worth, on the two sets that it was developed on.

    pip install 'hgad_jax[elpv]'
    python benchmarks/ablation.py --magnetic-tile=DIR --out=runs/ablation

One model over magnetic tile and both classes of ELPV, as in `time_to_auroc.py`; trained, calibrated on
held-out good images and evaluated on the test set with each of three seeds, images' classes not given.
`held-out` is the mean log-likelihood of held-out good images in nats per dimension, that of the first layer
included. The variants are in `ablation_variants.py`.

In OUT: `ablation.md`, and a JSON file for each variant and seed. Running it again goes on where it stopped.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]  # this checkout's package and this file's fellows

import auroc_images  # noqa: E402
import numpy as np  # noqa: E402
from ablation_variants import VARIANTS, Variant  # noqa: E402
from auroc_curve import write_json  # noqa: E402
from auroc_judge import Judge, make_problem  # noqa: E402
from auroc_report import METRICS  # noqa: E402
from auroc_sides import JaxSide  # noqa: E402
from time_to_auroc import Problems  # noqa: E402
from tqdm import tqdm  # noqa: E402

from hgad_jax.cli.shell import say  # noqa: E402
from hgad_jax.errors import UserError  # noqa: E402
from hgad_jax.files import write_atomically  # noqa: E402
from hgad_jax.runs import host, workdir  # noqa: E402


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    auroc_images.add_arguments(parser)
    parser.add_argument("--out", default="runs/ablation", help="folder of results")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--groups", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument(
        "--only", default="", help="a regular expression: only variants whose name it matches"
    )
    args = parser.parse_args()
    host.use_cores()
    host.keep_compiled()
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with workdir.locked(out):
            run(args, out)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def run(args: argparse.Namespace, out: Path) -> None:
    """All variants that are asked for, and the table."""
    problems, found = Problems(args, out), {}
    chosen = list(_chosen(args))
    for group, name, variant in tqdm(chosen, desc="variants"):
        found.setdefault(group, {})[name] = measure(name, variant, problems, args, out)
        write_atomically(out / "ablation.md", table(found, args.seeds))
    print((out / "ablation.md").read_text())


def _chosen(args: argparse.Namespace) -> Iterator[tuple[str, str, Variant]]:
    for group in args.groups:
        for name, variant in VARIANTS[group].items():
            if re.search(args.only, name):
                yield group, name, variant


def measure(
    name: str, variant: Variant, problems: Problems, args: argparse.Namespace, out: Path
) -> list[dict[str, Any]]:
    """What the variant gives with each seed; what an earlier call found is read."""
    folder = out / folder_name(name)
    folder.mkdir(exist_ok=True)
    config = problems.config("default")
    config.update_from_flattened_dict(variant.keys)
    settings, made, results = workdir.config_as_json(config), None, []
    for seed in args.seeds:
        path = folder / f"{seed}.json"
        result = json.loads(path.read_text()) if path.exists() else None
        if result is None or result["settings"] != settings:
            made = made or _make(config, problems)
            result = _train(*made, variant, seed) | {"settings": settings}
            write_json(path, result)
            say(f"{name}, seed {seed}: image AUROC {result['image_auroc']:.4f}, {result['seconds']:.0f} s")
        results.append(result)
    return results


def folder_name(variant: str) -> str:
    """Of the results of a variant, by its name."""
    return re.sub(r"\W+", "_", variant)


def _make(config: Any, problems: Problems) -> tuple[Any, Judge]:
    problem = make_problem(config, problems.dataset, say)
    return problem, Judge(problem)


def _train(problem: Any, judge: Judge, variant: Variant, seed: int) -> dict[str, Any]:
    side = JaxSide(problem, seed, optimizer=variant.optimizer, parameters=variant.parameters)
    side.begin()
    side.advance(float("inf"))
    return judge(*side.model(), side.data) | {"held_out": side.held_out(), "seconds": side.seconds}


def table(found: dict[str, dict[str, list[dict[str, Any]]]], seeds: list[int]) -> str:
    """Markdown: a row for each variant, mean ± standard deviation over seeds."""
    first = next(iter(next(iter(found.values())).values()))[0]
    columns = [(name, m) for name in ("", *first["classes"]) for m in METRICS if m in _of(first, name)]
    titles = [f"{name or 'mean'}: {METRICS[m]}" for name, m in columns] + ["held-out", "s of training"]
    lines = [f"`benchmarks/ablation.py`, seeds {', '.join(map(str, seeds))}, {os.cpu_count()} cores.", ""]
    lines += ["| variant | " + " | ".join(titles) + " |", "| --- |" + " --- |" * len(titles)]
    for group, variants in found.items():
        lines.append(f"| *{group}* |" + " |" * len(titles))
        for name, results in variants.items():
            cells = [_cell([_of(r, of)[m] for r in results]) for of, m in columns]
            cells += [
                _cell([r["held_out"] for r in results]),
                f"{np.mean([r['seconds'] for r in results]):.0f}",
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _of(result: dict[str, Any], name: str) -> dict[str, float]:
    return result["classes"][name] if name else result


def _cell(values: list[float]) -> str:
    return f"{np.mean(values):.4f}" + (f" ± {np.std(values):.4f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
