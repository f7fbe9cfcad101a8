"""Every table of the papers, run whole on made-up images with the real class names."""

import csv
import json

import pytest
from reproducing.small import in_process, make, small

from hgad_jax.cli import reproduce as command
from hgad_jax.papers.figures import every
from hgad_jax.reproducing.all_tables import TABLES
from hgad_jax.reproducing.job import Places
from hgad_jax.reproducing.plan import plan
from hgad_jax.reproducing.reproduce import reproduce
from hgad_jax.reproducing.run import _Running
from hgad_jax.reproducing.tables import COMPLEXITY, GRID, NORMALITY

RUN = [name for name, t in TABLES.items() if not t.cannot and t.kind != COMPLEXITY]
QUICK = ("hgad_btad", "cflow_table3", "altub_figure1")
NAMED = (  # those that a reader of the papers looks for
    *(f"hgad_{name}" for name in ("mvtec_ad", "btad", "mvtec_3d_rgb", "visa", "union", "table2", "table3")),
    *(f"cflow_table{i}" for i in range(2, 7)),
    *("cflow_figure3", "cflow_figure4"),
    *(f"altub_table{i}" for i in (*range(1, 8), "a1")),
    *("altub_figure1", "altub_figure3"),
)


def test_every_table_is_there_and_runs_or_says_why_not(capsys):
    assert set(NAMED) <= set(TABLES)
    assert command.status(["list"]) == 0
    out = capsys.readouterr().out
    for name, table in TABLES.items():
        (line,) = [line for line in out.splitlines() if line.startswith(f"{name} ")]
        assert table.where in line
        assert table.cannot in line
        if not table.cannot:
            assert int(line.split()[1]) > 0


def test_the_published_figures_named_by_columns_are_there():
    named = {c.figures for t in TABLES.values() for c in t.columns if c.figures}
    assert named <= set(every())
    # What no column shows belongs to no table: other implementations, and a method that is not here.
    left = {name for name in every() if name not in named}
    assert left == {n for n in every() if n.startswith(("gathierry", "anomalib"))} | {
        *("altub_table1_patchcore", "altub_table6_cnn", "cflow_table5_spade", "cflow_table5_padim"),
    }


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Made-up downloads, prepared once, and one folder of runs for all tables."""
    made = {}

    def of(dataset):
        if dataset not in made:
            root = tmp_path_factory.mktemp(dataset)
            made[dataset] = make(dataset, root / "download"), root
        download, root = made[dataset]
        return Places(root / "out", str(download)), str(root / "prepared")

    return of


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in RUN])
def test_a_table_is_run_whole(name, places, monkeypatch):
    monkeypatch.setattr(_Running, "call", in_process(1))
    table = TABLES[name]
    if table.dataset in ("stc", "elpv"):
        pytest.skip("has a test of its own")
    at, prepared = places(table.dataset)
    rows = table.all_classes[:2] if len(table.columns) < 3 else table.all_classes[:1]
    planned = plan(
        small(table, data__prepared_dir=prepared),
        classes=rows,
        seeds=table.seeds[: 2 if name == "cflow_table3" else 1],
    )
    lines = []
    done = reproduce(planned, at, log=lines.append, program=["-"], slots=[{}])
    assert done.failed == {}
    content = json.loads((at.out / f"{name}.json").read_text())
    text = (at.out / f"{name}.md").read_text()
    assert table.where in text
    if table.kind == NORMALITY:
        assert len(content["rows"]) == len(table.columns)
        for row in content["rows"].values():
            assert 0 < row["ks_channels"] <= 1
            assert row["loss"] is not None
        return
    assert table.kind == GRID
    cells = content["cells"]
    assert {cell["column"] for cell in cells} == {column.name for column in table.columns}
    for cell in cells:
        assert all(v is None or 0 <= v <= 1.1 for v in cell["values"]), cell
        if cell["row"] == "mean" and len(rows) > 1:
            parts = [
                other["mean"]
                for other in cells
                if other["row"] in rows
                and all(other[key] == cell[key] for key in ("column", "metric", "state"))
            ]
            assert cell["mean"] == pytest.approx(sum(parts) / len(rows))
    states = {(cell["column"], cell["state"]) for cell in cells}
    for column in table.columns:
        if column.window:
            assert (column.name, "window") in states
        elif "eval.window" in column.settings:
            assert {(column.name, "best"), (column.name, "last")} <= states
        if column.figures:
            assert f"## {column.name} beside the published figures" in text
            assert content["differences"][column.name], "64 pixels are no published size"
            if not column.together or len(rows) == len(table.all_classes):
                shown = [c["published"] for c in cells if c["column"] == column.name and c["row"] != "mean"]
                has = every()[column.figures].rows
                assert any(v is not None for v in shown) or not has, column.name
    with open(at.out / f"{name}.csv") as file:
        assert len(list(csv.reader(file))) == len(cells) + 1
    # Nothing is done again.
    monkeypatch.setattr(_Running, "call", lambda *a, **k: pytest.fail("run again"))
    again = reproduce(planned, at, log=lines.append, program=["-"], slots=[{}])
    assert again.failed == {}
    assert json.loads((at.out / f"{name}.json").read_text()) == content
