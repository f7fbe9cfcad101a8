"""Are false alarms as rare as promised? `python benchmarks/false_alarms.py --workdir=DIR`.

All good images that the model of a trained run has not seen (its held-out ones and the good test images) are
split at random into halves, 200 times; images that show one part (`--groups=auto` finds them among all of
these, as training does) stay on one side. One half calibrates, constants and thresholds, those of all classes
together; the other half counts false alarms. Conformal thresholds and those of the fitted tail are compared
with their promises; "naive" is the conformal one of scores by constants that they had a part in.

Prints a table and ends with one line of JSON. Maps are combined at --size pixels: the guarantee does not
depend on it.
"""

import collections
import json
import math
import sys
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

from hgad_jax.data import groups as found_groups
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
from hgad_jax.scoring.good import fitted
from hgad_jax.scoring.promise import surprise
from hgad_jax.scoring.scores import Tiling, combine
from hgad_jax.scoring.tail import tail_threshold
from hgad_jax.scoring.threshold import conformal_threshold

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a trained run.")
_SPLITS = flags.DEFINE_integer("splits", 200, "Random splits of each class.", lower_bound=1)
_SIZE = flags.DEFINE_integer("size", 64, "Side of the maps, pixels.", lower_bound=8)
_RATES = flags.DEFINE_list("rates", ["0.005", "0.01", "0.02", "0.05"], "False-alarm rates to promise.")
_GROUPS = flags.DEFINE_enum("groups", "auto", ["auto", "none"], "Whether images of one part stay together.")
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
    """Evidence on records of a class, given it (both terms), and groups of near-duplicates; on the host."""
    config, parts, coarse = scorer.config, [], []
    ids = np.array([scorer.classes.index(r.class_name) for r in records], np.int32)
    level = min(range(len(scorer.levels.names)), key=lambda i: scorer.levels.sizes[i][0])
    for batch in image_batches(
        records,
        transform=scorer.transform,
        batch_size=config.scoring.batch_size,
        num_workers=config.data.workers,
    ):
        count = int(batch["valid"].sum())
        features = scorer.levels.apply(scorer.levels.variables, batch["image"])
        found = jax.device_get(scorer.features_evidence(features, ids[batch["index"]]))
        terms = (found.log_likelihood, found.negative_entropy)
        parts.append(jax.tree.map(lambda array, count=count: array[:count], terms))
        coarse.append(found_groups.coarse(np.asarray(features[level]))[:count])
    groups = found_groups.find(np.concatenate(coarse)) if _GROUPS.value == "auto" else None
    together = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    return together, np.arange(len(records)) if groups is None else groups


def make_score(scorer, size):
    """(terms, constants for each image) → image scores, in parts of one shape."""
    tiling = Tiling(size, ((0, 0),), np.ones((size, size)))

    @jax.jit
    def part(terms, constants):
        boxes = np.tile([0, 0, size, size], (_PART, 1))
        return combine(*terms, constants, boxes, tiling=tiling, scoring=scorer.config.scoring).image

    return lambda terms, constants: in_parts(lambda of_part: part(*of_part), (terms, constants))


def in_parts(function, trees):
    """A function of trees of `[_PART, ...]` on trees of any length: it is compiled once for all splits."""
    count, found = len(jax.tree.leaves(trees)[0]), []
    for start in range(0, count, _PART):
        rows = np.minimum(np.arange(start, start + _PART), count - 1)
        found.append(np.asarray(function(jax.tree.map(lambda array, rows=rows: array[rows], trees))))
    return np.concatenate(found)[:count]


def make_fit(scorer):
    """Terms of a class → (constants, those without each image), as `runs.calibrate` has them."""
    pieces, side = piece_score_function(scorer.config), scorer.transform.working_size

    def pieces_of_part(of_part):
        return pieces(*of_part, np.tile([0, 0, side, side], (_PART, 1)))

    def fit(terms):
        labels = np.zeros(len(terms[0][0]), int)
        constants, without = fit_constants(*terms, labels, 1), leave_one_out(*terms, labels)
        if scorer.config.scoring.image_score == OF_MAP:
            return constants, without
        own = in_parts(pieces_of_part, (terms[0], without))
        return (
            constants._replace(image=fit_image_constants(own, labels, 1)),
            without._replace(image=leave_one_score_out(own, labels)),
        )

    return fit


