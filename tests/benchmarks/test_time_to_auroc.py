"""The benchmark of AUROC against minutes: evaluated as eval.py does, resumable, and a table that is right."""

import importlib
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from test_flow_benchmark import BENCHMARKS
from trees import add_class, tiny_config

from hgad_jax.data import load_dataset
from hgad_jax.data.records import image_name
from hgad_jax.errors import UserError
from hgad_jax.evaluation.evaluate import evaluate
from hgad_jax.runs import checkpoints
from hgad_jax.runs.model import abstract_model
from hgad_jax.training import loop


@pytest.fixture(scope="module")
def modules():
    """The benchmark's modules, by their names; they import each other, one of them when it is needed."""
    names = (
        "time_to_auroc",
        *(f"auroc_{n}" for n in ("images", "judge", "machine", "report", "figure", "sides", "curve")),
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(BENCHMARKS))
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two classes, of which the second has no masks."""
    place = tmp_path_factory.mktemp("auroc")
    add_class(place / "data", "brick", test=5)
    add_class(place / "data", "grass", masks=False, test=5)
    return place


@pytest.fixture(scope="module")
def config(place):
    return tiny_config(place / "data", place / "cache", train__epochs=2.0, train__stage_two_epoch=1.0)


@pytest.fixture(scope="module")
def problem(modules, config):
    return modules.auroc_judge.make_problem(config, load_dataset(config.data), lambda line: None)


@pytest.mark.slow
def test_figures_are_those_of_eval(modules, place, config, problem):
    loop.train(config, place / "run")
    expected = evaluate(place / "run", replicates=0, log=lambda line: None)
    with checkpoints.open_manager(place / "run", read_only=True) as manager:
        step = checkpoints.latest_step(manager)
        saved = checkpoints.restore(manager, step, abstract_model(problem.model))
    _, data = problem.seeded(config.seed)
    found = modules.auroc_judge.Judge(problem)(saved["params"], saved["constants"], data)
    for metric in ("image_auroc", "pixel_auroc"):
        np.testing.assert_allclose(found[metric], expected["mean"][metric], rtol=1e-6)
    for name in ("brick", "grass"):
        for metric, value in found["classes"][name].items():
            np.testing.assert_allclose(value, expected["classes"][name][metric], rtol=1e-6)
    assert "pixel_auroc" not in found["classes"]["grass"]
    assert 0 < found["pixel_auroc"] < 1, "else anything would do"


@pytest.mark.slow
def test_a_side_trains_as_train_py_does(modules, place, config, problem):
    """The same steps in the same order, also where it was saved and restored half-way."""
    loop.train(config, place / "run")
    with checkpoints.open_manager(place / "run", read_only=True) as manager:
        saved = checkpoints.restore(manager, checkpoints.latest_step(manager), abstract_model(problem.model))
    side = modules.auroc_sides.JaxSide(problem, config.seed)
    side.begin()
    side.advance(1e-9)
    assert side.batches == 1
    side.save(place / "state")
    other = modules.auroc_sides.JaxSide(problem, config.seed)
    other.restore(place / "state")
    assert (other.batches, other.seconds) == (1, side.seconds)
    for each in (side, other):
        each.advance(1e9)
        assert each.finished
        assert each.batches == each.total == 4
        jax.tree.map(np.testing.assert_array_equal, each.model()[0], saved["params"])


def test_pytorch_takes_the_same_images_in_the_order_of_the_seed(modules, problem):
    pytest.importorskip("torch")
    pytest.importorskip("FrEIA", reason="needs the extra 'bench'")
    side = modules.auroc_sides.TorchSide(problem, seed=3)
    side.begin()
    features = {tuple(side.data.cache.levels[0][i].ravel()[:8]): i for i in side.data.train}
    taken, step = [], side._published.step

    def watched(done, levels, labels):
        indices = [features[tuple(image.ravel()[:8])] for image in levels[0]]
        np.testing.assert_array_equal(side.data.labels[indices], labels)
        taken.append(indices)
        return step(done, levels, labels)

    side._published.step = watched
    while side.batches < 4:
        side.advance(side.seconds + 1e-9)
    assert side.per_pass == 2, "16 images, 8 a batch"
    for number in range(2):
        assert sorted(taken[2 * number] + taken[2 * number + 1]) == list(side.data.train), "each image once"
    assert taken[:2] != taken[2:]
    assert side.model()[0][0].flow.gamma.shape == (2, side._sizes[0][-1])


def curve(side, seed, minutes, image, pixel):
    points = [
        {
            "minutes": m,
            "passes": 10 * m,
            "image_auroc": i,
            "pixel_auroc": p,
            "classes": {"tile": {"image_auroc": i, "pixel_auroc": p}, "cell": {"image_auroc": i}},
        }
        for m, i, p in zip(minutes, image, pixel, strict=True)
    ]
    return {"side": side, "seed": seed, "points": points}


@pytest.fixture
def curves():
    return {
        "default": [
            curve("default", 0, [0, 1, 5], [0.5, 0.79, 0.9], [0.5, 0.6, 0.6]),
            curve("default", 1, [0, 1, 5], [0.5, 0.83, 0.8], [0.5, 0.6, 0.6]),
        ],
        "pytorch_paper": [
            curve("pytorch_paper", 0, [0, 1, 5, 50], [0.4, 0.4, 0.5, 0.8], [0.4, 0.4, 0.5, 0.7]),
            curve("pytorch_paper", 1, [0, 1, 5, 50], [0.4, 0.4, 0.5, 0.82], [0.4, 0.4, 0.5, 0.7]),
        ],
    }


def test_the_line_has_means_over_seeds_and_when_a_side_was_level(modules, curves):
    line = modules.auroc_report.line(curves, None, {"throughput_ratio": 2.0})
    assert line["default"] == {"minutes": 5.0, "image_auroc": 0.85, "pixel_auroc": 0.6}
    assert line["pytorch_paper"] == {"minutes": 50.0, "image_auroc": 0.81, "pixel_auroc": 0.7}
    assert line["minutes_to_pytorch"] == {"default": {"image_auroc": 1.0, "pixel_auroc": None}}
    assert line["throughput_ratio"] == 2.0


def test_the_table_has_every_side_and_class(modules, curves):
    floor = {
        "image_auroc": 0.777,
        "classes": {"tile": {"image_auroc": 0.777}, "cell": {"image_auroc": 0.777}},
    }
    floor["pixel_auroc"] = floor["classes"]["tile"]["pixel_auroc"] = 0.666
    table = modules.auroc_report.table(curves, floor, "head")
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert rows[0].count("|") == len(re.findall(r"---", rows[1])) + 1
    assert "| untrained Gaussian | – | – | 0.777 | 0.666 |" in table
    assert "| hgad_jax, preset default | 5 | 50 | 0.850 ± 0.050 | 0.600 ± 0.000 |" in table
    assert [row.split("|")[2].strip() for row in rows if "PyTorch" in row] == ["1", "5", "50"]
    assert "- hgad_jax, preset default: image AUROC after 1 min, pixel AUROC never" in table


def test_the_figure_has_a_line_and_a_band_for_each_side_in_both_panels(modules, curves):
    floor = {"image_auroc": 0.7, "pixel_auroc": 0.7, "classes": {}}
    root = ElementTree.fromstring(modules.auroc_figure.figure(curves, floor))
    kinds = [path.get("class") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    for side in curves:
        assert kinds.count(f"band {side}") == 2
        assert kinds.count(f"line {side}") == 3, "with the legend's"
    assert kinds.count("floor") == 3
    panel = root.find("{http://www.w3.org/2000/svg}g")
    line = next(path for path in panel if path.get("class") == "line default")
    xs, ys = np.array(re.findall(r"([\d.]+) ([\d.]+)", line.get("d")), float).T
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys, reverse=True), "AUROC grows, upwards"


def test_evaluations_are_dense_at_first_and_end_with_the_budget(modules):
    points = modules.auroc_curve.points
    assert points(50) == [0, 0.5, 1, 2, 3, 5, 10, 20, 30, 40, 50]
    assert points(30) == [0, 0.5, 1, 2, 3, 5, 10, 20, 30]
    assert points(0.3) == [0, 0.3]


def test_another_machine_or_other_settings_are_refused(modules, tmp_path, monkeypatch):
    check, path = modules.auroc_machine.check_machine, tmp_path / "machine.json"
    check(path, 2, {"budget": 50.0})
    check(path, 2, {"budget": 50.0})
    with pytest.raises(UserError, match=r"settings.budget: 50.0 there, 10.0 here\n.*another --out"):
        check(path, 2, {"budget": 10.0})
    monkeypatch.setattr(modules.auroc_machine, "_processor", lambda: "Another 9000")
    with pytest.raises(UserError, match=r"processor: .* there, Another 9000 here"):
        check(path, 2, {"budget": 50.0})
    assert "Another" not in path.read_text()


def test_the_folder_is_the_tiles_and_elpvs_own_split(modules, place, tmp_path, monkeypatch):
    data = load_dataset(tiny_config(place / "data").data)
    monkeypatch.setattr(
        modules.auroc_images,
        "_elpv",
        lambda: tuple(r._replace(class_name="mono") for r in data.train[:3] + data.test[2:7]),
    )
    folder = modules.auroc_images.make_folder(place / "data/brick", tmp_path / "images")
    made = load_dataset(tiny_config(folder).data)
    assert made.classes == ("elpv_mono", "magnetic_tile")
    counts = {
        (name, s): sum(r.class_name == name for r in getattr(made, s))
        for name in made.classes
        for s in ("train", "test")
    }
    assert counts == {
        ("elpv_mono", "train"): 3,
        ("elpv_mono", "test"): 5,
        ("magnetic_tile", "train"): 12,
        ("magnetic_tile", "test"): 10,
    }
    assert sum(r.mask is not None for r in made.test) == 5
    few = modules.auroc_images.fewer(made, 2)
    assert [len(few.train), len(few.test)] == [4, 8], "two of each class, and of good and defective ones"
    names = [image_name(r.path) for r in few.train if r.class_name == "magnetic_tile"]
    assert [name[-6:] for name in names] == ["00.png", "11.png"], "evenly spread"
    with pytest.raises(UserError, match="has no folder train, test, ground_truth"):
        modules.auroc_images.make_folder(tmp_path, tmp_path / "other")


@pytest.mark.slow
def test_a_stopped_benchmark_goes_on_where_it_was(modules, place, tmp_path, monkeypatch, capsys):
    module = modules.time_to_auroc
    monkeypatch.setattr(modules.auroc_images, "make_folder", lambda *_: place / "data")
    monkeypatch.setattr(module, "use_threads", lambda threads: True)  # would pin the tests' own process
    original = module.Problems.config

    def small(self, preset):
        config = original(self, preset)
        config.detector.update(num_blocks=2, condition_channels=8)
        config.data.image_size = 64
        config.calibration.min_images = 4
        config.train.batch_size = 8
        return config

    monkeypatch.setattr(module.Problems, "config", small)
    arguments = [
        f"--out={tmp_path}",
        "--magnetic-tile=x",
        "--sides",
        "default",
        "paper",
        "--no-speed",
        "--seeds",
        "0",
    ]
    arguments += ["--budget-minutes=0.002", "--default-minutes=0.002", "--threads=1"]
    monkeypatch.setattr(sys, "argv", ["time_to_auroc.py", *arguments])
    judged, judge = [], modules.auroc_judge.Judge.__call__

    def stopping(self, *args):
        judged.append(judge(self, *args))
        if len(judged) == 3:  # the floor, and two points of `default`, of which the second is lost
            raise KeyboardInterrupt
        return judged[-1]

    monkeypatch.setattr(modules.auroc_judge.Judge, "__call__", stopping)
    with pytest.raises(KeyboardInterrupt):
        module.main()
    assert len(json.loads((tmp_path / "default_0/curve.json").read_text())["points"]) == 1
    module.main()
    assert len(judged) == 3 + 1 + 2, "the point that was lost, and two of `paper`"
    assert judged[3] == judged[2], "the state was saved before it was judged"
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["default"]["image_auroc"] == round(judged[3]["image_auroc"], 4)
    assert line["paper"]["image_auroc"] == round(judged[5]["image_auroc"], 4)
    assert set(line) == {"default", "paper", "floor"}
    module.main()
    assert len(judged) == 6, "nothing is trained or evaluated again"
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == line
    for name in ("time_to_auroc.json", "time_to_auroc.md", "time_to_auroc.svg"):
        assert (tmp_path / name).stat().st_size
