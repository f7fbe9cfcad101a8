"""When the test set is looked at while training."""

import json
from pathlib import Path

import pytest
from trees import tiny_config

from hgad_jax.training import stability_report
from hgad_jax.training.stability import Stability


@pytest.mark.parametrize(
    ("window", "every", "expected"),
    [
        ((0.1, 1.0), 0.1, range(1, 11)),  # where the quotients of floats are below the whole numbers
        ((0.2, 0.5), 0.1, range(2, 6)),
        ((1.0, 2.0), 1.0, (10, 20)),
        ((1.0, 3.0), 1.5, (15, 30)),
        ((0.0, 3.0), 0.75, (8, 15, 23, 30)),  # an epoch's quarter may end within a step
        ((), 1.0, ()),
    ],
)
def test_evaluations_are_where_the_window_has_them(window, every, expected):
    config = tiny_config("data", eval__window=window, eval__every=every)
    stability = Stability(config, None, (), (), Path(), print)
    assert [step for step in range(1, 31) if stability.due(step, 10)] == list(expected)


def test_the_report_of_a_log_with_other_figures_and_a_class_that_lacks_some(tmp_path):
    """Lines without figures of the test set are those of training; a mean alone has no classes."""
    config = tiny_config("data", eval__window=(1.0, 2.0))
    log = [
        {"step": 5, "loss": 3.0},
        {"step": 10, "test/image_auroc": 0.6, "test/a/image_auroc": 0.5, "test/b c/image_auroc": 0.7},
        {"step": 20, "test/image_auroc": 0.5, "test/a/image_auroc": 0.6, "test/b c/image_auroc": 0.4},
    ]
    log[1] |= {"test/ks": 0.3}
    log[2] |= {"test/ks": 0.1, "test/a/pixel_aupro": 0.9}
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in log))
    lines = []
    stability_report.write(config, tmp_path, 10.0, lines.append)
    found = json.loads((tmp_path / "stability.json").read_text())
    assert found["steps"] == [10, 20]
    assert found["epochs"] == [1.0, 2.0]
    assert found["image_auroc"] == {
        "mean": pytest.approx(0.55),
        "std": pytest.approx(0.05),
        "best": 0.6,
        "last": 0.5,
        "values": [0.6, 0.5],
        "best_step": 10,
        "classes_at_best": {"a": 0.5, "b c": 0.7},
    }
    assert found["ks"]["values"] == [0.3, 0.1]
    assert found["classes"]["a"]["pixel_aupro"]["values"] == [0.9]
    assert [line.split()[1] for line in lines] == ["image_auroc", "ks"]
    assert set(stability_report.rows(found)) == {"a", "b c", "mean"}
