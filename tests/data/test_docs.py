"""What docs/folders.md shows works as it is shown."""

import re

import numpy as np
from trees import ROOT, add_class

from hgad_jax.config import get_config

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


def test_keys_that_are_named_exist():
    config = get_config("hgad_folder")
    for section, key in re.findall(r"(?:--config\.|`)(data|cache)\.(\w+)", PAGE):
        assert key in config[section], f"{section}.{key}"
