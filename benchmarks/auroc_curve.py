"""Trains and evaluates one side of `time_to_auroc.py` with one seed, or goes on where that was stopped."""

import argparse
import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import auroc_sides
from auroc_judge import Judge, Problem
from auroc_report import REFERENCE
from auroc_speed import seconds_per_pass
from tqdm import tqdm

from hgad_jax.cli.shell import say
from hgad_jax.errors import UserError
from hgad_jax.files import write_atomically
from hgad_jax.runs import workdir
from hgad_jax.training import interrupt

_EARLY = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)  # minutes at which models are evaluated; then every ten
_CURVE, _STATE = "curve.json", "state"


def points(minutes: float) -> list[float]:
    """Minutes at which a model with this budget is evaluated."""
    tens = (10.0 * (i + 1) for i in range(math.ceil(minutes / 10)))
    return [m for m in (*_EARLY, *tens) if m < minutes] + [minutes]


def run_curve(
    side_name: str,
    seed: int,
    problems: Callable[[str], tuple[Problem, Judge]],
    args: argparse.Namespace,
    out: Path,
) -> dict[str, Any]:
    """Trains and evaluates one side with one seed, or goes on with what an earlier call did."""
    folder = out / f"{side_name}_{seed}"
    budget = args.default_minutes if side_name == "default" else args.budget_minutes
    path = folder / _CURVE
    curve = json.loads(path.read_text()) if path.exists() else None
    preset = "default" if side_name == "default" else "paper"
    problem, judge = problems(preset)
    settings = workdir.config_as_json(problem.config)
    if curve:
        _check_settings(path, curve["settings"], settings)
        if curve["complete"]:
            return curve
    if curve is None:
        folder.mkdir(exist_ok=True)
        epochs = epochs_in_budget(problem, seed, budget) if side_name == "default" else None
        curve = {"side": side_name, "seed": seed, "epochs": epochs, "complete": False, "points": []}
        curve["settings"] = settings
        write_json(path, curve)
    side = _make_side(side_name, problem, seed, curve["epochs"])
    side.restore(folder / _STATE) if (folder / _STATE).exists() else side.begin()
    wanted = points(budget)
    with interrupt.watching() as stop, _bar(side_name, seed, budget, side) as advance_bar:

        def after_batch(seconds: float) -> None:
            advance_bar(seconds)
            stopping = stop.reached(side.batches)
            if stopping or side.seconds // 60 > (side.seconds - seconds) // 60:
                side.save(folder / _STATE)
            if stopping:
                raise interrupt.stopped(side.batches, side.total, folder)

        for minutes in wanted[len(curve["points"]) :]:
            side.advance(60 * minutes, after_batch)
            side.save(folder / _STATE)
            _add_point(curve, side, judge(*side.model(), side.data))
            curve["complete"] = side.finished or minutes == wanted[-1]
            write_json(path, curve)
            if curve["complete"]:
                break
    if side.compile_seconds:
        say(f"{side_name}, seed {seed}: compiled in {side.compile_seconds:.1f} s")
    return curve


def _check_settings(path: Path, there: Any, here: Any) -> None:
    found = [
        f"  {key}: {old} there, {new} here" for key, old, new in workdir.differences(there, here, "config")
    ]
    if found:
        raise UserError(
            f"{path} is of other settings; nothing was changed.\n"
            + "\n".join(found)
            + f"\nDelete {path.parent} to train that side anew, or choose another --out."
        )


def _make_side(name: str, problem: Problem, seed: int, epochs: float | None) -> auroc_sides.Side:
    if name == REFERENCE:
        return auroc_sides.TorchSide(problem, seed)
    return auroc_sides.JaxSide(problem, seed, epochs=epochs)


def epochs_in_budget(problem: Problem, seed: int, minutes: float) -> float:
    """How many passes fit into so many minutes, by one that is thrown away."""
    trial = auroc_sides.JaxSide(problem, seed)
    trial.begin()
    return max(60 * minutes / seconds_per_pass(trial), 1 / trial.per_pass)


def _add_point(curve: dict[str, Any], side: auroc_sides.Side, found: dict[str, Any]) -> None:
    where = {"minutes": side.seconds / 60, "batches": side.batches, "passes": side.batches / side.per_pass}
    curve["points"].append(where | found)
    say(
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


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")
