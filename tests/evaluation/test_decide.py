"""Choosing a threshold: what is shown, what is kept, who goes by it, and what is wrong with a choice."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from trees import SIDE, add_class, save, tiny_config

import hgad_jax
from hgad_jax.errors import UserError
from hgad_jax.evaluation.decide import decide
from hgad_jax.evaluation.evaluate import evaluate
from hgad_jax.inference.predict import predict
from hgad_jax.inference.predictor import Predictor
from hgad_jax.report import page
from hgad_jax.runs import choice, workdir
from hgad_jax.scoring.good import p_value
from hgad_jax.training.loop import train

CLASSES = ("brick", "grass")
COSTS = {"miss": 50.0, "false_alarm": 1.0, "defects": 0.02}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two classes, and an odd image among the good ones of the first."""
    place = tmp_path_factory.mktemp("decide")
    for name in CLASSES:
        add_class(place / "data", name, good=40)
    rng = np.random.default_rng(0)
    for i in range(2):
        noise = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        save(place / "data" / "brick" / "train" / "good" / f"odd{i}.png", noise)
    lines = []
    settings = {"train__epochs": 0.0, "calibration__min_images": 20, "calibration__groups": "none"}
    train(tiny_config(place / "data", **settings), place / "run", log=lines.append)
    evaluate(place / "run", replicates=0, log=lambda line: None)
    return place / "run", "\n".join(lines)


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run")
    return tmp_path / "run"


def told(run, **settings):
    lines = []
    found = decide(run, log=lines.append, **settings)
    return found, "\n".join(lines)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_training_names_the_good_images_that_stand_apart(trained):
    run, said = trained
    scorer = Predictor.load(run).scorer
    odd = [i for i, name in enumerate(scorer.good_names) if "/odd" in name]
    assert odd, "with this seed some are held out"
    decision = scorer.decision
    apart = [int(i) for good in decision.good for i in good.images[good.apart]]
    assert set(odd) <= set(apart)
    assert said.count("good images held out") == sum(good.apart.any() for good in decision.good)
    for i in odd:
        assert f"\n  {scorer.good_names[i]}: " in said
    for good, threshold in zip(decision.good, decision.thresholds, strict=True):
        assert (threshold.kind, threshold.apart) == ("tail", good.apart.sum())
        if threshold.apart:
            assert threshold.value < threshold.with_apart <= good.scores.max()


def test_scores_of_test_images_are_those_of_the_predictor(trained):
    run, _ = trained
    predictor = Predictor.load(run)
    for row in rows(run / "eval" / "scores.csv")[::3]:
        found = predictor(row["path"])
        assert float(row["score"]) == pytest.approx(found.score, rel=1e-5)
        assert float(row["p_value"]) == pytest.approx(found.p_value, rel=2e-2)
        assert float(row["unknown_p_value"]) == pytest.approx(found.unknown_p_value, rel=2e-2)
        assert (row["anomalous"] == "true", row["unknown"] == "true") == (found.anomalous, found.unknown)
        assert row["scored_as"] == found.class_name
        assert found.p_value == p_value(predictor.decision.good[CLASSES.index(found.class_name)], found.score)


def test_the_tables_count_the_labelled_images(run):
    found, said = told(run, costs=COSTS)
    scores = rows(run / "eval" / "scores.csv")
    for name in CLASSES:
        own = [row for row in scores if row["class"] == name]
        for line in found.tables[name]:
            assert line["misses"] == sum(
                row["label"] == "defective" and float(row["score"]) <= line["threshold"] for row in own
            )
            assert line["false_alarms"] == sum(
                row["label"] == "good" and float(row["score"]) > line["threshold"] for row in own
            )
            expected = 0.98 * line["promised"] + 0.02 * 50 * line["miss_rate"]
            assert line["cost"] == pytest.approx(expected)
        best = found.recommended[name]
        assert best["cost"] == min(line["cost"] for line in found.tables[name])
    assert said.count("<- least cost") == 2
    assert "threshold of brick" in said


