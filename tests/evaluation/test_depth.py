"""A camera of 12 bits, from files to decisions: all commands agree on what is white and what is refused."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import SIDE, crop, save, tiny_config

from hgad_jax.data.__main__ import main
from hgad_jax.data.geometry import Transform
from hgad_jax.data.transforms import load
from hgad_jax.errors import UserError
from hgad_jax.evaluation.evaluate import evaluate
from hgad_jax.inference.predict import predict
from hgad_jax.inference.prediction_files import Outputs
from hgad_jax.inference.predictor import Predictor
from hgad_jax.training.loop import train

sys.path.append(str(Path(__file__).parents[1] / "data"))

from kinds import kinds

pytestmark = pytest.mark.slow


def photographs(root, *, scale: int, dtype) -> None:
    """Bricks, with a square that is a little brighter as their defect."""
    rng = np.random.default_rng(5)
    folder = root / "brick"
    for i in range(20):
        save(folder / "train" / "good" / f"{i:02}.png", crop("brick", rng).astype(dtype) * scale)
    for i in range(3):
        save(folder / "test" / "good" / f"{i}.png", crop("brick", rng).astype(dtype) * scale)
        image, mask = crop("brick", rng).astype(dtype), np.zeros((SIDE, SIDE), np.uint8)
        image[20:40, 20:40], mask[20:40, 20:40] = 250, 255
        save(folder / "test" / "square" / f"{i}.png", image * scale)
        save(folder / "ground_truth" / "square" / f"{i}_mask.png", mask)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("depth")
    photographs(place / "deep", scale=16, dtype=np.uint16)
    photographs(place / "plain", scale=1, dtype=np.uint8)
    return place


@pytest.fixture(scope="module")
def runs(place):
    lines = []
    for name in ("deep", "plain"):
        config = tiny_config(place / name, train__epochs=0.0)
        train(config, place / f"run-{name}", log=lines.append)
    return lines


def rows(out):
    with (out / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_white_is_found_said_and_kept(place, runs, capsys):
    (line,) = [line for line in runs if "White is" in line]
    assert "White is 4095 (12 bits)" in line
    main(["check", str(place / "deep")])
    assert line in capsys.readouterr().out
    for name, white in (("deep", 4095), ("plain", 0)):
        config = json.loads((place / f"run-{name}" / "config.json").read_text())
        assert config["data"]["white_level"] == white
        (metadata,) = (place / f"run-{name}" / "checkpoints").glob("*/metadata/metadata")
        assert json.loads(metadata.read_text())["config"]["data"]["white_level"] == white


def test_evaluation_and_prediction_scale_as_training_did(place, runs, tmp_path):
    """12 bits that are 8 bits times 16 are nearly the same images: scores are, too."""
    results = {}
    for name in ("deep", "plain"):
        found = evaluate(place / f"run-{name}", replicates=0, log=lambda line: None)
        results[name] = found["classes"]["brick"]
    assert results["deep"]["image_auroc"] == results["plain"]["image_auroc"] == 1.0
    assert abs(results["deep"]["pixel_auroc"] - results["plain"]["pixel_auroc"]) < 0.02
    new = place / "deep" / "brick" / "test" / "square"
    outputs = Outputs(heatmaps=True, maps="npy")
    predict(place / "run-deep", [str(new)], tmp_path / "out", outputs=outputs, log=lambda line: None)
    predictor = Predictor.load(place / "run-deep")
    assert len(rows(tmp_path / "out")) == 3
    for row in rows(tmp_path / "out"):
        pixels = np.array(Image.open(row["path"]))
        assert pixels.dtype == np.uint16
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "TIFF")
        for image in (row["path"], pixels, encoded, Image.fromarray(pixels)):
            assert predictor(image).score == pytest.approx(float(row["score"]), rel=1e-4)
    shown = [np.asarray(Image.open(path)) for path in (tmp_path / "out" / "heatmaps").glob("*-*.png")]
    assert min(image.max() for image in shown) > 150, "with the full range, all would be dark"


def test_brighter_images_are_counted(place, runs, tmp_path):
    bright = save(tmp_path / "new" / "bright.png", np.full((SIDE, SIDE), 9000, np.uint16))
    save(tmp_path / "new" / "dark.png", np.full((SIDE, SIDE), 4095, np.uint16))
    lines = []
    done = predict(place / "run-deep", [str(bright.parent)], tmp_path / "out", log=lines.append)
    assert (done.scored, done.clipped) == (2, 1)
    assert any("1 images have values above the white level 4095" in line for line in lines)


def test_16_bits_for_a_model_of_8_are_refused_by_all_alike(place, runs, tmp_path, capsys):
    path = save(tmp_path / "new" / "deep.png", np.full((SIDE, SIDE), 3000, np.uint16))
    with pytest.raises(UserError) as error:
        Predictor.load(place / "run-plain")(str(path))
    message = str(error.value)
    assert "16-bit pixels, and what is white in them is unknown" in message
    done = predict(place / "run-plain", [str(path)], tmp_path / "out", log=lambda line: None)
    assert done.unreadable == 1
    assert (tmp_path / "out" / "unreadable.txt").read_text().strip() == message
    test = save(
        place / "plain" / "brick" / "test" / "good" / "deep.png", np.full((SIDE, SIDE), 3000, np.uint16)
    )
    message = message.replace(str(path), str(test))
    try:
        with pytest.raises(UserError) as error:
            evaluate(place / "run-plain", replicates=0, log=lambda line: None)
        assert message in str(error.value)
        with pytest.raises(UserError) as error:
            train(tiny_config(place / "plain", train__epochs=0.0), tmp_path / "run", log=lambda line: None)
        assert message in str(error.value)
        assert main(["check", str(place / "plain")]) == 1
        assert message in capsys.readouterr().out
    finally:
        test.unlink()


def test_what_is_predicted_is_what_is_decoded(place, runs, tmp_path):
    """Of every kind of file: a row, or the sentence that decoding gives; `Predictor` says the same."""
    expected = {}
    for kind in kinds():
        path = tmp_path / "files" / kind.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(kind.content)
        try:
            load(path, Transform(SIDE, white_level=4095))
            expected[str(path)] = ""
        except UserError as error:
            expected[str(path)] = str(error)
    predict(place / "run-deep", list(expected), tmp_path / "out", log=lambda line: None)
    refused = (tmp_path / "out" / "unreadable.txt").read_text().splitlines()
    assert sorted(refused) == sorted(filter(None, expected.values()))
    scores = {row["path"]: float(row["score"]) for row in rows(tmp_path / "out")}
    assert sorted(scores) == sorted(path for path, problem in expected.items() if not problem)
    predictor = Predictor.load(place / "run-deep")
    for path, problem in list(expected.items())[::7]:
        if problem:
            with pytest.raises(UserError) as error:
                predictor(path)
            assert str(error.value) == problem
        else:
            assert predictor(path).score == pytest.approx(scores[path], rel=1e-4)


def test_training_goes_on_with_the_level_that_was_found(place, runs, tmp_path):
    lines = []
    train(tiny_config(place / "deep", train__epochs=0.0), place / "run-deep", log=lines.append)
    assert any("nothing to train" in line or "steps done" in line for line in lines)
