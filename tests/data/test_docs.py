"""What docs/folders.md shows works as it is shown."""

import re

import numpy as np
from broken import draw
from kinds import kinds
from trees import ROOT, add_class

from hgad_jax.config import get_config
from hgad_jax.data.__main__ import main

PAGE = (ROOT / "docs" / "folders.md").read_text()


def test_the_example_of_the_cache(tmp_path, monkeypatch):
    add_class(tmp_path / "my_images", "brick")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(code, names)
    assert names["colours"].shape == (3, 8, 8, 3)
    image = next(iter(names["image_batches"](names["records"], transform=names["transform"], batch_size=1)))
    expected = image["image"][0, :16, :16].mean((0, 1))
    np.testing.assert_allclose(names["colours"][1, 0, 0], expected, rtol=1e-6)


def test_the_table_of_what_is_read_is_that_of_the_tests():
    """Row by row: what it names is read, or refused, as the files of that kind are."""
    (table,) = re.findall(r"\| image \| \|\n\| --- \| --- \|\n(.*?)\n\n", PAGE, re.DOTALL)
    told = dict(re.fullmatch(r"\| (.*?) \| (.*) \|", line).groups() for line in table.splitlines())
    tested = {}
    for kind in kinds():
        tested.setdefault(kind.row, set()).add(bool(kind.refused))
    assert told.keys() == tested.keys()
    for row, refused in tested.items():
        assert refused == {told[row].startswith("refused")}, row


def test_keys_that_are_named_exist():
    config = get_config("hgad_folder")
    for section, key in re.findall(r"(?:--config\.|`)(data|cache)\.(\w+)", PAGE):
        assert key in config[section], f"{section}.{key}"


def test_the_advice_that_is_shown_is_the_one_that_is_given(tmp_path, capsys):
    for i in range(40):
        draw(tmp_path / "OK" / f"{i}.png", i, size=(4, 4))
    for i in range(3):
        draw(tmp_path / "NG" / "scratch" / f"{i}.png", 100 + i, size=(4, 4))
    (shown,) = re.findall(r"    \$ python -m hgad_jax.data check /data/parts\n((?:    .*\n)+)", PAGE)
    shown = shown.replace("\n    ", "\n").removeprefix("    ").rstrip()
    assert main(["check", str(tmp_path)]) == 2
    assert capsys.readouterr().err.rstrip().replace(str(tmp_path), "/data/parts") == shown
