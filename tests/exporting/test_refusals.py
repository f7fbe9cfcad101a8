"""What `export` refuses before it computes anything, and what it leaves of what was there."""

import shutil

import pytest
from trees import add_class, tiny_config

import hgad_jax
from hgad_jax import files
from hgad_jax.errors import UserError
from hgad_jax.exporting import compare
from hgad_jax.exporting.export import export
from hgad_jax.exporting.images import to_compare
from hgad_jax.training.loop import train


def refused(expected, *places, **settings):
    with pytest.raises(UserError, match=expected):
        export(*places, log=print, **settings)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("refusals")
    add_class(place / "data", "brick")
    small = {"train__epochs": 1.0, "bank__size": 0, "detector__num_blocks": 1, "data__detail": 1}
    train(tiny_config(place / "data", **small), place / "run")
    export(place / "run", place / "model", platforms=["cpu"], log=lambda line: None)
    return place


def test_what_is_no_run(tmp_path, place):
    refused("holds no run: there is no config.json", tmp_path, tmp_path / "out")
    (tmp_path / "config.json").write_bytes((place / "run" / "config.json").read_bytes())
    refused("holds no checkpoint yet", tmp_path, tmp_path / "out")
    refused("holds what was exported of a run", place / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_command_on_what_was_exported(place):
    with pytest.raises(UserError, match=r"holds what was exported of a run.*train in"):
        train(tiny_config(place / "data"), place / "model")


def test_platforms_that_there_are_not(tmp_path):
    refused(
        r"--platforms=cpu,gpu: 'gpu' is no platform; expected some of cpu, cuda",
        tmp_path,
        tmp_path / "o",
        platforms=["cpu", "gpu"],
    )
    refused("nothing is no platform", tmp_path, tmp_path / "o", platforms=[])


def test_what_is_there_stays_without_force(place, tmp_path):
    refused("is there already; nothing was written", place / "run", place / "model")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    refused(
        "no whole artefact, so that --force does not replace it", place / "run", tmp_path / "mine", force=True
    )
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"
    (tmp_path / "file").write_text("mine")
    refused("no whole artefact", place / "run", tmp_path / "file", force=True, zipped=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_artefact_is_replaced_with_force(place):
    before = (place / "model").stat().st_ino
    export(place / "run", place / "model", platforms=["cpu"], force=True, log=lambda line: None)
    assert (place / "model").stat().st_ino != before
    assert sorted(path.name for path in place.iterdir()) == ["data", "model", "run"]


def test_an_artefact_of_the_other_kind_is_replaced(place, tmp_path):
    export(place / "run", tmp_path / "m", platforms=["cpu"], log=lambda line: None)
    refused("is a folder, and --zip writes a file", place / "run", tmp_path / "m", zipped=True, force=True)


def test_images_to_compare_on(place, tmp_path):
    refused(
        "No images|no images|does not exist|nothing",
        place / "run",
        tmp_path / "o",
        to_compare=[str(tmp_path)],
    )
    said = []
    config = tiny_config(tmp_path / "gone")
    assert len(to_compare(config, (), said.append)) == 3
    assert "the images of the run cannot be reached, so made ones alone are compared" in said[0]
    assert len(to_compare(tiny_config(place / "data"), (), said.append)) == 3 + 6 + 8
    assert len(to_compare(config, [str(place / "data")], said.append)) == 12 + 6 + 3
    assert len(said) == 1


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def half():
        with files.writing_folder(tmp_path / "a") as folder:
            (folder / "x").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert list(tmp_path.iterdir()) == []
    left = tmp_path / f".a.{'0' * 32}.tmp"  # of a killed process
    left.mkdir()
    (left / "x").write_text("half")
    with files.writing_folder(tmp_path / "a") as folder:
        assert not left.exists()
        with files.writing_folder(tmp_path / "a", replace=True) as other:
            assert folder.exists(), "it is of a living process"
            (other / "y").write_text("1")
        (folder / "y").write_text("2")
        with pytest.raises(OSError, match="not empty"), files.writing_folder(tmp_path / "a"):
            pass
        assert (tmp_path / "a" / "y").read_text() == "1"
        shutil.rmtree(tmp_path / "a")
    with files.writing_folder(tmp_path / "a", replace=True) as folder:
        (folder / "y").write_text("3")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "y").read_text() == "3"


def test_what_is_written_meanwhile_is_not_replaced(place, tmp_path, monkeypatch):
    compared = compare.compared

    def slowly(*arguments):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("all of it")
        return compared(*arguments)

    monkeypatch.setattr(compare, "compared", slowly)
    refused("is there already; nothing was written", place / "run", tmp_path / "out", platforms=["cpu"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "thesis.txt").read_text() == "all of it"


def test_without_flatbuffers(place, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(r"needs the package flatbuffers.*pip install flatbuffers", place / "run", tmp_path / "out")
    with pytest.raises(UserError, match=r"needs the package flatbuffers.*pip install flatbuffers"):
        hgad_jax.load(place / "model")
