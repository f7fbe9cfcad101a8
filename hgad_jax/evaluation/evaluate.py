"""Scores a test split, compares with its labels, and writes what it found."""

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from hgad_jax.data.contents import of_labelled
from hgad_jax.data.records import image_name
from hgad_jax.data.transforms import ImageLike
from hgad_jax.errors import UserError
from hgad_jax.evaluation.decided import Decided, decide, decision_counts, scale_of_good, undecided
from hgad_jax.evaluation.evaluated import Evaluated
from hgad_jax.evaluation.f1_max import with_thresholds
from hgad_jax.evaluation.latents import latent_normality
from hgad_jax.evaluation.measure import COLUMNS, measure
from hgad_jax.evaluation.rate_table import rate_tables
from hgad_jax.evaluation.region_measures import region_measures
from hgad_jax.evaluation.scored import Scored, score_calibrated, score_paper
from hgad_jax.evaluation.scores_file import SCORES, score_table
from hgad_jax.evaluation.shift import found_shifts
from hgad_jax.evaluation.table import format_table
from hgad_jax.files import expanded, locked, write_atomically
from hgad_jax.inference.eval_set import EvalSet, open_eval_set
from hgad_jax.inference.plain_names import plain_json
from hgad_jax.inference.prediction_files import disk_errors
from hgad_jax.inference.run_dataset import run_dataset
from hgad_jax.inference.scorer import Scorer, load_scorer
from hgad_jax.inference.unchanged import unchanged
from hgad_jax.metrics.bootstrap import LEVEL
from hgad_jax.metrics.ranking import auroc
from hgad_jax.papers.compare import Measured, comparison
from hgad_jax.runs import phases, workdir
from hgad_jax.runs.model import cache_directory
from hgad_jax.scoring.apart import standing_apart
from hgad_jax.scoring.decision import Setting
from hgad_jax.scoring.published import TERMS
from hgad_jax.scoring.threshold import Threshold
from hgad_jax.training import stability_report

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
    threshold: Setting = None,
    false_alarm_rate: Setting = None,
    replicates: int = REPLICATES,
    render: Callable[[Evaluated], str] | None = None,
    normality: bool = False,
    published: Mapping[str, Any] | None = None,
    terms: str | None = None,
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
      threshold: calibrated protocol: to decide by, as `Predictor.load` takes it; None: the run's.
      false_alarm_rate: likewise.
      replicates: of the bootstrap that intervals come from; 0 for none.
      render: what makes the page `report.html` (`hgad_jax.report.page.render`); None for no report.
      normality: whether to compute how normal latents of good test images are (`latents.latent_normality`).
      published: figures to show beside these: `{"source": text, "classes": {name: {metric: value}},
        "mean": {metric: value}, "differences": [text]}`, every part optional but the source; None for those
        of the paper, if there are any for this detector, dataset and backbone.
      terms: published protocol: `"both"`, or of HGAD's `"likelihood"` or `"entropy"` alone; None for the
        config's.
      log: gets the table.

    Returns:
      The content of `results.json`.

    Raises:
      UserError: something in folder or data that the user can mend.
    """
    directory = workdir.local_path(directory)
    chosen = protocol or workdir.load_config(directory).scoring.protocol
    if chosen == "paper" and (threshold is not None or false_alarm_rate is not None):
        raise UserError(
            "A threshold or a rate of false alarms is for --protocol=calibrated: scores of the published "
            "protocol have none. Leave it away."
        )
    scorer = load_scorer(
        directory,
        classes=_classes(chosen, classes),
        threshold=threshold,
        false_alarm_rate=false_alarm_rate,
        decides=chosen != "paper",
    )
    _choose_terms(scorer.config, chosen, terms)
    dataset = run_dataset(scorer, directory, log, root=root)
    out = expanded(out or directory / "eval")
    with ExitStack() as files:
        side = scorer.config.scoring.map_size if chosen == "paper" else 0
        test = open_eval_set(dataset, split, scorer.classes, scorer.transform, _existing(out), side)
        files.enter_context(unchanged(test.records))
        head = {
            **{"protocol": chosen, "class_of_test_images": scorer.mode, "dataset": dataset.name},
            **({"terms": scorer.config.scoring.terms} if chosen == "paper" else {}),
            "split": split,
            "contents": of_labelled(
                test.records,
                cache_directory(scorer.config, directory),
                num_workers=scorer.config.data.workers,
            ),
            "training": phases.load(directory),
            **({"stability": report} if (report := stability_report.load(directory)) else {}),
            "bootstrap": {"replicates": replicates, "level": LEVEL, "seed": _SEED},
        }
        figures = published or comparison(scorer.config, Measured(protocol=chosen))
        head |= {"published": dict(figures)} if figures else {}
        moved = str(expanded(root)) if root else "", scorer.config.data.root
        good_images = {_name_then(image_name(r.path), *moved): r.path for r in dataset.train}
        entered = files.enter_context(test)
        evaluated = _evaluated(scorer, entered, head, good_images, _existing(out), files, normality)
        page = render(evaluated) if render else None
        table = score_table(evaluated)
    _write(out, evaluated.results, page, table, log)
    return evaluated.results


def _evaluated(
    scorer: Scorer,
    test: EvalSet,
    head: dict[str, Any],
    good_images: Mapping[str, ImageLike],
    spool: Path,
    files: ExitStack,
    normality: bool,
) -> Evaluated:
    """Scores the images and measures; `head` is what is known of the results before."""
    _check_space(test, spool)
    ks = latent_normality(scorer, test) if normality else None  # first: it may be refused
    protocol = head["protocol"]
    score = score_paper if protocol == "paper" else score_calibrated
    scored = score(scorer, test, test.labels if scorer.mode == "given" else None, files, spool)
    measured = measure(test, scored, spool, replicates=head["bootstrap"]["replicates"], seed=_SEED)
    decided, scales = _decided(scorer, test, scored, protocol)
    for name, counts in decision_counts(test, decided).items():
        measured.classes[name].update(counts)
    if protocol == "paper":
        with_thresholds(measured.classes, test, scored)
    choices = rate_tables(test, scored, decided)
    shifts = found_shifts(scorer, test, measured.classes, good_images) if choices else {}
    results = head | {
        "step": scorer.step,
        "class_accuracy": _accuracy(scorer, test, scored),
        **{"classes": measured.classes, "mean": measured.mean, "pooled": measured.pooled},
        **({"ks": ks} if ks else {}),
        **({"evidence": what_spoke(test, scored)} if scored.piece_names else {}),
        **({"choices": choices} if choices else {}),
        **({"regions": region_measures(test, scored, decided.decision)} if decided.decision else {}),
        **({"shifts": shifts} if shifts else {}),
        **({"apart": apart} if (apart := _apart(scorer)) else {}),
    }
    return Evaluated(scorer.config, test, scored, measured, decided, scales, results, good_images)


def what_spoke(test: EvalSet, scored: Scored) -> dict[str, dict[str, dict[str, float | None]]]:
    """Class by class what each piece of evidence would be worth alone, and how often it was the loudest.

    `image_auroc` is that of its own score, `loudest` the share of defective images whose highest is its.
    """
    found = {}
    for k in sorted(set(test.labels.tolist())):
        own = test.labels == k
        loudest = scored.pieces[own & test.anomalous].argmax(1)
        found[test.classes[k]] = {
            piece: {
                "image_auroc": auroc(test.anomalous[own], scored.pieces[own, i]),
                "loudest": float(np.mean(loudest == i)) if len(loudest) else None,
            }
            for i, piece in enumerate(scored.piece_names)
        }
    return found


def _name_then(name: str, now: str, then: str) -> str:
    """The name that an image had where its dataset was when the run was trained."""
    return then + name.removeprefix(now) if now and then and name.startswith(now) else name


def _apart(scorer: Scorer) -> dict[str, list[dict[str, Any]]]:
    """The good images of calibration that stand apart, by class."""
    if not scorer.good_names:
        return {}
    named = {
        name: [odd._asdict() for odd in standing_apart(good, scorer.good_names)]
        for name, good in zip(scorer.classes, scorer.decision.good, strict=True)
    }
    return {name: odd for name, odd in named.items() if odd}


def _accuracy(scorer: Scorer, test: EvalSet, scored: Scored) -> float | None:
    """Share of images whose class is found; None where it is given."""
    return None if scorer.mode == "given" else float(np.mean(scored.class_ids == test.labels))


def _decided(
    scorer: Scorer, test: EvalSet, scored: Scored, protocol: str
) -> tuple[Decided, tuple[Threshold, ...]]:
    """What the thresholds make of the scores, and what the colours of heat maps are anchored to."""
    if protocol == "paper":  # scores of another kind than those that thresholds were taken from
        return undecided(scored), tuple(scale_of_good(test, scored, k) for k in range(len(test.classes)))
    return decide(scored, scorer.decision), scorer.decision.pixel_thresholds


def _write(
    out: Path, results: dict[str, Any], page: str | None, table: str, log: Callable[[str], None]
) -> None:
    """Writes results, scores and report, those of one evaluation if several end at once, and tells."""
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / _LOCK):
            write_atomically(out / "results.json", json.dumps(plain_json(results), indent=2) + "\n")
            if page:
                write_atomically(out / "report.html", page)
            write_atomically(out / SCORES, table)
    log(format_table(plain_json(results)))
    if ks := results.get("ks"):
        each = ", ".join(f"{level:.4f}" for level in ks["levels"])
        log(f"KS of latents from their normal distribution: {ks['mean']:.4f} (levels: {each})")
    for name in ("results.json", SCORES, *(["report.html"] if page else [])):
        log(f"Written to {out / name}")


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


def _choose_terms(config: Any, protocol: str, terms: str | None) -> None:
    """Puts the terms that are asked for into the config of the run."""
    if terms is None:
        return
    if protocol != "paper":
        raise UserError(
            f"--terms={terms} is for --protocol=paper: the calibrated protocol has no product of two terms. "
            "Leave one of the two away."
        )
    if terms not in TERMS:
        raise UserError(f"The terms are {terms!r}, expected one of {', '.join(map(repr, TERMS))}.")
    config.scoring.terms = terms


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
