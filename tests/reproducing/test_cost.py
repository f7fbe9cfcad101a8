"""Costs of a model: counted and measured in a process of its own, and the table of several."""

import json

import pytest
import stub_backbone
from trees import PYTHON, ROOT

from hgad_jax.config import get_config
from hgad_jax.papers.figures import every
from hgad_jax.reproducing.all_tables import TABLES
from hgad_jax.reproducing.cost_table import measure_all
from hgad_jax.reproducing.job import Places
from hgad_jax.reproducing.measured_cost import measured
from hgad_jax.reproducing.plan import plan
from hgad_jax.reproducing.tables import COMPLEXITY

PROGRAM = [*PYTHON, str(ROOT / "hgad_jax" / "__main__.py")]
SMALL = {
    "data.image_size": "64",
    "backbone.name": stub_backbone.NAME,
    "backbone.taps": "('blocks.2','blocks.4')",
    "backbone.scales": "(1,)",
}


def test_what_is_counted_is_what_is_there():
    config = get_config("cflow_mvtec_ad", "bottle")
    config.update_from_flattened_dict(
        {
            "data.image_size": 64,
            "backbone.name": stub_backbone.NAME,
            "backbone.taps": ("blocks.2", "blocks.4"),
            "detector.num_blocks": 2,
            "detector.condition_channels": 8,
        }
    )
    found = measured(config)
    parameters = flop = 0
    for channels, positions in ((40, 64), (64, 16)):
        half, width = channels // 2, channels // 2 + 8
        block = width * 2 * width + 2 * width + 2 * width * channels + channels + 2 * channels
        parameters += 2 * block
        flop += 2 * positions * 2 * (width * 2 * width + 2 * width * channels + channels**2)
        assert half
    assert found["parameters"] * 1e6 == pytest.approx(parameters)
    convolutions = [(5, 3, 16, 32), (3, 16, 24, 16), (3, 24, 40, 8), (3, 40, 64, 4)]
    backbone = sum(2 * k * k * i * o * side * side for k, i, o, side in convolutions)
    assert found["gflop"] * 1e9 == pytest.approx(flop + backbone, rel=0.02)
    assert found["backbone_parameters"] * 1e6 == pytest.approx(
        sum(k * k * i * o + o for k, i, o, _ in convolutions)
    )
    assert found["gflop_xla"] > 0
    assert found["ms"] == pytest.approx(1000 / found["images_per_s"])
    assert found["mb"] * 1e6 > 4 * parameters
    assert found["peak_mb"] > found["mb"]
    assert found["method"] == "cflow"


def test_a_table_of_costs_is_measured_once_and_has_the_published_beside(tmp_path):
    table = TABLES["hgad_table2"]
    columns = tuple(
        c._replace(settings=SMALL | ({"detector.dimensions": "20"} if c.name == "padim" else {}))
        for c in table.columns
    )
    planned = plan(table._replace(columns=columns), columns=("padim", "cflow"))
    lines = []
    written, failed = measure_all(planned, Places(tmp_path), log=lines.append, program=PROGRAM)
    assert failed == {}
    assert len(lines) == 2
    rows = json.loads((tmp_path / "hgad_table2.json").read_text())["rows"]
    assert rows["cflow"]["published"] == {
        "gflop": 30.7,
        "million_parameters": 24.7,
        "fps": 24.6,
        "epochs": 200,
    }
    assert rows["padim"]["images_per_s"] > 0
    text = written[0].read_text()
    assert "gflop 14.9" in text
    assert "Why figures cannot match" in text
    assert "30.8 M parameters" in text
    assert measure_all(planned, Places(tmp_path), log=lines.append, program=["-"])[1] == {}
    assert len(lines) == 2


def test_one_that_cannot_be_measured_leaves_the_others(tmp_path):
    table = TABLES["hgad_table2"]
    columns = [c._replace(settings=SMALL) for c in table.columns if c.name == "cflow"]
    bad = columns[0]._replace(name="bad", settings=SMALL | {"backbone.taps": "('nowhere',)"})
    planned = plan(table._replace(columns=(bad, *columns)))
    _, failed = measure_all(planned, Places(tmp_path), log=lambda line: None, program=PROGRAM)
    assert set(failed) == {"bad"}
    assert "nowhere" in failed["bad"]
    assert "## Failed" in (tmp_path / "hgad_table2.md").read_text()


def test_published_rows_of_costs_are_there():
    for table in TABLES.values():
        if table.kind == COMPLEXITY:
            for column in table.columns:
                assert not column.figures or column.row in every()[column.figures].rows
