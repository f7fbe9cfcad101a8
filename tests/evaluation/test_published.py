"""The published tables: their means are those of their rows, and the right one is found."""

import numpy as np
import pytest

from hgad_jax.config import get_config
from hgad_jax.evaluation.published import differences, published
from hgad_jax.evaluation.published_tables import TABLES

# What would fit the mean: in two cells the source has another digit.
MISPRINTS = {("padim", "leather", 1): 97.8, ("spade", "wood", 1): 87.4}
COUNTS = {"mvtec_ad": 15, "btad": 3, "mvtec_3d_rgb": 10, "visa": 12, "union": 40}


@pytest.mark.parametrize("table", TABLES, ids=lambda t: f"{t.method} {t.dataset} {t.backbone}")
def test_the_printed_mean_is_that_of_the_rows(table):
    assert len(table.mean) == len(table.columns)
    if not table.rows:
        assert table.dataset == "stc"
        return
    assert len(table.rows) == COUNTS[table.dataset]
    # As printed, to the last digit; sources rounded their rows first, or cut the mean off.
    digits = 2 if any(round(v, 1) != v for v in table.mean) else 1
    digits = 0 if table.method.startswith("fastflow") and table.mean == (97,) else digits
    for column, mean in enumerate(table.mean):
        values = [
            MISPRINTS.get((table.method, name, column), row[column]) for name, row in table.rows.items()
        ]
        assert all(50 < v <= 100 for v in values)
        assert abs(np.mean(values) - mean) <= 1.01 * 10.0**-digits


def test_no_two_tables_are_for_the_same_run():
    keys = [(t.method, t.dataset, t.backbone) for t in TABLES]
    assert len(set(keys)) == len(keys)


def test_a_matching_run_finds_its_figures():
    config = get_config("cflow_mvtec_ad", "wide_resnet50_2")
    found = published(config)
    assert found["method"] == "cflow"
    assert found["mean"] == {"image_auroc": 0.9826, "pixel_auroc": 0.9862, "pixel_aupro": 0.946}
    assert found["classes"]["transistor"]["pixel_aupro"] == 0.814
    assert differences(config) == []


def test_a_run_of_one_class_gets_that_class():
    config = get_config("padim_mvtec_ad", "resnet18,screw")
    found = published(config)
    assert found["classes"] == {"screw": {"image_auroc": 0.759, "pixel_auroc": 0.978}}
    assert found["mean"] == found["classes"]["screw"]


def test_altub_and_u_flow_have_tables_of_their_own():
    assert published(get_config("cflow_mvtec_ad", "altub"))["mean"]["image_auroc"] == 0.984
    assert published(get_config("uflow_mvtec_ad"))["mean"] == {"pixel_auroc": 0.9686}
    assert published(get_config("fastflow_btad", "altub"))["mean"]["pixel_auroc"] == 0.982


def test_other_settings_are_named():
    config = get_config("cflow_mvtec_ad", "wide_resnet50_2")
    config.train.epochs = 8.0
    config.detector.fibre = 8192
    assert differences(config) == [
        "config.detector.fibre is 8192, published with 256",
        "config.train.epochs is 8.0, published with 200.0",
    ]
    config = get_config("hgad_folder")
    config.data.name, config.backbone.name = "btad", "tf_efficientnet_b6.aa_in1k"
    config.backbone.taps = ["blocks.4"]  # as it reads back from JSON
    assert "config.train.epochs is 16.0, published with 200.0" in differences(config)
    assert not any("taps" in line for line in differences(config))


def test_nothing_is_made_up():
    assert published(get_config("hgad_folder")) is None
    assert differences(get_config("hgad_folder")) == []
    assert published(get_config("cflow_stc", "wide_resnet50_2,01")) is None
