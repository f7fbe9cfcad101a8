"""Scores a test split, compares with its labels, and writes what it found."""

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from hgad_jax.data.contents import of_labelled
from hgad_jax.errors import UserError
from hgad_jax.evaluation.decided import decide, decision_counts, scale_of_good, undecided
from hgad_jax.evaluation.eval_set import EvalSet, open_eval_set
from hgad_jax.evaluation.evaluated import Evaluated
from hgad_jax.evaluation.latents import latent_normality
from hgad_jax.evaluation.measure import COLUMNS, measure
from hgad_jax.evaluation.plain_names import plain_json
from hgad_jax.evaluation.prediction_files import disk_errors
from hgad_jax.evaluation.published import comparison
from hgad_jax.evaluation.report import render
from hgad_jax.evaluation.run_dataset import run_dataset
from hgad_jax.evaluation.scored import score_calibrated, score_paper
from hgad_jax.evaluation.scorer import load_scorer
from hgad_jax.evaluation.table import format_table
from hgad_jax.evaluation.unchanged import unchanged
from hgad_jax.files import expanded, locked, write_atomically
from hgad_jax.metrics.bootstrap import LEVEL
from hgad_jax.training import workdir
from hgad_jax.training.setup import cache_directory

__all__ = ["COLUMNS", "evaluate"]

REPLICATES = 1000  # of the bootstrap
_SEED = 0  # of the bootstrap
_LOCK = ".eval.lock"


def evaluate(
    directory: str | Path,
    *,
    out: str | Path | None = None,
    root: str | Path = "",
    split: str = "test",
    protocol: str | None = None,
    classes: str | None = None,
    replicates: int = REPLICATES,
    report: bool = False,
    normality: bool = False,
    published: Mapping[str, Any] | None = None,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Evaluates a trained run and writes `results.json` and, if asked, `report.html`.

    Memory does not grow with the test set: maps are kept on the disk of `out` while it runs.

    Args:
      directory: folder of the run.
      out: folder for what is written; the run's `eval` if None.
      root: where the dataset is now; "" for where the run was trained on it.
      split: of the dataset, `"test"`.
      protocol: `"calibrated"` or `"paper"`; None for the config's.
      classes: calibrated protocol: `"inferred"`, `"mixture"` or `"given"`; None for the config's.
      replicates: of the bootstrap that intervals come from; 0 for none.
      report: whether to write `report.html`.
      normality: whether to compute how normal latents of good test images are (`latents.latent_normality`).
      published: figures to show beside these: `{"source": text, "classes": {name: {metric: value}},
        "mean": {metric: value}, "differences": [text]}`, every part optional but the source; None for those
        of the paper, if there are any for this detector, dataset and backbone.
      log: gets the table.

    Returns:
      The content of `results.json`.

    Raises:
      UserError: something in folder or data that the user can mend.
    """
    directory = workdir.local_path(directory)
    protocol = protocol or workdir.load_config(directory).scoring.protocol
    scorer = load_scorer(directory, classes=_classes(protocol, classes))
    classes = scorer.mode
    dataset = run_dataset(scorer, directory, log, root=root)
    out = expanded(out or directory / "eval")
    spool = _existing(out)
    with ExitStack() as files:
        opened = open_eval_set(dataset, split, scorer.classes, scorer.transform, spool)
        files.enter_context(unchanged(opened.records))
        test = files.enter_context(opened)
        _check_space(test, spool)
        ks = latent_normality(scorer, test) if normality else None  # first: it may be refused
        score = score_paper if protocol == "paper" else score_calibrated
        scored = score(scorer, test, test.labels if classes == "given" else None, files, spool)
        measured = measure(test, scored, spool, replicates=replicates, seed=_SEED)
        if protocol == "paper":  # scores of another kind than those that thresholds were taken from
            decided = undecided(scored)
            scales = tuple(scale_of_good(test, scored, k) for k in range(len(test.classes)))
        else:
            decided = decide(scored, scorer.thresholds, scorer.strangeness_limits)
            scales = scorer.pixel_thresholds
        for name, counts in decision_counts(test, decided).items():
            measured.classes[name].update(counts)
        results = {
            "protocol": protocol,
            "class_of_test_images": classes,
            "dataset": dataset.name,
            "split": split,
            "step": scorer.step,
            "class_accuracy": None if classes == "given" else float(np.mean(scored.class_ids == test.labels)),
            "classes": measured.classes,
            "mean": measured.mean,
            "pooled": measured.pooled,
            "contents": of_labelled(
                test.records,
                cache_directory(scorer.config, directory),
                num_workers=scorer.config.data.workers,
            ),
            "bootstrap": {"replicates": replicates, "level": LEVEL, "seed": _SEED},
        }
        if ks:
            results["ks"] = ks
        if figures := published or comparison(scorer.config):
            results["published"] = dict(figures)
        evaluated = Evaluated(scorer.config, test, scored, measured, decided, scales, results)
        page = render(evaluated) if report else None
    written = _write(out, results, page)
    log(format_table(plain_json(results)))
    if ks:
        each = ", ".join(f"{level:.4f}" for level in ks["levels"])
        log(f"KS of latents from their normal distribution: {ks['mean']:.4f} (levels: {each})")
    for path in written:
        log(f"Written to {path}")
    return results


def _write(out: Path, results: dict[str, Any], page: str | None) -> list[Path]:
    """Writes the results, and the report if there is one: those of one evaluation, if several end at once."""
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / _LOCK):
            files = {"results.json": json.dumps(plain_json(results), indent=2) + "\n"}
            files |= {"report.html": page} if page else {}
            for name, text in files.items():
                write_atomically(out / name, text)
    return [out / name for name in files]


def _classes(protocol: str, classes: str | None) -> str | None:
    """Where images' classes come from: the published protocol knows the true one of every test image."""
    if protocol != "paper":
        return classes
    if classes not in (None, "given"):
        raise UserError(
            f"--classes={classes} is for --protocol=calibrated: the published protocol is told the class of "
            "every test image. Leave one of the two away."
        )
    return "given"


def _existing(folder: Path) -> Path:
    """The folder or the nearest above it that is there: on the same disk, and nothing is made too early.

    Raises:
      UserError: a file is in the way.
    """
    folder = folder.absolute()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(f"--out: '{folder}' is a file, expected a folder. Choose another one.")
    return _existing(folder.parent)


def _check_space(test: EvalSet, spool: Path) -> None:
    """Refuses before the scoring what would fail after it."""
    needed = test.size**2 * (4 * len(test) + 8 * int(test.has_truth.sum()))
    free = shutil.disk_usage(spool).free
    if needed > free:
        raise UserError(
            f"Evaluating {len(test)} images of {test.size}×{test.size} pixels needs {needed / 1e9:.1f} GB on "
            f"the disk of {spool} for a while, and {free / 1e9:.1f} GB are free. Make room, or write to "
            "another disk with --out."
        )
