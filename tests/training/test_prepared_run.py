"""Training and evaluation from a prepared dataset, told by the config alone."""

import numpy as np
import pytest
from trees import SIDE, crop, save, tiny_config

from hgad_jax.data import prepare
from hgad_jax.data.datasets.items import Counts
from hgad_jax.data.datasets.spec import compare_with
from hgad_jax.evaluation.evaluate import evaluate
from hgad_jax.training.loop import train


def btad_of_textures(root):
    """Textures as BTAD's 02 and 01: `ko` images have a bright square."""
    rng = np.random.default_rng(0)
    for name, texture in (("01", "brick"), ("02", "gravel")):
        for i in range(12):
            save(root / name / "train" / "ok" / f"{i:04}.bmp", crop(texture, rng))
        for i in range(3):
            save(root / name / "test" / "ok" / f"{i:04}.bmp", crop(texture, rng))
            image, mask = crop(texture, rng), np.zeros((SIDE, SIDE), np.uint8)
            image[20:40, 20:40], mask[20:40, 20:40] = 255, 255
            save(root / name / "test" / "ko" / f"{i:04}.bmp", image)
            save(root / name / "ground_truth" / "ko" / f"{i:04}.png", mask)


@pytest.mark.slow
def test_train_and_evaluate(tmp_path, monkeypatch):
    builder = prepare._builder("btad")
    small = {"01": Counts(12, 3, 3), "02": Counts(12, 3, 3)}
    monkeypatch.setattr(builder, "spec", builder.spec._replace(problems=compare_with(small)))
    btad_of_textures(tmp_path / "BTech_Dataset_transformed")
    config = tiny_config(
        tmp_path / "BTech_Dataset_transformed",
        tmp_path / "cache",
        data__name="btad",
        data__prepared_dir=str(tmp_path / "prepared"),
        data__workers=2,
        train__epochs=0.0,  # the first layer alone, which needs no training
    )
    lines = []
    train(config, tmp_path / "run", log=lines.append)
    assert any("btad: 2 class(es)" in line for line in lines)
    (tmp_path / "BTech_Dataset_transformed").rename(tmp_path / "gone")  # the prepared dataset is enough
    results = evaluate(tmp_path / "run", log=lines.append)
    assert list(results["classes"]) == ["01", "02"]
    assert results["dataset"] == "btad"
    for metrics in results["classes"].values():
        assert (metrics["images"], metrics["anomalous"]) == (6, 3)
        assert metrics["pixel_auroc"] > 0.8
