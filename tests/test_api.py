"""What docs/api.md and the README show works as it is shown."""

import re
import shutil

import pytest
from trees import ROOT, add_class, tiny_config

import hgad_jax


def snippet(page):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return code


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("api")
    folder = add_class(place / "my_images", "brick")
    shutil.copytree(folder / "test" / "square", place / "new_images")
    shutil.copy(place / "new_images" / "0.png", place / "new.png")
    return place


@pytest.mark.parametrize("page", ["docs/api.md", "README.md"])
def test_the_example(page, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setattr(
        hgad_jax, "get_config", lambda name: tiny_config("", train__epochs=1.0), raising=False
    )
    names = {}
    exec(snippet(page), names)
    assert isinstance(names["found"], hgad_jax.Prediction)
    assert names["found"].map.shape == (64, 64)
    assert (place / "runs" / "mine" / "config.json").exists()
    if page == "docs/api.md":
        assert 0 <= names["results"]["mean"]["image_auroc"] <= 1
        assert names["done"].scored == 3
        assert len(list((place / "results" / "heatmaps").glob("*-*.png"))) == 3
        assert (place / "runs" / "mine" / "eval" / "report.html").exists()


def test_the_table_names_what_is_public():
    page = (ROOT / "docs" / "api.md").read_text()
    assert all(
        re.search(rf"`{name}\b", page) for name in set(hgad_jax.__all__) - {"__version__", "Prediction"}
    )
