"""Published figures: each digit is that of a second transcription, each printed mean that of its rows."""

import numpy as np
import pytest
from papers import transcription, transcription_altub

from hgad_jax.papers.compare import _ORIGINS
from hgad_jax.papers.figures import every, fractions

SECOND = transcription.COLUMNS | transcription_altub.COLUMNS
# What would fit the mean: in these cells the source has another digit.
MISPRINTS = {
    ("cflow_table3_padim", "leather", "pixel_aupro"): 97.8,
    ("cflow_table3_spade", "wood", "pixel_aupro"): 87.4,
}
# Printed means that no cell explains: they are kept as printed.
ODD_MEANS = {
    ("altub_table1_patchcore", "image_auroc"): 0.11,
    ("altub_table2_fastflow", "pixel_auroc_std"): 0.02,
}


def test_there_is_a_second_transcription_of_every_block():
    assert set(SECOND) == set(every())


@pytest.mark.parametrize("name", SECOND)
def test_each_digit_is_that_of_the_second_transcription(name):
    figures, (rows, columns) = every()[name], SECOND[name]
    assert set(figures.columns) == set(columns)
    assert set(figures.rows) == set(rows)
    for column, text in columns.items():
        values = [None if cell == "." else float(cell) for cell in text.split()]
        i = figures.columns.index(column)
        found = [figures.rows[row][i] for row in rows]
        assert values[: len(rows)] == found, column
        assert values[len(rows) :] == ([figures.mean[i]] if figures.mean else []), column


@pytest.mark.parametrize("name", [name for name, (rows, _) in SECOND.items() if rows and every()[name].mean])
def test_the_printed_mean_is_that_of_the_rows(name):
    figures = every()[name]
    for i, column in enumerate(figures.columns):
        if (mean := figures.mean[i]) is None:
            continue
        values = [MISPRINTS.get((name, row, column), cells[i]) for row, cells in figures.rows.items()]
        # To the last printed digit; sources rounded their rows first, or cut the mean off.
        printed = max(len(str(v).partition(".")[2].rstrip("0")) for v in [mean, *values])
        allowed = ODD_MEANS.get((name, column), 1.01 * 10.0**-printed)
        assert abs(np.mean(values) - mean) <= allowed, (column, np.mean(values), mean)


@pytest.mark.parametrize("name", SECOND)
def test_every_block_says_where_it_is_from(name):
    figures = every()[name]
    assert figures.origin in _ORIGINS
    assert figures.title in figures.source
    assert figures.where in figures.source
    aupro = [c for c in figures.columns if "aupro" in c]
    assert not aupro or "aupro" in figures.settings
    if figures.settings.get("state") == "window":
        first, last = figures.settings["window"]
        assert first < last


def test_percent_become_fractions():
    assert fractions(("a", "b", "c"), (98.26, None, 100.0)) == {"a": 0.9826, "c": 1.0}
