"""Where the time of a training goes: phases within one another, going on, and what is kept."""

import json

import pytest
from trees import add_class, tiny_config

from hgad_jax.evaluation.evaluate import evaluate
from hgad_jax.runs import phases
from hgad_jax.training.loop import train


def test_a_phase_within_another_counts_for_itself_alone():
    now = [0.0]
    spent = phases.Phases(clock=lambda: now[0])
    with spent(phases.TRAINING):
        now[0] = 1.0
        with spent(phases.CALIBRATING):
            now[0] = 4.0
            assert spent.seconds() == {"calibrating": 3.0, "training": 1.0}, "also before they end"
        now[0] = 10.0
        assert spent.seconds() == {"calibrating": 3.0, "training": 7.0}
    now[0] = 12.0
    assert spent.seconds() == {"calibrating": 3.0, "training": 7.0}
    assert "training 7 s, calibrating 3 s; together 10 s" in phases.described(spent.seconds())


def test_times_are_kept_also_of_what_was_stopped_and_are_in_the_results(tmp_path):
    add_class(tmp_path / "data", "brick", good=8)
    lines = []
    config = tiny_config(tmp_path / "data", train__epochs=1.0)
    train(config, tmp_path / "run", log=lines.append)
    said = [line for line in lines if line.startswith("listing")]
    assert len(said) == 1
    assert all(name in said[0] for name in phases.NAMES)
    kept = phases.load(tmp_path / "run")
    assert set(kept["seconds"]) == set(phases.NAMES)
    assert kept["train_s"] == pytest.approx(sum(kept["seconds"].values()), abs=0.01)
    assert kept["images_per_s"] > 0
    assert kept["peak_mb"] > 50
    results = evaluate(tmp_path / "run", replicates=0, log=lambda line: None)
    assert results["training"] == kept


def test_going_on_adds_up(tmp_path):
    before = {"features": 10.0, "training": 4.0}
    phases.save(tmp_path, {"training": 2.0, "fitting": 1.0}, before=before, images=60)
    found = phases.load(tmp_path)
    assert found["seconds"] == {"features": 10.0, "fitting": 1.0, "training": 6.0}
    assert found["images_per_s"] == 10.0
    assert phases.seconds_of(tmp_path) == found["seconds"]


@pytest.mark.parametrize("content", [None, "{", "[]", json.dumps({"seconds": [1]})])
def test_times_that_cannot_be_read_are_none(tmp_path, content):
    if content is not None:
        (tmp_path / phases.FILE).write_text(content)
    assert phases.seconds_of(tmp_path) == {}
