"""Are false alarms as rare as promised? `python benchmarks/false_alarms.py --workdir=DIR`.

All good images that the model of a trained run has not seen (its held-out ones and the good test images) are
split at random into halves, 200 times for each class. One half calibrates, constants and threshold; the other
half counts false alarms. Were scores exchangeable, the count would be beta-binomially distributed around the
promised rate, whatever the scores; that constants are fitted to the images that set the threshold is what
could spoil it. Each image is therefore scored with constants that leave it out; the same without this
precaution ("naive") is shown beside it.

Prints a table and ends with one line of JSON. Maps are combined at --size pixels: the guarantee does not
depend on it.
"""

import json
import math
import sys
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from scipy import stats
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

from hgad_jax.data import load_dataset
from hgad_jax.data.pipeline import image_batches
from hgad_jax.data.split import hold_out
from hgad_jax.inference.scorer import load_scorer
from hgad_jax.runs import near_duplicates
from hgad_jax.runs.model import piece_score_function
from hgad_jax.scoring.constants import (
    fit_constants,
    fit_image_constants,
    leave_one_out,
    leave_one_score_out,
    of_classes,
)
from hgad_jax.scoring.evidence import OF_MAP
from hgad_jax.scoring.scores import Tiling, combine
from hgad_jax.scoring.threshold import conformal_threshold

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a trained run.")
_SPLITS = flags.DEFINE_integer("splits", 200, "Random splits of each class.", lower_bound=1)
_SIZE = flags.DEFINE_integer("size", 64, "Side of the maps, pixels.", lower_bound=8)
_RATES = flags.DEFINE_list("rates", ["0.01", "0.05", "0.1"], "False-alarm rates to promise.")
flags.mark_flag_as_required("workdir")
_PART = 64


def unseen_good(scorer, dataset):
    """Good images that the model was not trained on."""
    calibration = scorer.config.calibration
    _, held = hold_out(
        dataset.train,
        fraction=calibration.fraction,
        min_images=calibration.min_images,
        seed=scorer.config.seed,
        groups=near_duplicates.load(Path(_WORKDIR.value) / near_duplicates.FILE),
    )
    return [dataset.train[i] for i in held] + [r for r in dataset.test if not r.anomalous]


def collect(scorer, records):
    """Both terms of the evidence on records of a class, given it; on the host."""
    config, parts = scorer.config, []
    ids = np.array([scorer.classes.index(r.class_name) for r in records], np.int32)
    for batch in image_batches(
        records,
        transform=scorer.transform,
        batch_size=config.scoring.batch_size,
        num_workers=config.data.workers,
    ):
        found = jax.device_get(scorer.evidence(batch["image"], ids[batch["index"]]))
        count = int(batch["valid"].sum())
        terms = (found.log_likelihood, found.negative_entropy)
        parts.append(jax.tree.map(lambda array, count=count: array[:count], terms))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def make_score(scorer, size):
    """(terms, constants for each image) → image scores, in parts of one shape."""
    tiling = Tiling(size, ((0, 0),), np.ones((size, size)))

    @jax.jit
    def part(terms, constants):
        boxes = np.tile([0, 0, size, size], (_PART, 1))
        return combine(*terms, constants, boxes, tiling=tiling, scoring=scorer.config.scoring).image

    def score(terms, constants):
        count, found = len(terms[0][0]), []
        for start in range(0, count, _PART):
            rows = np.minimum(np.arange(start, start + _PART), count - 1)
            found.append(
                np.asarray(part(*jax.tree.map(lambda array, rows=rows: array[rows], (terms, constants))))
            )
        return np.concatenate(found)[:count]

    return score


def make_fit(scorer):
    """terms of images of one class → (constants, those without each image), as `runs.calibrate` has them."""
    pieces, side = piece_score_function(scorer.config), scorer.transform.working_size

    def fit(terms):
        labels = np.zeros(len(terms[0][0]), int)
        constants, without = fit_constants(*terms, labels, 1), leave_one_out(*terms, labels)
        if scorer.config.scoring.image_score == OF_MAP:
            return constants, without
        own = np.asarray(pieces(terms[0], without, np.tile([0, 0, side, side], (len(labels), 1))))
        return (
            constants._replace(image=fit_image_constants(own, labels, 1)),
            without._replace(image=leave_one_score_out(own, labels)),
        )

    return fit


def experiment(terms, fit, score, splits, rates, seed):
    """False alarms of each split: rate → (left out, naive) counts `[splits]`, and the sizes of the halves."""
    count = len(terms[0][0])
    half = count // 2
    rng = np.random.default_rng(seed)
    alarms = {rate: ([], []) for rate in rates}
    for _ in range(splits):
        order = rng.permutation(count)
        calibrating, new = (jax.tree.map(lambda a, i=i: a[i], terms) for i in (order[:half], order[half:]))
        labels = np.zeros(half, int)
        constants, without = fit(calibrating)
        new_scores = score(new, of_classes(constants, np.zeros(count - half, int)))
        left_out = score(calibrating, without)
        naive = score(calibrating, of_classes(constants, labels))
        for rate in rates:
            for good, counts in zip((left_out, naive), alarms[rate], strict=True):
                counts.append(int(np.sum(new_scores > conformal_threshold(good, rate).value)))
    return {rate: tuple(map(np.array, pair)) for rate, pair in alarms.items()}, half, count - half


def summarize(counts, half, new, rate):
    """Promised and observed rate, and the share of splits within the 95 % beta-binomial interval."""
    promised = conformal_threshold(np.arange(half, dtype=float), rate).rate
    k = round((1 - promised) * (half + 1))
    low, high = stats.betabinom(new, half + 1 - k, k).interval(0.95)
    return {
        "promised": promised,
        "observed": float(counts.mean() / new),
        "standard_error": float(counts.std() / new / math.sqrt(len(counts))),
        "splits_within_interval": float(np.mean((counts >= low) & (counts <= high))),
        "interval": [low / new, high / new],
    }


def main(argv):
    """Prints the table."""
    del argv
    scorer = load_scorer(_WORKDIR.value, classes="given")
    if scorer.transform.tiles > 1 or scorer.transform.resize == "letterbox":
        sys.exit("This script works on whole, squashed images: train without tiles.")
    pool = unseen_good(scorer, load_dataset(scorer.config.data))
    fit, score = make_fit(scorer), make_score(scorer, _SIZE.value)
    rates = [float(rate) for rate in _RATES.value]
    result = {}
    print("| class | half | rate | promised | observed | ± | within interval | naive, observed |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for k, name in enumerate(tqdm(scorer.classes, unit="class")):
        terms = collect(scorer, [r for r in pool if r.class_name == name])
        alarms, half, new = experiment(terms, fit, score, _SPLITS.value, rates, seed=k)
        for rate, (left_out, naive) in alarms.items():
            ours, theirs = (summarize(counts, half, new, rate) for counts in (left_out, naive))
            result[f"{name}/{rate:g}"] = {"left_out": ours, "naive": theirs}
            tqdm.write(
                f"| {name} | {half} | {rate:g} | {ours['promised']:.4f} | {ours['observed']:.4f} | "
                f"{ours['standard_error']:.4f} | {ours['splits_within_interval']:.2%} | "
                f"{theirs['observed']:.4f} |",
                file=sys.stdout,
            )
    print(json.dumps(result))


if __name__ == "__main__":
    app.run(main)
