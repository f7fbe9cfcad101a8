"""HGAD's published scoring of large images at 256 pixels, against its formulas in float64 NumPy."""

import functools
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.special import logsumexp, softmax

from hgad_jax import detectors
from hgad_jax.config import get_config
from hgad_jax.data.geometry import transform_of
from hgad_jax.data.records import Record
from hgad_jax.evaluation.scored import score_paper
from hgad_jax.flows import flow
from hgad_jax.inference.eval_set import open_eval_set

SIZES = ((64, 64, 200), (32, 32, 200), (16, 16, 200))  # of maps of the published tap at 1024, 512, 256 px
CLASSES, IMAGES, SIDE = ("one", "two", "three"), 2, 256
LABELS = np.array([1, 1], np.int32)


@pytest.fixture(scope="module")
def model():
    """The detector of `:paper` with classes that are not as at the start, and features of four images."""
    config = get_config("hgad_mvtec_ad:paper")
    detector = detectors.create(config.detector, len(CLASSES))
    rng = np.random.default_rng(0)
    features = tuple(rng.normal(size=(IMAGES, *size)).astype(np.float32) for size in SIZES)
    batches = [lambda f=f: iter([(f, np.arange(IMAGES, dtype=np.int32) % 3)]) for f in features]
    params, constants = detector.init(jax.random.key(1), batches)

    def moved(level):
        base = jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32), level.base)
        return level._replace(base=base)

    return config, detector, tuple(map(moved, params)), constants, features


@pytest.fixture(scope="module")
def score(model, tmp_path_factory):
    """What the published protocol makes of them by some terms, beside images and masks of another shape."""
    config, detector, params, constants, features = model
    place = tmp_path_factory.mktemp("maps")
    rng, records = np.random.default_rng(3), []
    for i in range(IMAGES):
        path, mask = place / f"{i}.png", place / f"{i}_mask.png"
        Image.fromarray(rng.integers(0, 255, (1300, 1100, 3), np.uint8)).save(path)
        truth = np.zeros((1300, 1100), np.uint8)
        truth[100 + 90 * i : 700, 300:333] = 1
        Image.fromarray(truth).save(mask)
        records.append(Record(str(path), CLASSES[1], "test", "scratch", str(mask)))
    config.data.workers, config.scoring.batch_size = 0, IMAGES
    transform = transform_of(config.data)
    found = functools.cache(lambda: detector.evidence(params, constants, features, LABELS))

    def evidence(images, class_ids):
        assert images.shape == (IMAGES, 1024, 1024, 3)
        np.testing.assert_array_equal(class_ids, LABELS)
        return found()

    scorer = SimpleNamespace(
        config=config,
        transform=transform,
        published=detector.published,
        levels=SimpleNamespace(detailed=0),
        evidence=evidence,
    )
    dataset = SimpleNamespace(name="made up", test=tuple(records), train=())

    def score(terms="both"):
        config.scoring.terms = terms
        test = open_eval_set(dataset, "test", CLASSES, transform, place, config.scoring.map_size)
        with ExitStack() as files:
            test = files.enter_context(test)
            made = score_paper(scorer, test, test.labels, files, place)
            maps = made.maps.read(0, IMAGES)
            return made.image, maps, [test.mask(i) for i in range(IMAGES)], [Path(r.mask) for r in records]

    return score


def align_corners(level, side):
    """Bilinear resizing of `[N, h, w]` whose corner pixels stay where they are, in float64."""
    at = np.linspace(0, level.shape[1] - 1, side)
    low = np.minimum(at.astype(int), level.shape[1] - 2)
    part = at - low
    rows = level[:, low] * (1 - part)[:, None] + level[:, low + 1] * part[:, None]
    return rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part


def term_map(levels):
    """Below the highest of the test set: exp, enlarged, summed, below the highest again, smoothed."""
    total = sum(align_corners(np.exp(level - level.max()), SIDE) for level in levels)
    return np.stack([gaussian_filter(m, 4) for m in total.max() - total])


@pytest.fixture(scope="module")
def parts(model):
    """The maps of the two terms, float64."""
    return [term_map(levels) for levels in zip(*terms(model), strict=True)]


def terms(model):
    """Log-likelihood under the true class and negative entropy, of the latents that the flow gives."""
    config, _, params, constants, features = model
    for level, fixed, x in zip(params, constants, features, strict=True):
        z, log_det = flow.forward(level.flow, fixed.mixing, x, clamp=config.detector.clamp)
        z, log_det = np.asarray(z, np.float64), np.asarray(log_det, np.float64)
        main, deltas, _, logits = (np.asarray(array, np.float64) for array in level.base)
        centres = np.concatenate([main[1][None], main[1] + deltas[1]])
        squares = ((z[..., None, :] - centres) ** 2).sum(-1)
        weights = logits[1] - logsumexp(logits[1])
        within = logsumexp(-squares / 2 + weights, axis=-1)
        likelihood = (-100 * np.log(2 * np.pi) + within + log_det) / 200
        p = softmax(-((z[..., None, :] - main) ** 2).sum(-1) / 2, axis=-1)
        yield likelihood, (p * np.log(np.maximum(p, 1e-300))).sum(-1)


@pytest.mark.parametrize("chosen", ["both", "likelihood", "entropy"])
def test_maps_and_scores_are_those_of_the_formulas_at_256(chosen, score, parts):
    """The published product, and each of its factors alone (Table 3c of the paper)."""
    image, maps, *_ = score(chosen)
    likelihood, entropy = parts
    expected = {"both": likelihood * entropy, "likelihood": likelihood, "entropy": entropy}[chosen]
    assert maps.shape == expected.shape == (IMAGES, SIDE, SIDE)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(maps, expected, atol=2e-4 * expected.max())
    np.testing.assert_allclose(image, expected.max((1, 2)), rtol=1e-3)


def test_masks_are_cut_at_256_as_the_images_at_1024(score):
    """Shorter side to 256, nearest, and the middle of it; whatever is not black."""
    *_, masks, files = score()
    for found, path in zip(masks, files, strict=True):
        truth = Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8) * 255)
        small = np.asarray(truth.resize((256, round(1300 * 256 / 1100)), Image.Resampling.NEAREST))
        top = round((small.shape[0] - 256) / 2)
        cut = small[top : top + 256] > 0
        assert cut.any()
        assert np.mean(found != cut) < 2e-3  # a row of rounding