def test_a_choice_is_kept_and_gone_by_everywhere(run, tmp_path):
    before = Predictor.load(run).decision
    _, said = told(run, false_alarm_rate="brick=0.2,0.05")
    assert "--config.calibration.false_alarm_rate=0.05" in said
    assert "class_rates=('brick=0.2',)" in said
    assert Predictor.load(run).decision.thresholds == before.thresholds, "shown, not kept"
    told(run, false_alarm_rate="brick=0.2,0.05", write=True)
    predictor = Predictor.load(run)
    assert predictor.decision.rates == (0.2, 0.05)
    assert predictor.decision.thresholds[0].value < before.thresholds[0].value
    results = evaluate(run, out=tmp_path / "eval", replicates=0, log=lambda line: None)
    predict(
        run, [str(run.parent / "run" / "eval")] and [rows(run / "eval" / "scores.csv")[0]["path"]], tmp_path
    )
    for k, name in enumerate(CLASSES):
        assert results["classes"][name]["threshold"] == predictor.decision.thresholds[k].value
    (row,) = rows(tmp_path / "scores.csv")
    assert float(row["threshold"]) == pytest.approx(predictor.decision.thresholds[0].value, rel=1e-5)
    assert Predictor.load(run, false_alarm_rate=0.01).decision.rates == (0.01, 0.01), "at use comes first"
    told(run, threshold="grass=3.5", write=True)
    kept = Predictor.load(run).decision
    assert [t.kind for t in kept.thresholds] == ["tail", "manual"]
    assert kept.rates == (0.2, 0.05)
    history = json.loads((run / choice.FILE).read_text())["history"]
    assert [entry["threshold"] for entry in history] == ["tail", "tail,grass=3.5"]


def test_rates_may_be_given_to_eval(run, tmp_path):
    settings = {"out": tmp_path, "replicates": 0, "log": lambda line: None}
    found = evaluate(run, false_alarm_rate="brick=0.3", **settings)["classes"]
    assert (found["brick"]["promised"], found["grass"]["promised"]) == (pytest.approx(0.3, abs=0.05), 0.01)
    found = evaluate(run, threshold={"grass": -1e9}, **settings)["classes"]["grass"]
    assert (found["threshold_kind"], found["false_alarms"], found["promise_p"]) == ("manual", 3, None)
    with pytest.raises(UserError, match="for --protocol=calibrated"):
        evaluate(run, protocol="paper", false_alarm_rate=0.1, **settings)
    with pytest.raises(UserError, match="names the class 'cog', the model knows brick, grass"):
        evaluate(run, false_alarm_rate="cog=0.1", **settings)


def test_a_choice_of_another_run_is_refused(run, tmp_path):
    told(run, false_alarm_rate=0.02, write=True)
    config = json.loads((run / "config.json").read_text())
    config["train"]["learning_rate"] = 0.5
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        UserError, match=r"decision\.json' holds the decision of another run.*hgad-jax decide"
    ):
        choice.apply(hgad_jax.get_config("hgad_folder"), run)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"format": 9}', '{"format": 1, "run": "RUN", "history": []}']
)
def test_a_choice_that_is_damaged_is_refused(run, content):
    (run / choice.FILE).write_text(content.replace("RUN", choice.identity(workdir.load_config(run))))
    with pytest.raises(UserError, match=r"decision\.json'.*Take the file away, then choose anew"):
        Predictor.load(run)


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({"miss": 1.0}, "false_alarm, defects missing"),
        (COSTS | {"coffee": 1.0}, "coffee unknown"),
        (COSTS | {"miss": -1.0}, "miss is -1.0, expected a number above 0"),
        (COSTS | {"defects": 1.5}, "defects is 1.5, expected a share between 0 and 1"),
        (COSTS | {"false_alarm": float("nan")}, "false_alarm is nan"),
    ],
)
def test_costs_that_are_none(run, costs, message):
    with pytest.raises(UserError, match=message):
        decide(run, costs=costs, log=lambda line: None)


