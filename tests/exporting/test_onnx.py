"""A run exported as ONNX decides as the run does, with the example that lies beside it and little else."""

import io
import json
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from trees import PYTHON, ROOT, add_class, crop, save, tiny_config

from hgad_jax.artefact.source import is_artefact
from hgad_jax.data.transforms import load as load_image
from hgad_jax.errors import UserError
from hgad_jax.exporting import onnx_export, primitives
from hgad_jax.inference.predictor import Predictor
from hgad_jax.inference.scorer import load_scorer
from hgad_jax.training.loop import train

pytest.importorskip("jax2onnx")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
CLASSES = ("brick", "grass")
# As a user: nothing of this checkout, and an interpreter that must not find jax or hgad_jax.
CODE = """
import sys
sys.modules["jax"] = sys.modules["hgad_jax"] = None
sys.argv = sys.argv[1:]
name = sys.argv[0]
exec(compile(open(name).read(), name, "exec"), {"__name__": "__main__", "__file__": name})
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run, what was exported of it, and new images."""
    place = tmp_path_factory.mktemp("onnx")
    for name in CLASSES:
        add_class(place / "data", name)
    train(tiny_config(place / "data", train__epochs=1.0), place / "run")
    rng = np.random.default_rng(7)
    for name in CLASSES:
        save(place / "new" / f"{name}.png", crop(name, rng).repeat(2, 0)[:100])  # not square
        defect = crop(name, rng)
        defect[10:30, 20:44] = 255
        save(place / "new" / f"{name}-defect.png", defect)
    command = [*PYTHON, str(ROOT / "hgad_jax" / "__main__.py"), "export", "--format=onnx"]
    command += [str(place / "run"), str(place / "line" / "model")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (place / "said").write_text(done.stderr)
    return place


@pytest.fixture(scope="module")
def images(place):
    return sorted((place / "new").glob("*.png"))


def test_it_was_compared_and_says_so(place):
    said = (place / "said").read_text()
    assert "every decision is the same" in said
    assert "opset 21" in said
    assert sorted(path.name for path in (place / "line" / "model").iterdir()) == [
        "MODEL_CARD.md",
        "decide.py",
        "model.json",
        "model.onnx",
    ]
    assert not is_artefact(place / "line" / "model")


def test_the_example_decides_as_the_run_does_without_jax_and_without_hgad_jax(place, images):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
    command = [sys.executable, "-c", CODE, str(place / "line" / "model" / "decide.py"), *map(str, images)]
    done = subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    predictor = Predictor.load(place / "run")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == list(map(str, images))
    for line, image in zip(lines, images, strict=True):
        expected = predictor(image)
        assert line["score"] == pytest.approx(expected.score, rel=1e-4, abs=1e-4)
        assert line["normalized"] == pytest.approx(expected.normalized, abs=1e-4)
        assert line["threshold"] == expected.threshold
        assert line["class_name"] == expected.class_name
        assert line["unknown"] == expected.unknown
        assert line["decision"] == ("anomalous" if expected.anomalous else "good")
    assert len({line["decision"] for line in lines}) == 2, "the images are of both kinds"


def test_what_is_needed_to_decide_is_in_the_model_and_beside_it(place):
    about = json.loads((place / "line" / "model" / "model.json").read_text())
    model = onnx.load(place / "line" / "model" / "model.onnx")
    onnx.checker.check_model(model)
    noted = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    del about["sha256"]
    assert noted["hgad_jax"] == about
    assert [one.version for one in model.opset_import if one.domain == ""] == [about["opset"]] == [21]
    assert {one.domain for one in model.opset_import} == {""}, "operators of the standard alone"
    decision = load_scorer(place / "run").decision
    assert [one["name"] for one in about["classes"]] == list(CLASSES)
    assert [one["threshold"] for one in about["classes"]] == [t.value for t in decision.thresholds]
    assert [one.name for one in model.graph.input] == ["images", "boxes"]
    assert [one.name for one in model.graph.output] == about["outputs"]


@pytest.mark.parametrize("resize", ["squash", "short_side_crop", "letterbox"])
@pytest.mark.parametrize("size", [(96, 96), (80, 128), (150, 70), (31, 33)])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK"])
def test_the_example_sees_what_the_run_sees(place, resize, size, mode):
    from hgad_jax.exporting import onnx_example

    scorer = load_scorer_once(place)
    rng = np.random.default_rng(3)
    image = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).convert(mode)
    image.getexif()[0x112] = 6
    file = io.BytesIO()
    image.save(file, "TIFF" if mode == "CMYK" else "PNG", exif=image.getexif())
    for detail in (1, 2):
        transform = scorer.transform._replace(resize=resize, detail=detail)
        about = {
            "resize": resize,
            "interpolation": transform.interpolation,
            "map_side": transform.working_size,
            "detail": detail,
        }
        expected = load_image(io.BytesIO(file.getvalue()), transform)
        pixels, box = onnx_example.pixels_of(io.BytesIO(file.getvalue()), about)
        assert np.array_equal(pixels, expected.pixels)
        (wanted,) = scorer._replace(transform=transform).boxes([expected.size])
        assert list(box) == wanted.tolist()


