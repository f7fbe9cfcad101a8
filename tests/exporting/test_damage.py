"""What is no artefact, or no whole one, is refused by name: a folder and a file, byte by byte."""

import json
import shutil
import zipfile

import numpy as np
import pytest
from trees import add_class, tiny_config

import hgad_jax
from hgad_jax.artefact import manifest, programs, source
from hgad_jax.artefact.served import load_served
from hgad_jax.errors import UserError
from hgad_jax.exporting.export import export
from hgad_jax.training.loop import train

FILES = ("MODEL_CARD.md", "calibration.safetensors", "manifest.json", "model.json", "weights.safetensors")
FILES += ("programs/evidence_inferred_1.jax_export", "programs/scores_4.jax_export")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("damage")
    add_class(place / "data", "brick")
    small = {"train__epochs": 1.0, "bank__size": 0, "detector__num_blocks": 1, "data__detail": 1}
    train(tiny_config(place / "data", **small), place / "run")
    export(place / "run", place / "model", platforms=["cpu"], log=lambda line: None)
    with zipfile.ZipFile(place / "model.zip", "w") as archive:
        for name in names(place / "model"):
            archive.write(place / "model" / name, name)
    return place


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def model(place, tmp_path):
    return shutil.copytree(place / "model", tmp_path / "model")


def refused(path, expected):
    with pytest.raises(UserError, match=expected):
        hgad_jax.load(path)


def changed(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_these_are_the_files(place):
    assert set(FILES) <= set(names(place / "model"))
    hgad_jax.load(place / "model")
    hgad_jax.load(place / "model.zip")


@pytest.mark.parametrize("name", FILES)
def test_a_byte_of_each_file(model, name):
    whole = (model / name).read_bytes()
    for at in (0, len(whole) // 2, len(whole) - 1):
        (model / name).write_bytes(changed(whole, at))
        refused(model, f"model/{name}: it is damaged")


def test_each_byte_of_the_manifest(place):
    """It guards itself, down to its spaces."""
    content = (place / "model" / "manifest.json").read_bytes()
    assert set(manifest.read(content, "here", "1")) == set(names(place / "model")) - {"manifest.json"}
    for at in range(len(content)):
        with pytest.raises(UserError, match=r"here/manifest\.json: it is damaged|of format \d, written by"):
            manifest.read(changed(content, at), "here", "1")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_short_or_missing(model, name):
    whole = (model / name).read_bytes()
    (model / name).write_bytes(whole[:-1])
    refused(model, rf"model/{name}: (\d+ bytes, expected|it is damaged)")
    (model / name).unlink()
    expected = "is no artefact: it has no manifest.json" if name == "manifest.json" else f"{name} is missing"
    refused(model, expected)


def test_a_file_too_many(model):
    (model / "programs" / "more.txt").write_text("")
    refused(model, r"programs/more\.txt is none of the artefact's files")


def test_a_newer_format(model):
    found = json.loads((model / "manifest.json").read_text())
    found |= {"format": 2, "hgad_jax": "9.8.7"}
    (model / "manifest.json").write_text(json.dumps(found))
    refused(
        model, rf"format 2, written by hgad_jax 9\.8\.7; this hgad_jax {hgad_jax.__version__} reads format 1"
    )


def test_a_manifest_without_end(model):
    (model / "manifest.json").write_bytes(b" " * (manifest.LARGEST + 1))
    refused(model, "expected at most 1000000")


def rewritten(model, name, content):
    """An artefact that is whole, with another file in it."""
    files = {n: (model / n).read_bytes() for n in names(model) if n != "manifest.json"} | {name: content}
    (model / name).write_bytes(content)
    (model / "manifest.json").write_bytes(manifest.listing(files, hgad_jax.__version__))


def edited(model, **changes):
    found = json.loads((model / "model.json").read_text()) | changes
    rewritten(model, "model.json", json.dumps(found).encode())


def test_other_devices_than_it_was_exported_for(model):
    edited(model, platforms=["cuda", "tpu"])
    refused(model, r"was exported for cuda, tpu, and jax computes on cpu here.*--platforms=cuda,tpu,cpu")


def test_a_calibration_of_another_version(model):
    structure = json.loads((model / "model.json").read_text())["calibration"]
    structure["of"]["novelty"] = None
    edited(model, calibration=structure)
    refused(model, "type Calibration with .*novelty, which this version of hgad_jax does not have")


def test_a_type_that_is_none_of_a_calibration(model):
    edited(model, calibration={"type": "Path", "of": {}})
    refused(model, "type Path")


def test_a_setting_that_is_missing(model):
    config = json.loads((model / "model.json").read_text())["config"]
    del config["calibration"]["pixel_rate"]
    edited(model, config=config)
    refused(model, r"lacks a setting that hgad_jax .* needs \(pixel_rate\)")


def test_programs_that_jax_does_not_read(model):
    rewritten(model, "programs/evidence_inferred_1.jax_export", b"no program" * 10)
    predictor = hgad_jax.load(model)
    with pytest.raises(UserError, match=r"does not read its programs"):
        predictor(np.zeros((8, 8), np.uint8))


def test_a_mode_that_it_was_not_calibrated_for(place):
    with pytest.raises(UserError, match="not calibrated for classes 'mixture', only for given, inferred"):
        hgad_jax.load(place / "model", classes="mixture")
    with pytest.raises(UserError, match="A false-alarm rate was given, but the threshold is set to 2"):
        hgad_jax.load(place / "model", threshold=2, false_alarm_rate=0.1)


def repacked(place, path, *, compression=zipfile.ZIP_STORED, rename=None, also=()):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in names(place / "model"):
            archive.write(place / "model" / name, (rename or {}).get(name, name))
        for name, content in also:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "/etc/evil", "a/../../evil", "a\\..\\evil", "C:evil", "./evil", "a//evil", "evil/"],
)
def test_names_in_a_file_that_lead_out_of_it(place, tmp_path, name):
    path = repacked(place, tmp_path / "model.zip", also=[(zipfile.ZipInfo(name), b"")])
    refused(path, "which no artefact has: it is not read")