def test_without_labelled_images_the_promise_stands_alone(run):
    shutil.rmtree(run / "eval")
    found, said = told(run)
    assert "no labelled images: run eval" in said
    assert found.tables["brick"][0]["miss_rate"] is None
    with pytest.raises(UserError, match="Costs need labelled images with defects"):
        decide(run, costs=COSTS, log=lambda line: None)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("class", "cog", "row 3: class is 'cog', expected one of 'brick', 'grass'"),
        ("label", "odd", "row 3: label is 'odd', expected one of 'good', 'defective'"),
        ("score", "high", "row 3: score is 'high', expected a finite number"),
        ("score", "nan", "row 3: score is 'nan'"),
    ],
)
def test_a_table_with_something_wrong(run, column, value, message):
    path = run / "eval" / "scores.csv"
    found = rows(path)
    found[1][column] = value
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, found[0].keys())
        writer.writeheader()
        writer.writerows(found)
    with pytest.raises(UserError, match=message):
        decide(run, log=lambda line: None)
    with pytest.raises(UserError, match="cannot be read"):
        decide(run, scores=run / "nowhere.csv", log=lambda line: None)


def test_the_report_shows_what_stands_apart_and_what_else_could_be_chosen(run, tmp_path):
    results = evaluate(run, out=tmp_path, replicates=0, render=page.render, log=lambda line: None)
    odd = [one for of_class in results["apart"].values() for one in of_class]
    assert all(one["score"] > one["next"] for one in odd)
    report = (tmp_path / "report.html").read_text()
    shown = report.split("Good images of calibration that stand apart")[1:]
    assert len(shown) == len(results["apart"]) > 0
    assert all("data:image/jpeg" in part.split("</div></div>")[0] for part in shown)
    assert report.count("Other thresholds") == 2
    table = report.split("<h2>Decisions</h2>")[1].split("</table>")[0]
    for name in CLASSES:
        values = results["classes"][name]
        (row,) = re.findall(rf"<th scope='row'>{name}</th>(.*?)</tr>", table)
        assert f"<td>{values['false_alarms']} of 3, " in row
        assert f"<td>{values['misses']} of 3, " in row
        assert f"<td>{values['promised']:.1%}<" in row
    for name in CLASSES:
        assert [row["asked"] for row in results["choices"][name]][:2] == [0.001, 0.002]


def test_good_images_of_another_light_break_the_promise_and_it_is_said(run, trained, tmp_path):
    shutil.copytree(trained[0].parent / "data", tmp_path / "data")
    for path in (tmp_path / "data" / "brick" / "test" / "good").iterdir():
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        grainy = pixels // 4 + np.random.default_rng(0).integers(0, 60, pixels.shape)
        Image.fromarray(grainy.astype(np.uint8)).save(path)
    lines = []
    found = evaluate(run, root=tmp_path / "data", out=tmp_path / "out", replicates=0, log=lines.append)
    brick, grass = (found["classes"][name] for name in CLASSES)
    assert (brick["promise_broken"], grass["promise_broken"]) == (True, False)
    assert brick["promise_p"] < 0.005
    assert list(found["shifts"]) == ["brick"]
    assert any(line.startswith("brightness: ") for line in found["shifts"]["brick"])
    said = "\n".join(lines)
    assert "brick: 3 of 3 good images rejected, 1.0% promised, p " in said
    assert found["shifts"]["brick"][0] in said


def test_the_page_and_the_public_name(run):
    hgad_jax.decide(run, costs=COSTS, log=lambda line: None)
    page = (run / "decide.html").read_text()
    assert page.count("<svg") == 2
    assert "The bold row costs least." in page
    assert "script" not in page
