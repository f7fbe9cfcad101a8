"""`~` is the home folder wherever a path is given."""

import os
from pathlib import Path

import ml_collections
import numpy as np
import pytest
from trees import ROOT, add_class, save, tiny_config

from hgad_jax.backbones.sources import absolute_source, read_weights
from hgad_jax.backbones.store import store_folder
from hgad_jax.data import __main__ as data
from hgad_jax.data import explicit, own, prepare
from hgad_jax.errors import UserError
from hgad_jax.evaluation.evaluate import evaluate
from hgad_jax.inference.inputs import list_images
from hgad_jax.inference.predictor import Predictor
from hgad_jax.runs import host, workdir
from hgad_jax.training.loop import train


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    yield home
    assert not (tmp_path / "~").exists()
    assert not list(ROOT.glob("~*"))


def test_the_folder_of_a_run(home):
    assert workdir.local_path("~/run") == workdir.local_path(Path("~/run")) == home / "run"
    for use in (Predictor.load, evaluate):
        with pytest.raises(UserError, match=f"^{home}/run holds no run"):
            use("~/run")
    (home / "run").write_text("a file")
    add_class(home / "images", "brick", good=8, test=0)
    with pytest.raises(UserError, match=f"--workdir={home}/run cannot be written"):
        train(tiny_config("~/images", cache="~/cache", backbone__source="random"), "~/run")
    assert list((home / "cache").iterdir()), "where the images' screening is kept"


def test_images_and_datasets(home, capsys):
    save(home / "in" / "a.png", np.zeros((4, 4), np.uint8))
    assert [image.file for image in list_images(["~/in"]).images] == [str(home / "in" / "a.png")]
    add_class(home / "images", "brick", good=4, test=1)
    assert data.main(["check", "~/images"]) == 0
    assert data.main(["check", "--normal-dir", "~/images/brick/train/good"]) == 0
    capsys.readouterr()
    keys = explicit.KEYS
    given = {"root": "~/r", "prepared_dir": "~/p"} | dict.fromkeys(keys, ("~/a", "~/b"))
    found = own.absolute_paths(ml_collections.ConfigDict(given))
    expected = {"root": str(home / "r"), "prepared_dir": str(home / "p")}
    assert found == expected | dict.fromkeys(keys, (str(home / "a"), str(home / "b")))
    assert prepare.directory_of(prepare.Options(prepared_dir="~/p")) == str(home / "p")
    for part in ("01", "02", "03"):
        save(home / "btad" / part / "train" / "ok" / "0.png", np.zeros((4, 4), np.uint8))
    assert data.main(["prepare", "btad", "--root=~/btad", "--prepared-dir=~/p"]) == 2
    assert f"{home}/btad" in capsys.readouterr().err


def test_weights_and_caches(home, monkeypatch):
    assert absolute_source("~/w.pth") == str(home / "w.pth")
    with pytest.raises(UserError, match=f"no weights file {home}/w.pth"):
        read_weights(None, "~/w.pth")
    monkeypatch.setenv("HGAD_JAX_CACHE", "~/mine")
    assert store_folder() == home / "mine" / "backbones"


def test_compiled_programs(home, monkeypatch):
    found = {}
    monkeypatch.setattr(host.jax.config, "update", found.__setitem__)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "~/compiled")
    host.keep_compiled()
    assert found == {"jax_compilation_cache_dir": str(home / "compiled")}


def test_nothing_else_begins_with_it(home):
    save(home.parent / "~backup.png", np.zeros((4, 4), np.uint8))
    assert [image.path for image in list_images(["~backup.png"]).images] == ["~backup.png"]
    os.remove("~backup.png")
