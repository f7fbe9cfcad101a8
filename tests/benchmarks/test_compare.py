"""The comparison of all detectors, tiny: it trains, fills its table, and goes on where it stopped."""

import json
import sys

import pytest
from test_flow_benchmark import load
from trees import add_class


@pytest.mark.slow
def test_every_row_of_the_table_is_there(tmp_path, monkeypatch, capsys):
    add_class(tmp_path / "tiles", "brick", good=26)
    arguments = [
        *("compare.py", f"--magnetic-tile={tmp_path}/tiles/brick", f"--out={tmp_path}/out"),
        *("--datasets", "magnetic_tile", "--detectors", "U-FLOW", "PaDiM"),
        *("--minutes=0.000001", "--image-size=64"),
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    compare = load("compare")
    tried = []
    original = compare.make_config

    def small(*args):
        tried.append(args[0])
        config = original(*args)
        config.train.batch_size = 8
        config.backbone.taps = ("blocks.4",)
        return config

    monkeypatch.setattr(compare, "make_config", small)
    compare.main()
    rows = json.loads((tmp_path / "out/compare.json").read_text())["results"]["magnetic_tile"]
    assert list(rows) == tried == ["U-FLOW", "PaDiM"]
    assert rows["U-FLOW"]["epochs"] == 1.0, "the least, where the budget is less than that"
    assert rows["PaDiM"]["epochs"] == 0.0
    for row in rows.values():
        assert 0 <= row["image_auroc"] <= 1
        assert 0 <= row["pixel_aupro"] <= 1
        assert min(row["images_per_second"], row["megabytes"], row["train_seconds"]) > 0
    table = capsys.readouterr().out
    assert f"| PaDiM | {rows['PaDiM']['image_auroc']:.3f} |" in table
    compare.main()
    assert tried == ["U-FLOW", "PaDiM"], "nothing is trained again"


def test_the_folder_of_tiles_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare.py", "--magnetic-tile=/nowhere"])
    with pytest.raises(SystemExit):
        load("compare").main()
    assert "the folder of the magnetic tile set is needed" in capsys.readouterr().err