_SCORERS = {}


def load_scorer_once(place):
    return _SCORERS.setdefault(place, load_scorer(place / "run") if place not in _SCORERS else None)


@pytest.mark.parametrize("mode", ["RGBA", "I;16", "LA"])
def test_the_example_refuses_what_it_would_see_otherwise(place, mode):
    from hgad_jax.exporting import onnx_example

    file = io.BytesIO()
    Image.new(mode, (30, 30)).save(file, "PNG")
    with pytest.raises(ValueError, match="expected 8 bits"):
        onnx_example.pixels_of(file, {})


def test_a_difference_is_an_error_and_nothing_is_written(place, images, tmp_path, monkeypatch):
    from hgad_jax.exporting import onnx_program

    program = onnx_program.program

    def other(scorer):
        def wrong(*values):
            score, *rest = program(scorer)(*values)
            return score * 1.0003, *rest

        return wrong

    monkeypatch.setattr(onnx_program, "program", other)
    with pytest.raises(UserError, match=r"does not say what the run says.*score is"):
        onnx_export.export_onnx(place / "run", tmp_path / "out", to_compare=[str(images[0])])
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_replaced_on_demand_and_only_if_it_is_such(place, images, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(place / "line" / "model", model)
    with pytest.raises(UserError, match="--force"):
        onnx_export.export_onnx(place / "run", model)
    (model / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not what --format=onnx wrote alone"):
        onnx_export.export_onnx(place / "run", model, force=True)
    (model / "notes.txt").unlink()
    (model / "model.onnx").write_bytes(b"")
    said = []
    found = onnx_export.export_onnx(
        place / "run", model, force=True, images_at_once=2, to_compare=list(map(str, images)), log=said.append
    )
    assert found.images == len(images)
    assert 0 <= found.numbers < 1e-4
    assert onnx.load(model / "model.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2


def test_a_damaged_model_is_refused(place, tmp_path):
    from hgad_jax.exporting import onnx_example

    shutil.copytree(place / "line" / "model", tmp_path / "model")
    content = bytearray((tmp_path / "model" / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model" / "model.onnx").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        onnx_example.load(tmp_path / "model")


def test_what_is_traced_plainly_computes_the_same():
    @jax.custom_jvp
    def twice(x):
        return 2 * x

    twice.defjvp(lambda primals, tangents: (twice(*primals), 2 * tangents[0]))

    def function(x):
        def step(carry, each):
            return jax.lax.stop_gradient(carry) + jnp.stack([each, twice(each)], -1).sum(), jnp.tanh(each)

        last, gathered = jax.lax.scan(step, 0.5, x, reverse=True)
        sums = jax.lax.reduce_window(x, 0.0, jax.lax.add, (3, 2), (2, 1), ((1, 1), (0, 1)))
        return jax.jit(lambda a: a.sort())(x), last, gathered, sums

    x = jnp.arange(12.0).reshape(4, 3)[::-1]
    plain = primitives.plain(jax.make_jaxpr(function)(x))
    for found, expected in zip(jax.extend.core.jaxpr_as_fun(plain)(x), function(x), strict=True):
        np.testing.assert_array_equal(found, expected)
    text = str(plain)
    assert "scan" in text
    for name in ("stack", "custom_jvp", "stop_gradient", "jit", "reduce_window_sum"):
        assert f"{name}[" not in text


@pytest.mark.parametrize(
    "settings",
    [
        {"scoring__classes": "given"},
        {"scoring__classes": "mixture"},
        {"data__tiles": 2},
    ],
    ids=str,
)
@pytest.mark.slow
def test_runs_of_every_kind(tmp_path, settings):
    """The comparison at the export is the test."""
    for name in CLASSES:
        add_class(tmp_path / "data", name)
    train(tiny_config(tmp_path / "data", train__epochs=1.0, **settings), tmp_path / "run")
    found = onnx_export.export_onnx(tmp_path / "run", tmp_path / "out", log=lambda line: None)
    assert found.images >= 3
    assert found.numbers < 1e-4