def test_a_file_in_it_that_is_a_link_or_there_twice(place, tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    refused(
        repacked(place, tmp_path / "a.zip", also=[(link, "/etc/passwd")]), "'link' twice, or as something"
    )
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = repacked(place, tmp_path / "b.zip", also=[("model.json", b"{}")])
    refused(path, "'model.json' twice")


def test_a_bomb(place, tmp_path):
    """What is compressed is not read, and neither is what says that it is larger than the file."""
    bomb = [("weights", b"\0" * 10**7)]
    path = repacked(place, tmp_path / "a.zip", compression=zipfile.ZIP_DEFLATED, also=bomb)
    refused(path, "is compressed or encrypted in it")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("manifest.json", b"{}")
        archive.infolist()[0].file_size = archive.infolist()[0].compress_size = 10**12
    refused(tmp_path / "b.zip", "larger together than it is")


def test_a_file_that_is_cut_or_none(place, tmp_path):
    whole = (place / "model.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.zip", r"cut\.zip is no artefact, or damaged")
    (tmp_path / "text.zip").write_text("hello")
    refused(tmp_path / "text.zip", r"text\.zip is no artefact, or damaged")
    at = whole.index(b"safetensors") + 4000
    (tmp_path / "byte.zip").write_bytes(changed(whole, at))
    refused(tmp_path / "byte.zip", r"byte\.zip.*(damaged|cannot be read)")


def test_what_is_not_there_or_a_run(place, tmp_path):
    refused(tmp_path / "nothing", "nothing does not exist")
    refused(place / "run", r"run is no artefact: .*a run itself is loaded by hgad_jax\.Predictor\.load")
    with pytest.raises(UserError, match="does not exist"):
        source.contents(tmp_path / "nothing", "1")


def test_it_is_read_whole_before_anything_of_it_is_used(model):
    """The first file read is the manifest, and no program is deserialised before all files were checked."""
    (model / "weights.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"weights\.safetensors: 0 bytes"):
        load_served(model)


@pytest.mark.parametrize("count", range(1, 40))
def test_batches_cover_all_images_once(count):
    for sizes in ((1,), (1, 8), (1, 3, 16)):
        found = programs.batches(count, sizes)
        covered = sorted(i for start, size in found for i in range(start, min(start + size, count)))
        assert covered == list(range(count))
        assert sum(size for _, size in found) < 2 * count or sizes == (1,)
