"""An evaluation without a model: images on disk, scored by how bright they are."""

import contextlib
from pathlib import Path

import numpy as np
from scipy import ndimage
from trees import SIDE, TEXTURES, add_class, tiny_config

from hgad_jax.data import load_dataset
from hgad_jax.data.geometry import Transform
from hgad_jax.data.transforms import load_image
from hgad_jax.disk import DiskArray
from hgad_jax.evaluation.decided import decide, decision_counts, scale_of_good, undecided
from hgad_jax.evaluation.evaluated import Evaluated
from hgad_jax.evaluation.measure import measure
from hgad_jax.evaluation.rate_table import rate_tables
from hgad_jax.evaluation.scored import Scored
from hgad_jax.inference.eval_set import open_eval_set
from hgad_jax.scoring.decision import Decision
from hgad_jax.scoring.good import fitted
from hgad_jax.scoring.threshold import fixed_threshold

HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;"  # a folder's name; "/" cannot be in one


@contextlib.contextmanager
def evaluated(place: Path, names, *, thresholds: bool = True, published=None, masks=True, test: int = 6):
    """An `Evaluated` of classes of these names, each a texture with white squares as defects."""
    for number, name in enumerate(names):
        folder = add_class(
            place / "making", list(TEXTURES)[number % len(TEXTURES)], good=1, test=test, masks=masks
        )
        (place / "data").mkdir(exist_ok=True)
        folder.rename(place / "data" / name)
    config = tiny_config(place / "data")
    dataset, transform = load_dataset(config.data), Transform(SIDE)
    with contextlib.ExitStack() as files:
        images = files.enter_context(open_eval_set(dataset, "test", dataset.classes, transform, place))
        scored = _by_brightness(images, files, place)
        measured = measure(images, scored, place, replicates=20)
        decision = _decision(scored.image[~images.anomalous], len(dataset.classes))
        decided = decide(scored, decision) if thresholds else undecided(scored)
        for name, counts in decision_counts(images, decided).items():
            measured.classes[name].update(counts)
        scales = tuple(scale_of_good(images, scored, k) for k in range(len(dataset.classes)))
        results = {
            "protocol": "calibrated" if thresholds else "paper",
            "class_of_test_images": "inferred" if thresholds else "given",
            "dataset": dataset.name,
            "split": "test",
            "step": 7,
            "class_accuracy": 0.5 if thresholds else None,
            "classes": measured.classes,
            "mean": measured.mean,
            "pooled": measured.pooled,
            "bootstrap": {"replicates": 20, "level": 0.95, "seed": 0},
        }
        results["choices"] = rate_tables(images, scored, decided)
        if published:
            results["published"] = published
        yield Evaluated(config, images, scored, measured, decided, scales, results)


def _decision(good_scores: np.ndarray, num_classes: int) -> Decision:
    """By a limit set by hand; scores far from it are told apart."""
    good_scores = good_scores if len(good_scores) else np.zeros(1)
    limits = (fixed_threshold(good_scores, 180.0),) * num_classes
    numbers = np.arange(len(good_scores))
    good = fitted([(good_scores.astype(float), np.ones(len(numbers)), numbers)] * num_classes)
    strange = fitted([(np.zeros(len(numbers)), np.ones(len(numbers)), numbers)] * num_classes)
    return Decision(limits, limits, np.full(num_classes, 1.0), (0.01,) * num_classes, good, strange, "reject")


def _by_brightness(images, files, place: Path) -> Scored:
    maps = files.enter_context(DiskArray(place, (SIDE, SIDE), np.float32))
    likelihood = files.enter_context(DiskArray(place, (1, 8, 8), np.float32))
    scores = np.zeros(len(images), np.float32)
    for i, record in enumerate(images.records):
        bright = ndimage.uniform_filter(load_image(record.path, images.transform).mean(2), 5)
        maps.write(i, bright[None])
        likelihood.write(i, -bright[None, None, ::8, ::8] / 100)
        scores[i] = np.sort(bright.ravel())[-100:].mean()
    used = images.labels.copy()
    used[0] = len(images.classes) - 1  # one image is taken for another class
    strangeness = np.zeros(len(images))
    strangeness[len(images) - 1] = 2  # and one for none
    none = np.zeros((len(scores), 0), np.float32)
    return Scored(scores, used, maps, strangeness, likelihood, none, ())
