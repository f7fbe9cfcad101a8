"""τ, the threshold with the highest F1, against scikit-learn; and the masks that are drawn with it."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve
from trees import add_class, tiny_config

from hgad_jax.errors import UserError
from hgad_jax.evaluation.evaluate import evaluate
from hgad_jax.evaluation.f1_max import found_mask, thresholds
from hgad_jax.report.page import render
from hgad_jax.training.loop import train

SIDE = 24


def tau_of(labels, scores):
    precision, recall, values = precision_recall_curve(labels, scores)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return values[np.argmax(f1[:-1])]


@pytest.fixture(scope="module")
def scored():
    """Scores of three classes: one with masks, one without, one of good images alone."""
    rng = np.random.default_rng(0)
    anomalous = np.array([False] * 6 + [True] * 6 + [False, True] * 4 + [False] * 3)
    labels = np.repeat([0, 1, 2], [12, 8, 3])
    masks = np.zeros((23, SIDE, SIDE), bool)
    masks[6:12, 5:12, 3:20] = True
    maps = (rng.normal(size=masks.shape) + 2 * masks).astype(np.float32)
    test = SimpleNamespace(
        classes=("with", "without", "good"),
        anomalous=anomalous,
        has_truth=labels == 0,
        of_class=lambda k: range(*np.searchsorted(labels, [k, k + 1])),
        mask=lambda i: masks[i],
    )
    image = (rng.normal(size=23) + anomalous).astype(np.float32)
    kept = SimpleNamespace(image=image, maps=SimpleNamespace(read=lambda a, b: maps[a:b]))
    return test, kept, maps, masks


def test_thresholds_are_those_of_the_highest_f1(scored):
    test, kept, maps, masks = scored
    found = thresholds(test, kept)
    assert found["with"]["image"] == pytest.approx(tau_of(test.anomalous[:12], kept.image[:12]))
    assert found["without"]["image"] == pytest.approx(tau_of(test.anomalous[12:20], kept.image[12:20]))
    assert found["without"]["pixel"] is None
    assert found["good"] == {"image": None, "pixel": None}
    exact = tau_of(masks[:12].ravel(), maps[:12].ravel())
    width = np.ptp(maps[:12]) / 65536
    assert exact - width <= found["with"]["pixel"] <= exact + width


def test_masks_are_opened_with_a_disk_of_four_pixels():
    """A square of 13 pixels loses its corners, a line of 5 pixels' width all of it."""
    scores = np.zeros((40, 40), np.float32)
    scores[5:18, 5:18], scores[25:30, 3:35] = 1.0, 1.0
    found = found_mask(scores, 1.0)
    assert found[11, 11]
    assert found[9, 5]
    assert not found[5, 5]
    assert not found[25:30].any()
    disk = np.hypot(*np.mgrid[-4:5, -4:5]) <= 4
    expected = np.zeros_like(found)
    for y, x in np.ndindex(32, 32):
        if (scores[y : y + 9, x : x + 9][disk] >= 1).all():
            expected[y : y + 9, x : x + 9] |= disk
    np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("tau")
    for name in ("brick", "grass"):
        add_class(place / "data", name)
    settings = {"train__epochs": 1.0, "detector__num_blocks": 1, "bank__size": 0, "data__detail": 1}
    train(tiny_config(place / "data", **settings), place / "run")
    return place / "run"


def test_the_report_of_published_figures_draws_them(run, tmp_path):
    pages = []
    results = evaluate(
        run,
        out=tmp_path,
        protocol="paper",
        replicates=0,
        render=lambda evaluated: pages.append(render(evaluated)) or pages[0],
        log=lambda line: None,
    )
    taus = results["classes"]["brick"]["f1_max_thresholds"]
    assert np.isfinite(taus["image"])
    assert np.isfinite(taus["pixel"])
    assert pages[0].count("τ of F1-max") == 2
    assert '<svg class="found"' in pages[0]
    assert "The white line is what pixels from τ on find" in pages[0]


def test_calibrated_figures_have_thresholds_instead(run, tmp_path):
    pages = []
    results = evaluate(
        run,
        out=tmp_path,
        replicates=0,
        render=lambda evaluated: pages.append(render(evaluated)) or pages[0],
        log=lambda line: None,
    )
    assert "f1_max_thresholds" not in results["classes"]["brick"]
    assert "τ" not in pages[0]


def test_figures_by_one_term_alone(run, tmp_path):
    settings = {"out": tmp_path, "protocol": "paper", "replicates": 0, "log": lambda line: None}
    found = {terms: evaluate(run, terms=terms, **settings) for terms in ("both", "likelihood", "entropy")}
    assert {terms: results["terms"] for terms, results in found.items()} == {k: k for k in found}
    figures = [results["mean"]["pixel_auroc"] for results in found.values()]
    assert len(set(figures)) == 3
    assert evaluate(run, **settings)["mean"] == found["both"]["mean"]
    with pytest.raises(UserError, match="--terms=entropy is for --protocol=paper"):
        evaluate(run, terms="entropy", out=tmp_path, log=lambda line: None)
    with pytest.raises(UserError, match="terms are 'all', expected one of 'both', 'likelihood', 'entropy'"):
        evaluate(run, terms="all", **settings)
