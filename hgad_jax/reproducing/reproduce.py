"""Runs a table and writes it: what `hgad-jax reproduce` and `hgad-jax sweep` do."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hgad_jax.backbones.catalogue import choose
from hgad_jax.backbones.sources import read_weights
from hgad_jax.config import validate
from hgad_jax.data import load_dataset
from hgad_jax.errors import UserError
from hgad_jax.files import disk_errors, locked
from hgad_jax.reproducing import collect
from hgad_jax.reproducing.job import PROGRAM, Job, Places, config_of
from hgad_jax.reproducing.plan import Plan
from hgad_jax.reproducing.run import Environment, run_all
from hgad_jax.reproducing.tables import NORMALITY
from hgad_jax.reproducing.write import write


class Reproduced(NamedTuple):
    """What there is in the end: the files, and name of a run → why it failed."""

    written: list[Path]
    failed: dict[str, str]


def reproduce(
    plan: Plan,
    places: Places,
    *,
    log: Callable[[str], None],
    program: Sequence[str] = PROGRAM,
    slots: Sequence[Environment] | None = None,
) -> Reproduced:
    """Runs what of a plan is not finished, and writes its table; the table of an unfinished plan, too.

    Args:
      plan: of a table of trained models.
      places: where it is run.
      log: gets the lines meant for the user.
      program: the command line before `train` and `eval`.
      slots: environments, each for one run at a time; None: one for each device.

    Raises:
      UserError: whatever of it can be told before anything is trained: a key of the config, weights that
        are not there, a dataset without some of the classes; or another `reproduce` runs in the folder.
    """
    with disk_errors(f"--out={places.out} cannot be written", otherwise="choose another folder"):
        places.out.mkdir(parents=True, exist_ok=True)
        with locked(places.out / ".lock", wait=False) as alone:
            if not alone:
                raise UserError(
                    f"{places.out}: another command runs there. Wait for it, or give another --out."
                )
            check(plan, places)
            done = run_all(plan.jobs, places, log=log, program=program, slots=slots)
            written = tell(plan, places, dict(done.failed))
    for path in written:
        log(f"Written to {path}")
    return Reproduced(written, dict(done.failed))


def tell(plan: Plan, places: Places, failed: dict[str, str]) -> list[Path]:
    """Writes the table of what is finished."""
    if plan.table.kind == NORMALITY:
        from hgad_jax.reproducing.latents import write_normality

        return write_normality(plan, places, failed)
    cells = collect.cells(plan, places)
    lines = {column.name: collect.differences_of(plan, column, places) for column in plan.columns}
    curves = {job.name: collect.evaluations(job, places) for job in plan.jobs}
    return write(plan, cells, lines, failed, curves, places.out)


def check(plan: Plan, places: Places) -> None:
    """Refuses before the first training what would fail in each of them."""
    weights: dict[tuple[str, str], Job] = {}
    datasets: dict[str, Job] = {}
    problems: dict[str, None] = {}
    for job in plan.jobs:
        config = config_of(job, places)
        validate(config, num_devices=1)
        weights[config.backbone.name, config.backbone.source] = job
        datasets[config.data.name] = job
    for (name, source), _ in weights.items():
        if source != "random":
            try:
                read_weights(choose(name), source)
            except UserError as error:
                problems[str(error)] = None
    for job in datasets.values():
        data = config_of(job, places).data
        data.class_name = ""
        try:
            there = load_dataset(data).classes
        except UserError as error:
            problems[str(error)] = None
            continue
        if missing := [name for name in plan.classes if name not in there]:
            where = data.root or "its place"
            problems[f"the dataset {data.name} in {where} has no class {', '.join(missing)}"] = None
    if problems:
        raise UserError("\n".join(problems))