def halves(rng, groups):
    """Two halves of the images, whole groups on either side."""
    order = rng.permutation(np.unique(groups))
    first = np.isin(groups, order[: len(order) // 2])
    return np.flatnonzero(first), np.flatnonzero(~first)


def witnesses(groups):
    """What each image counts: its share of its group."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return 1.0 / counts[inverse]


def split_once(rng, pools, fit, score):
    """Scores of one split, class by class: calibrating left out and naive, new ones, weights of both."""
    found = []
    for terms, groups in pools:
        calibrating, new = halves(rng, groups)
        own, others = (jax.tree.map(lambda a, i=i: a[i], terms) for i in (calibrating, new))
        labels = np.zeros(len(calibrating), int)
        constants, without = fit(own)
        found.append(
            (
                score(own, without),
                score(own, of_classes(constants, labels)),
                score(others, of_classes(constants, np.zeros(len(new), int))),
                witnesses(groups[calibrating]),
                witnesses(groups[new]),
            )
        )
    return found


def thresholds(split, rate):
    """Class by class the thresholds of each kind, and the good images that they were taken from."""
    goods = fitted([(own, weights, np.arange(len(own))) for own, _, _, weights, _ in split])
    for good, (own, naive, _, weights, _) in zip(goods, split, strict=True):
        kinds = {"conformal": conformal_threshold(own, rate, weights)}
        kinds["naive"] = conformal_threshold(naive, rate, weights)
        if good.tail is not None:
            kinds["tail"] = tail_threshold(good.tail, rate, good.scores, good.weights, good.apart)
        yield good, kinds


def experiment(pools, fit, score, splits, rates, seed=0):
    """(class, rate, kind) → for each split promised rate, share of groups above, whether that is within."""
    rows = collections.defaultdict(list)
    for number in tqdm(range(splits), unit="split"):
        split = split_once(np.random.default_rng([seed, number]), pools, fit, score)
        for rate in rates:
            for k, (good, kinds) in enumerate(thresholds(split, rate)):
                new, weights = split[k][2], split[k][4]
                for kind, threshold in kinds.items():
                    share = float(np.average(new > threshold.value, weights=weights))
                    count = round(share * weights.sum())
                    p = surprise(threshold, good, count, round(weights.sum()))
                    rows[k, rate, kind].append((threshold.rate, share, p >= 0.025, threshold.value))
    return rows


def summarize(rows):
    """Means over splits: promised and observed rate, its standard error, splits within the promise."""
    promised, observed, within, values = np.array(rows).T
    return {
        "promised": float(promised.mean()),
        "observed": float(observed.mean()),
        "standard_error": float(observed.std() / math.sqrt(len(rows))),
        "splits_within": float(within.mean()),
        "threshold_deviation": float(values.std()),
    }


def main(argv):
    """Prints the table."""
    del argv
    scorer = load_scorer(_WORKDIR.value, classes="given")
    if scorer.transform.tiles > 1 or scorer.transform.resize == "letterbox":
        sys.exit("This script works on whole, squashed images: train without tiles.")
    pool = unseen_good(scorer, load_dataset(scorer.config.data))
    of_classes = [[r for r in pool if r.class_name == name] for name in scorer.classes]
    pools = [collect(scorer, records) for records in tqdm(of_classes, unit="class")]
    fit, score = make_fit(scorer), make_score(scorer, _SIZE.value)
    found = experiment(pools, fit, score, _SPLITS.value, [float(rate) for rate in _RATES.value])
    result = {}
    print("| class | images, groups | asked | kind | promised | observed | ± | within the promise |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (k, rate, kind), rows in found.items():
        name, (_, groups) = scorer.classes[k], pools[k]
        row = summarize(rows)
        result[f"{name}/{rate:g}/{kind}"] = row
        sizes = f"{len(groups)}, {len(np.unique(groups))}"
        print(
            f"| {name} | {sizes} | {rate:.1%} | {kind} | {row['promised']:.2%} | {row['observed']:.2%} "
            f"| {row['standard_error']:.2%} | {row['splits_within']:.1%} |"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    app.run(main)
